"""What goes wrong on many ranks ends, says why, and leaves no broken files."""

import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fakes import run_ranks
from launch import ROOT, await_end, begin, launch, mpiexec
from mpi_program import CASES, problem

import mgresnet as mg

MISHAP = ROOT / "tests" / "mpi_mishap.py"
CONFIGURATIONS = ROOT / "tests" / "mpi_configurations.py"
RUN = ["train", "peaks", "--depth", "20", "--coarsening", "4", "--width", "4"]
PARTIAL = ".partial-"  # of a file that was not finished
NAMES = {"config.json", "epochs.json", "network.npz", "curves.png", "regions.png"}


@pytest.mark.mpi
@pytest.mark.slow
def test_random_configurations_end_with_the_bits_of_one_rank():
    """The same program with ``--configurations 1000`` is run by hand."""
    job = launch(
        8,
        "--configurations",
        "150",
        program=CONFIGURATIONS,
        interpreter=("-m", "mpi4py"),
        timeout=240.0,
        OMPI_MCA_mpi_yield_when_idle="1",
    )
    assert job.returncode == 0, job.stdout[-3000:] + job.stderr[-3000:]
    assert job.stdout.splitlines()[-1].endswith(" refused, 0 wrong")


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("phase", "rank"),
    [
        ("opening", 0),
        ("forward", 0),
        ("forward", 1),
        ("coarse", 1),
        ("coarse", 2),
        ("loss", 2),
        ("head", 2),
        ("coarse-adjoint", 0),
        ("coarse-adjoint", 2),
        ("gradient", 1),
        ("gradient", 2),
        ("opening-gradient", 0),
        ("update", 0),
        ("update", 1),
    ],
)
def test_an_exception_in_any_phase_ends_the_job(phase, rank):
    job = launch(3, "fail", phase, str(rank), program=MISHAP)
    assert job.returncode != 0
    assert f"RuntimeError: mishap in {phase} on rank {rank}" in job.stderr
    assert job.stdout == "trained step 0\n"


@pytest.mark.mpi
@pytest.mark.parametrize("target", ["mpiexec", "0", "1"])
def test_sigterm_ends_the_job_and_breaks_no_file(target, tmp_path):
    output, numbers = tmp_path / "output", tmp_path / "numbers"
    numbers.mkdir()
    program = [sys.executable, str(MISHAP), "ranks", str(numbers)]
    options = ["--epochs", "2000", "--output", str(output)]
    process = begin([mpiexec(), "-n", "3", *program, *RUN, *options])
    records = output / "records.jsonl"
    deadline = time.monotonic() + 60.0
    while not (records.exists() and len(records.read_bytes().splitlines()) > 3):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no training within a minute"
        time.sleep(0.05)
    pids = {path.name: int(path.read_text()) for path in numbers.iterdir()}
    os.kill(process.pid if target == "mpiexec" else pids[target], signal.SIGTERM)
    job = await_end(process, 30.0)
    assert job.returncode != 0
    deadline = time.monotonic() + 5.0  # a launcher may end before its ranks have
    while any(map(running, pids.values())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in pids.values() if running(pid)]
    assert whole_files(output) - {"epochs.json"} == {"config.json", "records.jsonl"}


@pytest.mark.parametrize("entry", ["predict", "evaluate", "adjoint"])
def test_a_rank_without_an_interval_is_refused_on_all_of_them(entry):
    """Also where only the adjoint has too few; see `test_parallel` for the others."""
    case, few = CASES["two levels"], mg.MGRITOptions((16,))
    params, (inputs, targets) = problem(case)
    objective = mg.SoftmaxCrossEntropy()
    both = {"forward": case.forward, "adjoint": few}
    enter = {
        "predict": partial(mg.predict, options=few),
        "evaluate": partial(
            mg.evaluate, targets=targets, objective=objective, options=few
        ),
        "adjoint": partial(
            mg.value_and_gradient, targets=targets, objective=objective, **both
        ),
    }[entry]

    def attempt(comm):
        with pytest.raises(ValueError, match=r"too many ranks: 3 .* at most 2 rank"):
            enter(case.net, params, inputs=inputs, comm=comm)
        return True

    assert run_ranks(attempt, 3) == [True] * 3


@pytest.mark.mpi
def test_a_job_of_one_rank_is_a_serial_run(tmp_path):
    outputs = [tmp_path / "serial", tmp_path / "one"]
    for output, launcher in zip(outputs, ([], [mpiexec(), "-n", "1"]), strict=True):
        command = [sys.executable, "-m", "mgresnet", *RUN, "--epochs", "1"]
        process = begin([*launcher, *command, "--output", str(output)])
        assert await_end(process, 60.0).returncode == 0
        assert whole_files(output) == NAMES | {"records.jsonl"}
    (net, params), (other, found) = (mg.load(path / "network.npz") for path in outputs)
    assert other == net
    for part, needed in zip(found, params, strict=True):
        np.testing.assert_array_equal(part, needed, strict=True)


def running(pid):
    """Whether a process exists that is not a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except FileNotFoundError:
        return False


def whole_files(folder):
    """Names of the files of a run, each of which must be complete."""
    names = {path.name for path in folder.iterdir()}
    names = {name for name in names if not name.startswith(PARTIAL)} - {"checkpoints"}
    assert names <= NAMES | {"records.jsonl"}
    for path in (folder / name for name in names):
        if path.suffix == ".json":
            assert json.loads(path.read_text())
        elif path.suffix == ".jsonl":
            assert path.read_bytes().endswith(b"\n")
            assert [json.loads(line) for line in path.read_text().splitlines()]
        elif path.suffix == ".npz":
            assert all(part.size for part in mg.load(path)[1])
        else:
            assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
    return names


def run_with_mishap(kind, name, folder):
    """Run the command line with a mishap when the named file is written."""
    options = ["--epochs", "1", "--output", str(folder)]
    command = [sys.executable, str(MISHAP), kind, name, *RUN, *options]
    return await_end(begin(command), 60.0)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_file_is_whole_or_absent_when_the_process_dies(name, tmp_path):
    job = run_with_mishap("halfway", name, tmp_path / "output")
    assert job.returncode == -signal.SIGXFSZ, job.stderr
    assert name not in whole_files(tmp_path / "output")


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    job = run_with_mishap("full", "network.npz", tmp_path / "output")
    assert job.returncode == 1
    assert job.stderr.startswith("mgresnet: error: [Errno 27] File too large: ")
    assert "Traceback" not in job.stderr
    names = {path.name for path in (tmp_path / "output").iterdir()}
    assert names == {"config.json", "records.jsonl", "epochs.json", "checkpoints"}

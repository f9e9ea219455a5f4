"""Runs of the command line that are interrupted, and go on."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from launch import ENVIRONMENT, mpiexec

import mgresnet as mg
from mgresnet.__main__ import main
from mgresnet.learning.manifest import steps_saved

RUN = ["train", "peaks", "--depth", "24", "--coarsening", "4", "--width", "4"]
RUN += ["--n-train", "100", "--n-validation", "20", "--batch-size", "25"]
RUN += ["--gradient-tolerance", "1e-2", "--check-every", "3", "--for-ranks", "32"]
RUN += ["--control", "5", "--clip", "0.5", "--epochs", "25", "--checkpoint-every", "3"]
STEPS = 100
linux = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")


def start(*arguments, ranks=1):
    """Start the command line; a program with a name in its arguments."""
    command = [sys.executable, "-m", "mgresnet", *map(str, arguments)]
    if ranks > 1:
        command = [mpiexec(), "-n", str(ranks), *command]
    return subprocess.Popen(
        command,
        env={**os.environ, **ENVIRONMENT},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process):
    """Exit code and what was printed."""
    try:
        out, err = process.communicate(timeout=90)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, out, err


def ranks_of(folder):
    """Processes of a run, without those that started them."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:  # has ended
            continue
        if str(folder).encode() in words and b"mpiexec" not in words[0]:
            found.append(int(path.name))
    return sorted(found)


def steps_done(folder):
    path = folder / "records.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def wait_for(steps, folder, process):
    deadline = time.monotonic() + 60
    while steps_done(folder) < steps:
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([*RUN, "--output", str(folder)]) == 0
    return folder


def assert_same_run(folder, other):
    """Parameters and records, but for times."""
    runs = []
    for path in (folder, other):
        lines = (path / "records.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        runs.append([{**record, "seconds": None} for record in records])
    assert runs[0] == runs[1]
    parts = (mg.load(path / "network.npz")[1] for path in (folder, other))
    for found, needed in zip(*parts, strict=True):
        np.testing.assert_array_equal(found, needed, strict=True)


@linux
@pytest.mark.parametrize(
    ("number", "ranks"),
    [
        (signal.SIGINT, 1),
        pytest.param(signal.SIGTERM, 3, marks=pytest.mark.mpi),
        pytest.param(signal.SIGKILL, 1, marks=pytest.mark.mpi),
        pytest.param(signal.SIGKILL, 2, marks=pytest.mark.mpi),
        pytest.param(signal.SIGKILL, 3, marks=pytest.mark.mpi),
    ],
)
def test_a_run_goes_on_after_a_signal(number, ranks, uninterrupted, tmp_path):
    """As if nothing had happened, on another number of ranks."""
    folder = tmp_path / "run"
    process = start(*RUN, "--output", folder, ranks=ranks)
    wait_for(10, folder, process)
    for rank in ranks_of(folder)[-1:]:  # one of them
        os.kill(rank, number)
    code, out, err = finish(process)
    done = steps_done(folder)
    assert code != 0
    assert done < STEPS
    if number != signal.SIGKILL:
        assert f"go on by: mgresnet resume {folder}" in out
        assert steps_saved(folder / "checkpoints")[-1] == done
        assert "Traceback" not in err
    if number == signal.SIGINT:
        assert code == 128 + number
    else:
        assert steps_saved(folder / "checkpoints")[-1] >= done - 3
    other = 3 if ranks == 2 else 1
    code, out, err = finish(start("resume", folder, ranks=other))
    assert code == 0, err
    assert re.search(r"goes on after \d+ step", out)
    assert_same_run(folder, uninterrupted)


def test_a_run_goes_on_from_an_earlier_checkpoint(uninterrupted, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main([*RUN, "--output", str(folder)]) == 0
    early, late = steps_saved(folder / "checkpoints")
    assert main(["resume", str(folder), "--step", str(early)]) == 0
    assert f"goes on after {early} step(s)" in capsys.readouterr().out
    assert steps_saved(folder / "checkpoints") == [early, late]
    assert_same_run(folder, uninterrupted)
    assert main(["resume", str(folder)]) == 0
    assert_same_run(folder, uninterrupted)
    assert main(["resume", str(folder), "--step", "5"]) == 2
    assert "no checkpoint of step 5" in capsys.readouterr().err


def test_a_divergence_keeps_the_last_good_state(tmp_path, capsys):
    options = ["--activation", "relu", "--optimiser", "sgd", "--learning-rate", "1e5"]
    options += ["--schedule", "constant", "--final-time", "40", "--epochs", "2"]
    options += ["--clip", "1e9", "--checkpoint-every", "1", "--seed", "11"]
    folder = tmp_path / "run"
    assert main([*RUN, *options, "--output", str(folder)]) == 1
    out = capsys.readouterr().out
    step = int(
        re.search(
            r"step (\d+) diverged: the .*behind layer \d+.* not finite, on rank 0", out
        )[1]
    )
    assert step >= 2
    assert steps_saved(folder / "checkpoints")[-1] == step - 1
    assert f"kept what was learned in {step - 1} step(s)" in out
    assert main(["resume", str(folder)]) == 1
    assert f"step {step} diverged" in capsys.readouterr().out


def test_nothing_to_resume_is_said(tmp_path, capsys):
    assert main(["resume", str(tmp_path / "nowhere")]) == 2
    assert "--output folder of mgresnet train" in capsys.readouterr().err
    folder = tmp_path / "run"
    never = [*RUN, "--epochs", "1", "--checkpoint-every", "0"]
    assert main([*never, "--output", str(folder)]) == 0
    assert main(["resume", str(folder)]) == 2
    assert "no checkpoint in" in capsys.readouterr().err


def test_an_earlier_run_is_overwritten_if_that_is_said(tmp_path, capsys):
    folder = tmp_path / "run"
    short = [*RUN, "--epochs", "1", "--output", str(folder)]
    assert main(short) == 0
    (folder / "mine.txt").write_text("stays")
    assert main([*short, "--seed", "8"]) == 2
    assert "mgresnet resume" in capsys.readouterr().err
    assert main([*short, "--seed", "8", "--overwrite"]) == 0
    assert json.loads((folder / "config.json").read_text())["seed"] == 8
    assert steps_done(folder) == 4
    assert (folder / "mine.txt").read_text() == "stays"


def test_a_configuration_of_another_version_is_named(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main([*RUN, "--epochs", "1", "--output", str(folder)]) == 0
    config = json.loads((folder / "config.json").read_text())
    del config["depth"]
    (folder / "config.json").write_text(json.dumps(config))
    assert main(["resume", str(folder)]) == 2
    assert "config.json has no depth; needed" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{", "[1]", "\xff"])
def test_a_configuration_that_is_none_is_said_in_one_line(text, tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("latin-1"))
    assert main(["resume", str(tmp_path)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"{path} is " in line
    assert "undo what was edited" in line

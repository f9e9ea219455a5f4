"""Mistakes at the command line: told at once, in one line, with nothing begun."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launch import ENVIRONMENT

import mgresnet as mg
from mgresnet.__main__ import main
from mgresnet.commands import options, train
from mgresnet.learning.manifest import steps_saved
from mgresnet.studies.catalogue import STUDIES

TINY = ["--depth", "8", "--width", "2", "--coarsening", "4", "--epochs", "1"]
TINY += ["--n-train", "8", "--n-validation", "4", "--batch-size", "4"]
PEAKS = ["train", "peaks", *TINY]

# What is given beside the rest, and what the line has to name.
WRONG = {
    "--check-every 0": "--check-every",
    "--for-ranks 0": "--for-ranks",
    "--gradient-tolerance nan": "--gradient-tolerance",
    "--width 99999999999": "Unable to allocate",
    "--depth 99999999999": "Unable to allocate",
    "--n-train 99999999999999": "Unable to allocate",
    "--final-time 1e200": "final_time",
    "--final-time 1e-200": "final_time",
    "--final-time nan": "final_time",
    "--batch-size 0": "--batch-size",
    "--batch-size 9": "size=9, but the split holds 8",
    "--epochs 0": "epochs",
    "--learning-rate nan": "learning rate",
    "--tikhonov nan": "tikhonov",
    "--threads 0": "threads",
    "--clip -1": "max_norm",
    "--seed -1": "seed",
    "--tolerance nan": "tolerance",
    "--iterations -1": "max_iterations",
    "--control 1": "n_coefficients",
    "--dtype float16": "dtype",
    "--coarsening ,": "--coarsening",
    "--coarsening 1": "coarsening",
    "--cycle X": "choose from V, W, F",
    "--schedule x": "choose from constant",
    "--opening x": "choose from linear",
    "--dept 10": "--dept",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_value_is_told_in_a_line_and_nothing_is_written(
    wrong, tmp_path, capsys
):
    folder = tmp_path / "out"
    assert main([*PEAKS, *wrong.split(), "--output", str(folder)]) == 2
    out, error = capsys.readouterr()
    assert not out
    assert len(error.splitlines()) == 1
    assert WRONG[wrong] in error
    assert not folder.exists()


@pytest.mark.parametrize("command", [PEAKS, ["study", "noise"], ["model"]])
def test_a_file_in_place_of_a_folder_is_told_before_the_work(command, tmp_path, capsys):
    path = tmp_path / "file"
    path.touch()
    for output in (path, path / "below"):
        assert main([*command, "--output", str(output)]) == 2
        out, error = capsys.readouterr()
        assert not out
        assert f"{path} is a file, needed a folder" in error


def test_the_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"mgresnet {mg.__version__}\n"


def test_help_is_in_groups_with_what_problems_preset(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    for group in ("data:", "network:", "propagation:", "learning:", "what is kept:"):
        assert group in words
    assert "features of a layer; preset: 8, of images 32, of sequences 32" in words
    assert "preset: 256, of images 256, of sequences their steps" in words
    assert "fourth_order, e, e2; matched, of sequences e2, or by error" in words
    assert "None" not in words.replace("None: once an epoch", "")


def test_a_batch_is_no_larger_than_a_table(tmp_path, capsys):
    table = tmp_path / "small.csv"
    table.write_text("x,y\n" + "".join(f"{i},{i * i}\n" for i in range(40)))
    some = ["--data", str(table), "--targets", "y", "--depth", "8", "--epochs", "1"]
    assert main(["train", *some, "--output", str(tmp_path / "out")]) == 0
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["batch_size"] == 32


@pytest.mark.parametrize(
    ("coarsening", "said"),
    [
        ("16", "exact propagation: coarsening (16,) of 8 layers"),
        ("4,4", "coarsening (4, 4), of which (4,) in use"),
        ("4", "coarsening (4,), matched"),
    ],
)
def test_the_header_says_what_coarsening_is_in_use(coarsening, said, capsys):
    assert main([*PEAKS, "--coarsening", coarsening]) == 0
    assert said in capsys.readouterr().out


def test_residuals_are_those_that_the_tolerance_is_for(tmp_path):
    for tolerance in ("1e-2", "1e-6"):
        folder = tmp_path / tolerance
        some = ["--depth", "64", "--tolerance", tolerance, "--output", str(folder)]
        assert main([*PEAKS, *some]) == 0
        (row,) = json.loads((folder / "epochs.json").read_text())
        assert 0.0 < row["forward_residual"] <= float(tolerance)
        assert 0.0 < row["adjoint_residual"] <= float(tolerance)


def start(*arguments, **how):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "mgresnet", *arguments],
        env=os.environ | ENVIRONMENT | how.pop("env", {}),
        stdin=subprocess.DEVNULL,
        text=True,
        **how,
    )


PIPE = subprocess.PIPE


def test_compiling_is_told_and_is_no_training(tmp_path):
    run = start(
        *PEAKS, stdout=PIPE, stderr=PIPE, env={"NUMBA_CACHE_DIR": str(tmp_path)}
    )
    started = time.perf_counter()
    out, error = run.communicate(timeout=240)
    whole = time.perf_counter() - started
    assert run.returncode == 0
    assert error == f"compiling, once: kernels are kept in {error.split()[-1]}\n"
    (line,) = (line for line in out.splitlines() if line.startswith("    1"))
    assert float(line.split()[-1]) < 0.25 * whole


def test_a_pipe_that_is_closed_stops_a_training_which_can_go_on(tmp_path):
    folder = tmp_path / "out"
    some = ["--epochs", "5000", "--checkpoint-every", "0", "--output", str(folder)]
    with start(*PEAKS, *some, stdout=PIPE, stderr=PIPE) as run:
        while not run.stdout.readline().startswith("    1"):
            assert run.poll() is None
        run.stdout.close()
        error = run.stderr.read()
        assert run.wait(timeout=60) == 128 + signal.SIGTERM
    assert "Traceback" not in error
    assert len(steps_saved(folder / "checkpoints")) == 1


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_streams_may_be_closed(stream):
    code = (
        "import os, sys\n"
        f"os.close({1 if stream == 'stdout' else 2})\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'mgresnet', *sys.argv[1:]])"
    )
    other = {"stdout": "stderr", "stderr": "stdout"}[stream]
    done = subprocess.run(
        [sys.executable, "-c", code, *PEAKS],
        env=os.environ | ENVIRONMENT,
        **{other: PIPE},
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    assert "Traceback" not in getattr(done, other)


def test_an_ascii_terminal_shows_any_name(tmp_path):
    table = tmp_path / "höhe.csv"
    table.write_text("x,y\n" + "".join(f"{i},{i * i}\n" for i in range(40)))
    some = ["--data", str(table), "--targets", "y", "--depth", "8", "--epochs", "1"]
    run = start(
        "train", *some, stdout=PIPE, stderr=PIPE, env={"PYTHONIOENCODING": "ascii"}
    )
    out, error = run.communicate(timeout=120)
    assert run.returncode == 0, error
    assert "h\\xf6he" in out


def test_a_folder_has_one_run_at_a_time(tmp_path, capsys):
    folder, other = tmp_path / "out", tmp_path / "other"
    assert main([*PEAKS, "--output", str(folder)]) == 0
    other.mkdir()
    handles = [os.open(each, os.O_RDONLY) for each in (folder, other)]
    for handle in handles:
        fcntl.flock(handle, fcntl.LOCK_EX)
    for *command, where in (
        [*PEAKS, "--overwrite", "--output", folder],
        ["study", "noise", "--quick", "--output", other],
        ["resume", folder],
    ):
        assert main([*command, str(where)]) in (1, 2)
        assert f"another run is at work in {where}" in capsys.readouterr().err
    for handle in handles:
        os.close(handle)
    assert main([*PEAKS, "--overwrite", "--output", str(folder)]) == 0


@pytest.mark.parametrize("name", ["records.jsonl", "network.npz"])
def test_files_of_an_earlier_run_are_neither_added_to_nor_removed(
    name, tmp_path, capsys
):
    (tmp_path / name).write_text("mine")
    assert main([*PEAKS, "--output", str(tmp_path)]) == 2
    assert f"holds an earlier run ({name})" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "mine"
    assert main([*PEAKS, "--output", str(tmp_path), "--overwrite"]) == 0


def test_a_run_does_not_go_on_with_other_options_or_samples(tmp_path, capsys):
    table, folder = tmp_path / "some.csv", tmp_path / "out"
    rows = [f"{i},{i * i}\n" for i in range(40)]
    table.write_text("x,y\n" + "".join(rows))
    some = ["--data", str(table), "--targets", "y", "--depth", "8", "--epochs", "1"]
    assert main(["train", *some, "--output", str(folder)]) == 0
    path = folder / "config.json"
    config = path.read_text()
    path.write_text(config.replace('"learning_rate": 0.01', '"learning_rate": 0.02'))
    assert main(["resume", str(folder)]) == 2
    assert "config.json was changed" in capsys.readouterr().err
    path.write_text(config)
    table.write_text("x,y\n" + "".join(rows[:-1]) + "39,7\n")
    assert main(["resume", str(folder)]) == 2
    assert "has other samples" in capsys.readouterr().err
    table.write_text("x,y\n" + "".join(rows))
    assert main(["resume", str(folder)]) == 0


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["measured", "drawn"])
def test_a_study_that_is_stopped_says_so(told, when, tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        signal.raise_signal(told)
        raise AssertionError("not stopped")

    kind = {"measured": "measure", "drawn": "draw"}[when]
    changed = STUDIES["noise"]._replace(**{kind: interrupt})
    monkeypatch.setitem(STUDIES, "noise", changed)
    some = ["study", "noise", "--quick", "--seeds", "1", "--output", str(tmp_path)]
    assert main(some) == 128 + told
    assert "stopped; what was measured is in" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks into /proc")
@pytest.mark.parametrize("delay", [0.0, 0.2, 0.5])
def test_ctrl_c_while_the_program_is_loaded_leaves_no_traceback(delay):
    with start(*PEAKS, "--epochs", "5000", stdout=PIPE, stderr=PIPE) as run:
        while b"multiarray" not in Path(f"/proc/{run.pid}/maps").read_bytes():
            time.sleep(0.01)  # until NumPy is loaded, as the first of what takes long
        time.sleep(delay)
        run.send_signal(signal.SIGINT)
        _, error = run.communicate(timeout=120)
        assert "Traceback" not in error
        assert run.returncode in (-signal.SIGINT, 128 + signal.SIGINT)


def test_ctrl_c_before_a_run_has_begun_is_a_line(capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "prepare", interrupted)
    assert main(PEAKS) == 128 + signal.SIGINT
    assert capsys.readouterr().err == "mgresnet: stopped\n"


def test_a_table_that_is_none_is_told_before_a_study_begins(tmp_path, capsys):
    for name in ("airfoil_self_noise.dat", "concrete_compressive_strength.csv"):
        (tmp_path / name).write_text("1 2 3\n4 x 6\n")
    assert main(["study", "regression", "--quick", "--data-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "line 2: 'x' is no finite number" in error
    assert len(error.splitlines()) == 1


def test_numbers_of_a_list_are_all_there():
    assert options.factors("") == ()
    assert options.factors("4,4") == (4, 4)
    for text in (",", "4,", "4,,4"):
        with pytest.raises(ValueError, match="invalid literal"):
            options.factors(text)

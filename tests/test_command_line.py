"""The command line: what a run prints and writes, and how bad input is refused."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from launch import ENVIRONMENT, mpiexec

import mgresnet as mg
from mgresnet.__main__ import main

FILMS = ["--n-train", "12", "--n-validation", "6"]
QUICK = ["--depth", "20", "--coarsening", "4", "--epochs", "2", "--width", "4"]


def run(*arguments, ranks=None, **environment):
    """Start ``python -m mgresnet`` as a user would; a hang fails the test."""
    command = [sys.executable, "-m", "mgresnet", *arguments]
    if ranks is not None:
        command = [mpiexec(), "-n", str(ranks), *command]
    return subprocess.run(
        command,
        env={**os.environ, **ENVIRONMENT, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def peaks_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "peaks"
    result = run("train", "peaks", *QUICK, "--output", str(folder))
    assert result.returncode == 0, result.stderr
    return result.stdout, folder


def test_run_writes_what_it_says(peaks_run):
    out, folder = peaks_run
    names = {file.name for file in folder.iterdir()}
    assert names == {
        "checkpoints",
        "config.json",
        "records.jsonl",
        "epochs.json",
        "network.npz",
        "curves.png",
        "regions.png",
    }
    assert all(name in out for name in names)
    config = json.loads((folder / "config.json").read_text())
    assert config["problem"] == "peaks"
    assert config["depth"] == 20
    lines = (folder / "records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["step"] for record in records] == list(range(20))
    epochs = json.loads((folder / "epochs.json").read_text())
    assert f"{epochs[-1]['exact']['score']:.4f} by exact inference" in out
    for name in ("curves.png", "regions.png"):
        assert (folder / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(("every", "epochs"), [(2, [2, 3]), (3, [3]), (0, [3])])
def test_lines_of_the_table(every, epochs, tmp_path):
    quick = ["--depth", "8", "--coarsening", "4", "--width", "3", "--n-train", "100"]
    command = ["train", "peaks", *quick, "--epochs", "3", "--checkpoint-every", "0"]
    folders = tmp_path / "always", tmp_path / "seldom"
    for folder, n in zip(folders, (1, every), strict=True):
        assert (
            main([*command, "--evaluate-every", str(n), "--output", str(folder)]) == 0
        )
    always, seldom = (
        json.loads((folder / "epochs.json").read_text()) for folder in folders
    )
    assert [row["epoch"] for row in seldom] == epochs
    for row in seldom:
        del row["seconds"], always[row["epoch"] - 1]["seconds"]
        assert row == always[row["epoch"] - 1]


def test_report_has_error_histories_and_times(peaks_run):
    out, _ = peaks_run
    for part in (
        "as training saw it",
        "relative error of the gradient at the end",
        "residuals of the last forward solve",
        "residuals of the last adjoint solve",
        "seconds by phase",
    ):
        assert part in out


def test_saved_parameters_have_the_reported_loss(peaks_run):
    _, folder = peaks_run
    net, params = mg.load(folder / "network.npz")
    assert net == mg.Network(
        mg.Dense(4),
        20,
        5.0,
        opening=mg.Linear(2, 4, "tanh"),
        head=mg.Linear(4, 5),
    )
    problem = mg.load_problem("peaks")
    found = mg.evaluate(
        net, params, *problem.validation, objective=mg.SoftmaxCrossEntropy()
    )
    reported = json.loads((folder / "epochs.json").read_text())[-1]["validation"]
    assert found._asdict() == reported


def assert_same_network(folder, other):
    """Two runs have left the same."""
    (net, params), (needed_net, needed) = (
        mg.load(path / "network.npz") for path in (folder, other)
    )
    assert net == needed_net
    for part, needed_part in zip(params, needed, strict=True):
        np.testing.assert_array_equal(part, needed_part, strict=True)


@pytest.mark.mpi
def test_same_run_on_three_ranks(peaks_run, tmp_path):
    _, folder = peaks_run
    parallel = tmp_path / "parallel"
    result = run("train", "peaks", *QUICK, "--output", str(parallel), ranks=3)
    assert result.returncode == 0, result.stderr
    assert (parallel / "epochs.json").exists()
    assert_same_network(parallel, folder)


@pytest.mark.mpi
def test_a_spline_is_written_once_by_two_ranks(tmp_path):
    """All ranks hold all its rows."""
    for ranks in (1, 2):
        output = str(tmp_path / str(ranks))
        spline = ["--control", "5", "--output", output]
        result = run("train", "peaks", *QUICK, *spline, ranks=ranks)
        assert result.returncode == 0, result.stderr
    assert_same_network(tmp_path / "2", tmp_path / "1")


def test_earlier_run_is_not_overwritten(peaks_run, capsys):
    _, folder = peaks_run
    before = (folder / "records.jsonl").read_bytes()
    assert main(["train", "peaks", *QUICK, "--output", str(folder)]) == 2
    assert "holds an earlier run" in capsys.readouterr().err
    assert (folder / "records.jsonl").read_bytes() == before


def test_diverged_run_says_so(capsys):
    options = ["--activation", "relu", "--optimiser", "sgd", "--learning-rate", "1e9"]
    assert main(["train", "sine", *QUICK, *options]) == 1
    assert "not finite" in capsys.readouterr().out


def test_a_large_loss_fits_in_its_column(capsys):
    options = ["--learning-rate", "1e300", "--n-train", "50", "--epochs", "1"]
    assert main(["train", "peaks", *QUICK, *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("epoch"))
    assert len(lines[first + 1]) == len(lines[first])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frobnicate"], "frobnicate"),
        (["train"], "PROBLEM"),
        (["train", "peeks"], "did you mean 'peaks'"),
        (["train", "peaks", "--foo", "3"], "--foo"),
        (["train", "peaks", "--depth", "three"], "--depth"),
        (["train", "peaks", "--depth", "0"], "depth must be at least 1"),
        (["train", "peaks", "--width", "-2"], "width must be at least 1"),
        (["train", "peaks", "--coarsening", "4,x"], "--coarsening"),
        (["train", "peaks", "--coarsening", "1"], "coarsening"),
        (["train", "peaks", "--relaxations", "1,2,3"], "relaxations"),
        (["train", "peaks", "--coarse-operator", "median"], "median"),
        (["train", "peaks", "--cycle", "Z"], "'Z'"),
        (["train", "peaks", "--tolerance", "nan"], "tolerance"),
        (["train", "peaks", "--activation", "tan"], "smooth_relu"),
        (["train", "peaks", "--optimiser", "lbfgs"], "adamw"),
        (["train", "peaks", "--schedule", "random"], "cosine"),
        (["train", "peaks", "--learning-rate", "-1"], "learning rate"),
        (["train", "peaks", "--batch-size", "4000"], "1000"),
        (["train", "peaks", "--dtype", "int64"], "float32"),
        (["train", "peaks", "--gradient-tolerance", "-1"], "needed a number > 0"),
        (["train", "peaks", "--gradient-tolerance", "nan"], "needed a number > 0"),
        (["train", "peaks", "--check-every", "0"], "must be at least 1, got 0"),
        (["train", "peaks", "--for-ranks", "0"], "must be at least 1, got 0"),
        (["train", "peaks", "--tikhonov", "-3"], "tikhonov"),
        (["train", "peaks", "--data-ranks", "2"], "1 rank(s) cannot be arranged in 2"),
        (["train", "peaks", "--data-ranks", "0"], "needed a divisor of 1"),
        (["train", "peaks", "--evaluate-every", "-1"], "must be at least 0, got -1"),
        (["train", "peaks", "--threads", "0"], "number of threads must be at least 1"),
        (["train", "peaks", "--cells", "2"], "--cells is 2, but it is of units for"),
        (["train", "peaks", "--explicit"], "--explicit is True, but it is of units"),
        (
            ["train", "moving-images", "--opening", "zeros", *FILMS],
            "of layers for rows",
        ),
        (["train", "peaks", "--depth", "16", "--control", "100"], "at most as many"),
        (["train", "peaks", "--output", "/proc/x"], "--output /proc/x cannot be made"),
        (["train", "--data", "/", "--targets", "a"], "/ is a folder; give the file"),
        (
            ["model", "--depth", "4"],
            "--coarsening 16 leaves --depth 4 without a coarse",
        ),
        (["model", "--coarsening", "100000"], "needed two layers or more, and a first"),
        (
            ["model", "--depth", "4", "--rates", "nope"],
            "--coarsening 16 leaves --depth",
        ),
        (["model", "--rates", "nope"], "there is no file --rates nope"),
        (["export", "/no/such/run", "--output", "x.npz"], "there is no /no/such/run"),
        (["export", ".", "--output", "x.npz"], "there is no network.npz; give the"),
        (["export", "x.npz"], "--output"),
        (["export", "x.npz", "--output", "x.pt"], "needed a file that ends in .npz"),
        (["export", "x.npz", "--output", "/no/such/x.npz"], "no folder /no/such"),
        (["predict", "x.npz", "x.csv"], "nothing to do; add --output FILE"),
        (["predict", "x.npz", "x.csv", "--output", "x.txt"], "in .npz or .csv"),
        (["predict", "/no/x.npz", "x.csv", "--output", "x.csv"], "/no/x.npz"),
        (["warmup", "--dtype", "int64"], "choose from float64, float32"),
        (["scale"], "add --calibrate"),
        (["scale", "--calibrate"], "on 1 rank(s), needed two"),
        (["scale", "--calibrate", "--width", "0"], "--width"),
        (["scale", "--calibrate", "--output", "/no/such/x.json"], "/no/such"),
        (["scale", "--width", "x"], "see mgresnet scale --help"),
        (["train", "mnist"], "train-images-idx3-ubyte.gz"),
        (["train", "fashion-mnist", "--opening", "zeros", "--width", "9"], "784"),
        (["train", "fashion-mnist", "--data-dir", "/no/such/folder"], "/no/such"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(arguments, message, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("mgresnet: error: ")
    assert message in lines[0]


def test_truncated_idx_file(tmp_path, capsys):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b\x08\x00broken")
    assert main(["train", "fashion-mnist", "--data-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "train-images-idx3-ubyte.gz" in error
    assert len(error.splitlines()) == 1


def test_exit_code_reaches_the_shell():
    result = run("train", "peeks")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


@pytest.mark.mpi
def test_too_many_ranks_ends_all_of_them():
    result = run("train", "peaks", "--depth", "8", "--coarsening", "4", ranks=3)
    assert result.returncode == 2
    assert result.stderr.count("too many ranks") == 1
    assert "Traceback" not in result.stderr


@pytest.mark.mpi
def test_layers_and_data(peaks_run, tmp_path):
    _, folder = peaks_run
    divided = tmp_path / "divided"
    options = ["--data-ranks", "2", "--output", str(divided)]
    result = run("train", "peaks", *QUICK, *options, ranks=4)
    assert result.returncode == 0, result.stderr
    assert "2 rank(s) over layers x 2 over samples" in result.stdout
    whole, other = (
        json.loads((path / "epochs.json").read_text())[-1] for path in (folder, divided)
    )
    assert other["exact"]["loss"] == pytest.approx(whole["exact"]["loss"], rel=1e-3)


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("ranks", "options", "message"),
    [
        (3, ["--data-ranks", "2"], "3 rank(s) cannot be arranged in 2 equal groups"),
        (3, ["--data-ranks", "3", "--batch-size", "333"], "has 1 sample(s)"),
    ],
)
def test_data_ranks_that_do_not_fit(ranks, options, message):
    result = run("train", "peaks", *QUICK, *options, ranks=ranks)
    assert result.returncode == 2
    assert result.stderr.count(message) == 1
    assert "Traceback" not in result.stderr


@pytest.mark.mpi
def test_calibration_prints_and_writes_the_machine(tmp_path):
    path = tmp_path / "machine.json"
    arguments = ["--calibrate", "--width", "4", "--output", str(path)]
    result = run("scale", *arguments, ranks=2)
    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads(path.read_text())
    machine = mg.Machine(
        *(found[k] for k in ("name", "latency", "bandwidth", "source"))
    )
    assert f"latency   {machine.latency:.2e} s" in result.stdout
    assert [size for size, _ in found["messages"]] == [2**k for k in range(3, 23)]
    assert found["layer"]["forward"] > 0.0

"""``mgresnet predict`` takes and gives what was measured, in the units of the file."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import mgresnet as mg
from mgresnet.__main__ import main

RNG = np.random.default_rng(91301)
SMALL = "--width 3 --coarsening 2 --epochs 40 --batch-size 16 --learning-rate 0.02"
NAMES = ("a", "b", "price, in k\u20ac")
X = RNG.uniform([300.0, -20.0], [350.0, 30.0], (40, 2))
Y = 500.0 + 3.0 * X[:, :1] - X[:, 1:]
UNITS, ZEROS = np.array([1e3, 1e-2, 7.0]), np.array([4.0, -9.0, 1e4])
SEQUENCES = RNG.standard_normal((30, 6, 2)) * [50.0, 0.1] + [7.0, 3.0]
SUMS = SEQUENCES[:, :3].sum(axis=1) + 100.0
LENGTHS = RNG.integers(3, 7, 30)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a table, and a run that has learned its last column."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write("all.csv", np.hstack([X, Y]), NAMES)
        train_table()
        return folder


@pytest.fixture(autouse=True)
def folder(trained, tmp_path, monkeypatch):
    """The same in a folder for each test."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def write(path, values, names=(), mark=","):
    """A table, with names in quotes on top if there are any."""
    lines = [mark.join(f'"{name}"' for name in names)] if names else []
    lines += [mark.join(map(repr, row)) for row in np.asarray(values).tolist()]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def train(output, *data):
    assert main(["train", *data, *SMALL.split(), "--output", output]) == 0


def train_table(output="run", path="all.csv", target=f'"{NAMES[-1]}"'):
    train(output, "--data", path, "--targets", target, "--depth", "4")


def predict(run, inputs, *options):
    """Line of names, and rows, that predict writes."""
    path = Path("out.csv")
    path.unlink(missing_ok=True)
    assert main(["predict", run, inputs, "--output", str(path), *options]) == 0
    names, *rows = path.read_text(encoding="utf-8").splitlines()
    return names, np.loadtxt(rows, delimiter=",", ndmin=2)


def r2(outputs, targets):
    return 1.0 - np.sum((outputs - targets) ** 2) / np.sum(
        (targets - targets.mean(axis=0)) ** 2
    )


def test_outputs_are_in_the_units_of_the_table(capsys):
    capsys.readouterr()
    names, outputs = predict("run", "all.csv", "--targets", "all.csv")
    assert names == f'"{NAMES[-1]}"'
    score = r2(outputs, Y)
    assert score > 0.5
    assert f"R2 {score:.4f} on 40 samples" in capsys.readouterr().out


def test_other_units_of_a_table_make_no_difference():
    write("other.csv", np.hstack([X, Y]) * UNITS + ZEROS, NAMES)
    train_table("other", "other.csv")
    needed = predict("run", "all.csv")[1] * UNITS[2] + ZEROS[2]
    np.testing.assert_allclose(predict("other", "other.csv")[1], needed, rtol=1e-9)


@pytest.mark.parametrize("mark", [",", ";", "\t", " "])
def test_columns_go_by_name_in_any_order(mark):
    needed = predict("run", "all.csv")[1]
    write("new.txt", np.hstack([X[:, 1:], Y, X[:, :1]]), ("b", "c", "a"), mark)
    np.testing.assert_array_equal(predict("run", "new.txt")[1], needed)


def test_columns_without_names_go_by_position():
    needed = predict("run", "all.csv")[1]
    write("new.dat", X, mark=" ")
    np.savez("new.npz", inputs=X)
    write("bare.csv", np.hstack([Y, X]))
    train_table("bare", "bare.csv", "0")
    write("named.csv", X, ("x", "y"))
    for run, path in (("run", "new.dat"), ("run", "new.npz"), ("bare", "named.csv")):
        np.testing.assert_array_equal(predict(run, path)[1], needed)
    assert predict("bare", "new.dat")[0] == "outputs_0"


def test_one_sample_is_enough():
    needed = predict("run", "all.csv")[1][:1]
    write("one.csv", X[:1], NAMES[:2])
    np.testing.assert_allclose(predict("run", "one.csv")[1], needed, rtol=1e-12)


def test_a_column_that_did_not_vary_is_left_out():
    write("still.csv", np.hstack([X, np.full((40, 1), 8.0), Y]), ("a", "b", "c", "d"))
    train_table("still", "still.csv", "d")
    write("new.csv", np.hstack([X, np.full((40, 1), 1e6)]), ("a", "b", "c"))
    np.testing.assert_array_equal(
        predict("still", "new.csv")[1], predict("still", "still.csv")[1]
    )


@pytest.mark.parametrize(
    ("names", "values", "message"),
    [
        (
            ("x", "y"),
            X,
            "inputs in new.csv: there is no column 'a' among x, y; needed a, b",
        ),
        (("a",), X[:, :1], "there is no column 'b' among a"),
        (
            (),
            np.hstack([X, Y]),
            "inputs in new.csv: 3 columns, needed 2 as in training, a, b",
        ),
        ((), X[:, :1], "1 columns, needed 2 as in training, a, b, in this order"),
    ],
)
def test_other_columns_are_refused(names, values, message, capsys):
    write("new.csv", values, names)
    capsys.readouterr()
    assert main(["predict", "run", "new.csv", "--output", "out.csv"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("out.csv").exists()


@pytest.mark.parametrize("known", [{}, {"lengths": LENGTHS}])
def test_other_units_of_sequences_make_no_difference(known):
    np.savez("all.npz", inputs=SEQUENCES, targets=SUMS, **known)
    other = SEQUENCES * UNITS[:2] + ZEROS[:2]
    np.savez("other.npz", inputs=other, targets=SUMS * UNITS[:2] + ZEROS[:2], **known)
    for name in ("all", "other"):
        train(name, "--data", f"{name}.npz")
    needed = predict("all", "all.npz", "--targets", "all.npz")[1]
    assert r2(needed, SUMS) > 0.3
    found = predict("other", "other.npz")[1]
    np.testing.assert_allclose(found, needed * UNITS[:2] + ZEROS[:2], rtol=1e-7)


def test_a_network_that_was_saved_without_scales_takes_numbers_as_they_are():
    net, params = mg.load("run/network.npz")
    mg.save("plain.npz", net, params)
    write("scaled.csv", X / 100.0, ("b", "a"))
    np.testing.assert_array_equal(
        predict("plain.npz", "scaled.csv")[1], mg.predict(net, params, X / 100.0)
    )

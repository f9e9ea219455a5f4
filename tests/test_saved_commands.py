"""``mgresnet predict`` and ``mgresnet export``: files of users, and what is refused."""

import numpy as np
import pytest
from kinds import problem
from launch import launch

import mgresnet as mg
from mgresnet.__main__ import main

NET = mg.Network(mg.Dense(4), 6, opening=mg.Linear(2, 4), head=mg.Linear(4, 3))
PARAMS = NET.init(seed=90701)
INPUTS = np.random.default_rng(90702).standard_normal((11, 2))
OUTPUTS = mg.predict(NET, PARAMS, INPUTS)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of a run, and inputs and targets of all kinds."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    mg.save("run/network.npz", NET, PARAMS)
    labels = OUTPUTS.argmax(axis=1)
    labels[:2] = (labels[:2] + 1) % 3
    np.savez("new.npz", inputs=INPUTS, targets=labels)
    np.savez_compressed("only.npz", whatever=INPUTS)
    np.savetxt("new.csv", INPUTS, "%.17g", ",", header="x,y", comments="")
    np.savetxt("bare.csv", INPUTS, "%.17g", ",")
    np.savetxt("labels.csv", labels, "%d", header="class", comments="")
    np.savetxt("values.csv", OUTPUTS + 0.1, "%.17g", ",")
    return tmp_path


@pytest.mark.parametrize("saved", ["run", "run/network.npz"])
@pytest.mark.parametrize("inputs", ["new.npz", "only.npz", "new.csv", "bare.csv"])
@pytest.mark.parametrize("output", ["out.npz", "out.csv"])
def test_outputs_are_those_of_python_bit_for_bit(folder, saved, inputs, output, capsys):
    assert main(["predict", saved, inputs, "--output", output]) == 0
    assert capsys.readouterr().out == f"wrote outputs of 11 samples to {output}\n"
    if output == "out.npz":
        found = np.load(output)["outputs"]
    else:
        lines = (folder / output).read_text().splitlines()
        assert lines.pop(0) == "outputs_0,outputs_1,outputs_2"
        found = np.loadtxt(lines, delimiter=",")
    np.testing.assert_array_equal(found, OUTPUTS, strict=True)


def test_outputs_can_be_inputs_again(folder):
    """The line of names is read over."""
    square = mg.Network(mg.Dense(3), 4)
    mg.save("square.npz", square, square.init(seed=90703))
    assert main(["predict", "run", "new.csv", "--output", "first.csv"]) == 0
    assert main(["predict", "square.npz", "first.csv", "--output", "next.npz"]) == 0
    needed = mg.predict(square, square.init(seed=90703), OUTPUTS)
    np.testing.assert_array_equal(np.load("next.npz")["outputs"], needed)


def test_float32_is_written_with_all_digits(folder):
    params = NET.init(seed=90704, dtype=np.float32)
    mg.save("single.npz", NET, params)
    assert main(["predict", "single.npz", "new.csv", "--output", "out.csv"]) == 0
    found = np.loadtxt("out.csv", np.float32, delimiter=",", skiprows=1)
    needed = mg.predict(NET, params, INPUTS.astype(np.float32))
    np.testing.assert_array_equal(found, needed, strict=True)


@pytest.mark.parametrize("targets", ["new.npz", "labels.csv"])
def test_class_numbers_give_an_accuracy(folder, targets, capsys):
    assert main(["predict", "run", "new.npz", "--targets", targets]) == 0
    assert capsys.readouterr().out == f"accuracy {9 / 11:.4f} on 11 samples\n"


def test_values_give_r2(folder, capsys):
    assert main(["predict", "run", "new.csv", "--targets", "values.csv"]) == 0
    targets = OUTPUTS + 0.1
    spread = np.sum((targets - targets.mean(axis=0)) ** 2)
    needed = 1.0 - OUTPUTS.size * 0.01 / spread
    assert capsys.readouterr().out == f"R2 {needed:.4f} on 11 samples\n"


def test_one_output_is_a_value(folder, capsys):
    """Whole numbers, too, are no classes there."""
    net = mg.Network(mg.Dense(2), 4, head=mg.Linear(2, 1))
    mg.save("one.npz", net, net.init())
    np.savez("new.npz", inputs=INPUTS, targets=np.arange(11))
    assert main(["predict", "one.npz", "new.npz", "--targets", "new.npz"]) == 0
    assert capsys.readouterr().out.startswith("R2 ")


def test_exported_arrays_are_the_state_dict(folder, capsys):
    assert main(["export", "run", "--output", "weights.npz"]) == 0
    n_params = NET.n_params
    wrote = f"wrote 16 arrays with {n_params} numbers to weights.npz\n"
    assert capsys.readouterr().out == wrote
    found, needed = np.load("weights.npz"), mg.state_dict(NET, PARAMS)
    assert found.files == list(needed)
    for name in needed:
        np.testing.assert_array_equal(found[name], needed[name], strict=True)
    back = mg.from_state_dict(NET, found)
    np.testing.assert_array_equal(back.body, PARAMS.body, strict=True)


def content_of(case):
    """Text of a .csv file that is refused, and why."""
    rows = ["1,2"] * 11
    return "\n".join(
        {
            "features": ["1,2,3"],
            "ragged": ["x,y", "1,2", "3"],
            "word": [*rows, "1,two"],
            "empty": [],
            "names only": ["x,y"],
            "nan": ["1,2", "nan,3"],
        }[case]
    )


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("features", "inputs has shape (1, 3), needed (batch, 2)"),
        ("ragged", "wrong.csv, line 3: 1 cells, needed 2"),
        ("word", "line 12: 'two' is no finite number"),
        ("empty", "wrong.csv is empty"),
        ("names only", "wrong.csv has no row of numbers"),
        ("nan", "line 2: 'nan' is no finite number"),
    ],
)
def test_wrong_tables_are_refused(folder, case, message, capsys):
    (folder / "wrong.csv").write_text(content_of(case))
    assert_refused(capsys, "wrong.csv", message)
    assert not (folder / "out.csv").exists()


def assert_refused(capsys, inputs, message, saved="run", *options):
    """One line, and exit code two."""
    command = ["predict", saved, inputs, "--output", "out.csv", *options]
    assert main(command) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert message in captured.err


def test_wrong_archives_are_refused(folder, capsys):
    (folder / "text.npz").write_text("hello")
    np.savez("two.npz", a=INPUTS, b=INPUTS)
    np.savez("objects.npz", inputs=np.array([print], dtype=object))
    np.savez("complex.npz", inputs=1j * INPUTS)
    np.savez("words.npz", inputs=np.array(["a", "b"]))
    np.savez("number.npz", inputs=np.array(1.0))
    for name, message in (
        ("none.npz", f"there is no file {folder.absolute() / 'none.npz'}"),
        ("none.csv", "none.csv"),
        ("text.npz", "text.npz cannot be read (it is no archive of arrays)"),
        ("two.npz", "has 2 arrays, a, b, ..; needed one that is named inputs"),
        ("objects.npz", "Object arrays cannot be loaded"),
        ("complex.npz", "dtype complex128"),
        ("words.npz", "inputs is an array of dtype <U1, needed real numbers"),
        ("number.npz", "shape (), needed real numbers, one sample a row"),
        ("run", "run is a folder; give the file in it"),
    ):
        assert_refused(capsys, name, message)


def test_wrong_targets_are_refused(folder, capsys):
    np.savez("many.npz", targets=np.full(11, 3))
    np.savez("short.npz", targets=np.zeros(10, int))
    np.savez("halves.npz", targets=np.full(11, 0.5))
    np.savez("nan.npz", targets=np.full((11, 3), np.nan))
    for name, message in (
        ("many.npz", "targets run from 3 to 3, needed labels 0..2 for 3 outputs"),
        ("short.npz", "targets have shape (10,), needed (11,)"),
        ("halves.npz", "targets has shape (11, 1), needed (11, 3)"),
        ("nan.npz", "targets has NaN or infinity"),
        ("new.csv", "targets has shape (11, 2), needed (11, 3)"),
    ):
        assert_refused(capsys, "new.csv", message, "run", "--targets", name)


def test_wrong_networks_are_refused(folder, capsys):
    net, params, *_ = problem("antisymmetric")
    mg.save("own.npz", net, params)
    for name, message in (
        ("own.npz", "of the user's own, and no file holds its code"),
        ("new.npz", "needed a file that mgresnet has written"),
        (".", "network.npz"),
    ):
        assert_refused(capsys, "new.csv", message, name)


@pytest.mark.parametrize(
    "command",
    [["predict", "run", "new.csv"], ["export", "run"]],
    ids=["predict", "export"],
)
def test_no_file_is_overwritten(folder, command, capsys):
    (folder / "mine.npz").write_text("dear")
    assert main([*command, "--output", "mine.npz"]) == 2
    assert "mine.npz exists; choose another name" in capsys.readouterr().err
    assert (folder / "mine.npz").read_text() == "dear"


@pytest.mark.mpi
@pytest.mark.parametrize("command", ["predict", "export"])
def test_several_ranks_are_refused(folder, command):
    inputs = ["new.csv"] if command == "predict" else []
    arguments = [command, "run", *inputs, "--output", "out.npz"]
    job = launch(2, *arguments, program="mgresnet", interpreter=("-m",))
    assert job.returncode == 2
    assert job.stderr.count("2 ranks, needed one; start mgresnet") == 1

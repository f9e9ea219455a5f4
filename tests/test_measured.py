"""Problems of measured samples: splits without leaks, scaling, readers of files."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from mgresnet.__main__ import main
from mgresnet.data import load_own, load_problem

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"needs the data sets in {SHARED}"
)
RNG = np.random.default_rng(60413)
COUNTS = {"airfoil": 1503, "concrete": 1030, "power-plant": 9568, "california": 20640}


def write(path, values, names=None, mark=","):
    lines = [mark.join(names)] if names else []
    lines += [mark.join(map(repr, row)) for row in np.asarray(values).tolist()]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def table(tmp_path):
    """Forty rows, of which every one occurs twice."""
    values = RNG.standard_normal((20, 4)) * [1, 50, 1e-3, 7] + [3, 0, 1, -9]
    names = "a b c d".split()
    return write(tmp_path / "own.csv", np.repeat(values, 2, axis=0), names)


def test_scaling_is_that_of_the_training_part(table):
    problem = load_own(table, ["d"])
    np.testing.assert_allclose(problem.train.inputs.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(problem.train.inputs.std(axis=0), 1.0)
    np.testing.assert_allclose(problem.train.targets.std(axis=0), 1.0)
    assert np.abs(problem.validation.inputs.mean(axis=0)).max() > 1e-3


def test_units_undo_the_scaling(table):
    problem = load_own(table, ["d", "b"])
    values = np.loadtxt(table, delimiter=",", skiprows=1)[:, [3, 1]]
    spread = values.max(axis=0) - values.min(axis=0)
    targets = np.concatenate([problem.train.targets, problem.validation.targets])
    found = (targets.max(axis=0) - targets.min(axis=0)) * problem.units
    np.testing.assert_allclose(found, spread)


@pytest.mark.parametrize("seed", range(5))
def test_repeated_inputs_are_on_one_side(table, seed):
    problem = load_own(table, ["d"], seed=seed)
    ours, theirs = (
        {row.tobytes() for row in part.inputs}
        for part in (problem.train, problem.validation)
    )
    assert ours
    assert theirs
    assert not ours & theirs


def test_splits_are_shuffled_by_the_seed(tmp_path):
    path = write(tmp_path / "line.csv", np.arange(400.0).reshape(200, 2))
    problems = [load_own(path, ["1"], seed=seed) for seed in (7, 7, 8)]
    first, again, other = (problem.train.inputs for problem in problems)
    assert len(first) == 160
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert abs(np.corrcoef(np.arange(160), first[:, 0])[0, 1]) < 0.3


def test_numbers_of_samples_are_those_asked_for(tmp_path):
    path = write(tmp_path / "line.csv", RNG.standard_normal((50, 3)))
    problem = load_own(path, ["2"], n_train=20, n_validation=11, dtype="float32")
    assert (len(problem.train.inputs), len(problem.validation.inputs)) == (20, 11)
    assert problem.train.inputs.dtype == np.float32
    with pytest.raises(ValueError, match="n_train=45 of 50 samples leaves 5 with"):
        load_own(path, ["2"], n_train=45, n_validation=11)


@pytest.mark.parametrize("mark", [",", ";", "\t", " "])
def test_separators_names_and_gzip_make_no_difference(tmp_path, mark):
    values = RNG.standard_normal((30, 3))
    plain = write(tmp_path / "plain.csv", values)
    named = write(tmp_path / "named.csv", values, ['"x"', "y", "z"], mark)
    packed = tmp_path / "packed.csv.gz"
    packed.write_bytes(gzip.compress(named.read_bytes()))
    wanted = load_own(plain, ["1"]).train
    for path in (named, packed):
        found = load_own(path, ["y"]).train
        np.testing.assert_array_equal(found.inputs, wanted.inputs)
        np.testing.assert_array_equal(found.targets, wanted.targets)


@pytest.mark.parametrize("mark", [",", ";", "\t", " "])
def test_names_in_quotes_may_have_what_separates(tmp_path, mark):
    values = RNG.standard_normal((10, 3))
    name = f"price{mark}in{mark}kEUR"
    path = write(tmp_path / "own.csv", values, ['"x"', f'"{name}"', "z"], mark)
    problem = load_own(path, [name])
    assert problem.scales.targets.names == (name,)
    assert problem.scales.inputs.names == ("x", "z")


@pytest.mark.parametrize(
    ("text", "targets", "message"),
    [
        ("a,b\n1,2\n3\n", ["b"], r"line 3: 1 cells, needed 2"),
        ("a,b\n1,2\n3,x\n", ["b"], r"line 3: 'x' is no finite number"),
        ("a,b\n1,2\n3,nan\n", ["b"], r"line 3: 'nan' is no finite number"),
        ("a,b\n1,2\n3,4\n", ["c"], r"no column 'c'; choose from a, b"),
        ("a,b,a\n1,2,3\n3,4,5\n", ["b"], r"two columns 'a'; rename one"),
        ("a,b\n1,2\n3,4\n", ["a", "b"], r"and others for the inputs"),
        ("a,b\n1,2\n3,4\n", [], r"needed one or more"),
        ("a,b\n1,2\n3,4\n", "b", r"targets is 'b', needed names"),
        ("a,b\n1,2\n1,3\n1,4\n", ["b"], r"all 3 samples have the same inputs"),
        ("a,b\n1,2\n", ["b"], r"1 row\(s\) of numbers, needed 2"),
        ("\n\n", ["b"], r"is empty"),
        ("\x00\xff", ["b"], r"has no row of numbers"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path, text, targets, message):
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises((ValueError, TypeError), match=message):
        load_own(path, targets)


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_own(tmp_path / "none.csv", ["a"])
    with pytest.raises(ValueError, match="airfoil is not shipped with mgresnet"):
        load_problem("airfoil")
    with pytest.raises(FileNotFoundError, match=r"there is no airfoil_self_noise\.dat"):
        load_problem("airfoil", data_dir=tmp_path)


# --- spectra ---------------------------------------------------------------


def test_labelled_pixels_of_a_cube_are_the_samples(tmp_path):
    cube = RNG.integers(0, 9000, (6, 5, 7)).astype(np.uint16)
    labels = RNG.integers(0, 4, (6, 5)).astype(np.uint8)
    savemat(tmp_path / "Salinas_corrected.mat", {"salinas_corrected": cube})
    savemat(tmp_path / "Salinas_gt.mat", {"salinas_gt": labels})
    problem = load_problem("salinas", data_dir=tmp_path)
    parts = problem.train, problem.validation
    targets = np.concatenate([part.targets for part in parts])
    counts = np.bincount(labels.ravel(), minlength=4)[1:]
    np.testing.assert_array_equal(np.bincount(targets, minlength=3), counts)
    unscaled = np.corrcoef(problem.train.inputs[:, 0], problem.train.inputs[:, 0])
    assert problem.n_features == 7
    assert unscaled[0, 1] == pytest.approx(1.0)


def test_labels_that_do_not_fit_are_refused(tmp_path):
    savemat(tmp_path / "Train_X.mat", {"x": np.ones((9, 3))})
    savemat(tmp_path / "TrLabel.mat", {"y": np.ones((8, 1))})
    with pytest.raises(ValueError, match=r"labels \(8, 1\); needed one label for each"):
        load_problem("indian-pines", data_dir=tmp_path)
    (tmp_path / "Train_X.mat").write_bytes(b"no matlab")
    with pytest.raises(ValueError, match="needed a MATLAB file of version 5"):
        load_problem("indian-pines", data_dir=tmp_path)


# --- published files -------------------------------------------------------


@needs_shared
@pytest.mark.parametrize("name", COUNTS)
def test_published_measurements_are_read_without_leaks(name):
    problem = load_problem(name, data_dir=SHARED / "regression")
    n = len(problem.train.inputs)
    assert n == round(0.8 * COUNTS[name])
    assert 0.12 < len(problem.validation.inputs) / COUNTS[name] < 0.21
    design = np.column_stack([problem.train.inputs, np.ones(n)])
    fitted, *_ = np.linalg.lstsq(design, problem.train.targets, rcond=None)
    rest = problem.validation
    ones = np.ones(len(rest.inputs))
    errors = np.column_stack([rest.inputs, ones]) @ fitted - rest.targets
    assert np.sqrt(np.mean(errors**2)) < 0.8  # a linear fit says a good deal


@needs_shared
def test_the_spectra_there_are_of_indian_pines_are_read():
    problem = load_problem("indian-pines", data_dir=SHARED / "indian-pines")
    labels = np.concatenate([problem.train.targets, problem.validation.targets])
    assert (problem.n_features, problem.n_outputs) == (200, 16)
    assert sorted(np.bincount(labels).tolist()) == [15] * 3 + [50] * 13


# --- the command -----------------------------------------------------------


def test_a_table_of_ones_own_is_trained_on(tmp_path, capsys):
    x = RNG.uniform(-1, 1, (60, 2))
    path = write(
        tmp_path / "own.csv", np.column_stack([x, x.sum(axis=1)]), "x y z".split()
    )
    small = ["--depth", "8", "--coarsening", "4", "--epochs", "2", "--batch-size", "20"]
    folder = str(tmp_path / "run")
    command = ["train", "--data", str(path), "--targets", "z", *small]
    assert main([*command, "--output", folder]) == 0
    assert "problem   own:" in capsys.readouterr().out
    assert main(["resume", folder, "--step", "3"]) == 0


@pytest.mark.parametrize(
    "given", [[], ["peaks", "--targets", "z"], ["--data", "x.csv"], ["--targets", "z"]]
)
def test_what_is_to_be_learned_is_said_once(given, capsys):
    assert main(["train", *given]) == 2
    assert "needed PROBLEM by name, or --data FILE" in capsys.readouterr().err

"""Images that move, and sequences of one's own."""

import re

import numpy as np
import pytest

import mgresnet as mg
from mgresnet.__main__ import main
from mgresnet.data import load_own
from mgresnet.data.moving import MOTIONS, moved

RNG = np.random.default_rng(61601)
IMAGE = RNG.random((8, 8))


@pytest.mark.parametrize(
    ("name", "rounds", "needed"),
    [
        ("right", 3 / 8, np.roll(IMAGE, 3, axis=1)),
        ("left", 3 / 8, np.roll(IMAGE, -3, axis=1)),
        ("down", 1 / 8, np.roll(IMAGE, 1, axis=0)),
        ("up", 1 / 8, np.roll(IMAGE, -1, axis=0)),
        ("clockwise", 1 / 4, np.rot90(IMAGE, -1)),
        ("anticlockwise", 1 / 4, np.rot90(IMAGE)),
    ],
)
def test_motions_are_what_they_are_called(name, rounds, needed):
    still, frame, once = moved(IMAGE, np.array([0.0, rounds, 1.0]), MOTIONS[name])
    np.testing.assert_allclose(still, IMAGE, rtol=0, atol=1e-13)
    np.testing.assert_allclose(frame, needed, rtol=0, atol=1e-13)
    np.testing.assert_allclose(once, IMAGE, rtol=0, atol=1e-13)


def test_between_points_images_are_linear():
    frame = moved(IMAGE, np.array([1 / 16]), MOTIONS["right"])[0]
    needed = (IMAGE + np.roll(IMAGE, 1, axis=1)) / 2
    np.testing.assert_allclose(frame, needed, rtol=0, atol=1e-14)


def test_a_sample_follows_from_its_number_and_the_seed():
    few = mg.load_problem("moving-images", n_train=7, n_validation=3, seed=5)
    more = mg.load_problem("moving-images", n_train=9, n_validation=3, seed=5)
    other = mg.load_problem("moving-images", n_train=7, n_validation=3, seed=6)
    np.testing.assert_array_equal(few.train.inputs, more.train.inputs[:7])
    assert not np.array_equal(few.train.inputs, other.train.inputs)
    assert not np.array_equal(few.train.inputs[:3], few.validation.inputs)
    assert (few.steps, few.n_features, few.image_shape) == (128, 196, (1, 14, 14))


def test_single_frames_do_not_tell_the_motion():
    """Means over all frames of a shift are those of its image, whatever the way."""
    turns = np.arange(16) / 16
    means = [
        moved(IMAGE, turns, MOTIONS[name]).mean(axis=0) for name in ("left", "right")
    ]
    np.testing.assert_allclose(*means, rtol=0, atol=1e-13)


def write(path, **changes):
    """Twelve sequences of 5 steps and 2 features of four people, and two classes."""
    rng = np.random.default_rng(61602)
    arrays = {
        "inputs": 3.0 + rng.standard_normal((12, 5, 2)),
        "targets": np.arange(12) % 2,
        "lengths": np.arange(12) % 5 + 1,
        "groups": np.arange(12) // 3,
    }
    arrays |= changes
    given = {name: value for name, value in arrays.items() if value is not None}
    np.savez(path, **given)
    return given


def test_people_are_on_one_side_and_features_are_scaled(tmp_path):
    given = write(tmp_path / "own.npz")
    problem = load_own(tmp_path / "own.npz", n_train=9)
    assert (problem.masked, problem.steps, problem.n_features) == (True, 5, 3)
    steps = problem.train.inputs.reshape(-1, 3)
    counted = steps[steps[:, -1] == 1.0][:, :-1]
    np.testing.assert_allclose(counted.mean(axis=0), 0.0, rtol=0, atol=1e-14)
    np.testing.assert_allclose(counted.std(axis=0), 1.0, rtol=1e-14)
    lengths = problem.validation.inputs[:, :, -1].sum(axis=1)
    people = [set(given["lengths"][given["groups"] == g]) for g in range(4)]
    assert set(lengths) in people


def test_sequences_of_one_length_have_no_mask_and_values_are_scaled(tmp_path):
    targets = np.arange(24.0).reshape(12, 2)
    write(tmp_path / "own.npz", lengths=None, groups=None, targets=targets)
    problem = load_own(tmp_path / "own.npz", n_train=10)
    assert not problem.masked
    assert (problem.kind, problem.n_outputs, problem.n_features) == ("regression", 2, 2)
    np.testing.assert_allclose(problem.train.targets.std(axis=0), 1.0, rtol=1e-14)
    rows = np.concatenate([problem.train.targets, problem.validation.targets])
    measured = np.sort(rows[:, 0] * problem.units[0])
    np.testing.assert_allclose(np.diff(measured), 2.0, rtol=1e-12)


def test_booleans_are_classes(tmp_path):
    write(tmp_path / "own.npz", targets=np.arange(12) % 2 == 1)
    problem = load_own(tmp_path / "own.npz")
    write(tmp_path / "own.npz")
    needed = load_own(tmp_path / "own.npz")
    assert (problem.kind, problem.n_outputs) == ("classification", 2)
    np.testing.assert_array_equal(problem.train.targets, needed.train.targets)


NOISE = np.random.default_rng(61605).standard_normal((12, 5, 2))
HOLE = NOISE.copy()
HOLE[3, 2:, 1] = np.nan


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"inputs": np.zeros((12, 5))}, "needed floats"),
        ({"inputs": np.zeros((12, 5, 2), int)}, "dtype int64, needed floats"),
        ({"inputs": HOLE}, r"own.npz: inputs has NaN .* first in sequence 3, step 2"),
        ({"inputs": 1e200 * NOISE}, r"own.npz: feature 0 reaches .*; scale it"),
        ({"length": np.ones(12, int)}, "has an array 'length', needed inputs, .*group"),
        ({"group": np.ones(12, int)}, "has an array 'group', needed inputs"),
        ({"targets": None}, "no targets"),
        ({"targets": np.zeros((12, 5), int)}, "that are floats; a label for each step"),
        ({"targets": np.zeros((12, 5, 2))}, "needed class numbers"),
        ({"targets": np.array(["a", "b"] * 6)}, "own.npz: targets .* dtype <U1"),
        ({"targets": np.full(12, np.inf)}, "own.npz: targets has .* sequence 0"),
        ({"targets": 1e200 * NOISE[:, 0]}, "own.npz: target 0 reaches"),
        ({"targets": np.zeros(12, int)}, "targets run from 0 to 0, .* 0 to 1 or more"),
        ({"targets": np.arange(12) % 2 - 1}, "targets run from -1 to 0, .*; renumber"),
        ({"targets": np.zeros(11)}, r"shape \(11,\) and .* for 12 sequences"),
        ({"lengths": np.zeros(12, int)}, "lengths run from 0 to 0, needed 1 to 5"),
        ({"lengths": np.full(12, 6)}, "lengths run from 6 to 6"),
        ({"groups": np.zeros((12, 2), int)}, "groups have shape"),
        ({"groups": np.zeros(12, int)}, "12 and 0 sequences of 1 groups"),
    ],
)
def test_faulty_files_of_sequences(tmp_path, changes, match):
    write(tmp_path / "own.npz", **changes)
    with pytest.raises(ValueError, match=match):
        load_own(tmp_path / "own.npz")


def test_what_is_no_archive_is_told_as_such(tmp_path):
    np.save(tmp_path / "array.npy", NOISE)
    (tmp_path / "array.npy").rename(tmp_path / "own.npz")
    (tmp_path / "other.npz").write_bytes(b"PK and no more")
    for name in ("own.npz", "other.npz"):
        with pytest.raises(
            ValueError, match=r"it is no archive.*needed .* numpy\.savez"
        ):
            load_own(tmp_path / name)


def test_steps_too_long_for_explicit_units_are_told_at_once(tmp_path, capsys):
    write(tmp_path / "own.npz")
    given = [
        "train",
        "--data",
        str(tmp_path / "own.npz"),
        "--explicit",
        "--epochs",
        "1",
    ]
    long = [*given, "--final-time", "60", "--coarsening", "2"]
    assert main(long) == 2
    out, error = capsys.readouterr()
    assert not out
    assert len(error.splitlines()) == 1
    assert "the step of the layers is 12" in error
    assert main([*long, "--initial-guess", "serial"]) == 0


def test_a_problem_and_a_file_are_one_too_many(tmp_path, capsys):
    write(tmp_path / "own.npz")
    assert main(["train", "peaks", "--data", str(tmp_path / "own.npz")]) == 2
    assert "own.npz are both given; leave one out" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named_with_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("none.npz", "none.csv"):
        with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / name))):
            load_own(name, [] if name.endswith("npz") else ["y"])


def test_sequences_have_their_targets_with_them(tmp_path):
    write(tmp_path / "own.npz")
    with pytest.raises(ValueError, match="has an array of them"):
        load_own(tmp_path / "own.npz", ["targets"])


def test_targets_are_none_by_leaving_them_out(tmp_path):
    write(tmp_path / "own.npz")
    with pytest.raises(TypeError, match="targets is None, needed names"):
        load_own(tmp_path / "own.npz", None)

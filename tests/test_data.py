"""Problems computed from a formula, and what load_problem and Problem refuse."""

from pathlib import Path

import numpy as np
import pytest

from mgresnet.data import (
    PEAKS_EDGES,
    PROBLEMS,
    Problem,
    Split,
    load_problem,
    peaks_class,
    peaks_function,
)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"published data sets not found in {SHARED}"
)
COMPUTED = ("peaks", "peaks-regression", "sine", "shapes")
MEASURED = (
    "airfoil",
    "concrete",
    "power-plant",
    "california",
    "indian-pines",
    "salinas",
)
SHIPPED = (*COMPUTED, "fashion-mnist")
SEEDS = (13, 666, 40961)


def same_split(one, two):
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def plain_split(n):
    return Split(np.arange(2.0 * n).reshape(n, 2), np.arange(n))


# --- Peaks -----------------------------------------------------------------


def test_peaks_function_by_hand():
    e = np.exp
    np.testing.assert_allclose(peaks_function(0, 0), 3 / e(1) - 1 / (3 * e(1)))
    np.testing.assert_allclose(peaks_function(1, 0), 8 / e(1) - 1 / (3 * e(4)))
    np.testing.assert_allclose(
        peaks_function(0, 2), 3 * e(-9) + 320 * e(-4) - e(-5) / 3
    )
    np.testing.assert_allclose(peaks_function([[0], [1]], [0, 2]).shape, (2, 2))


def test_edges_and_populations_on_the_grid():
    line = np.linspace(-3, 3, 256)
    height = peaks_function(line[:, None], line)
    np.testing.assert_allclose(
        PEAKS_EDGES, np.linspace(height.min(), height.max(), 6), rtol=1e-14
    )
    counts = np.bincount(peaks_class(line[:, None], line).ravel())
    assert counts.tolist() == [1829, 7968, 47557, 6384, 1798]


def test_class_beyond_the_grid_range_is_the_outermost():
    line = np.linspace(-3, 3, 2001)
    height = peaks_function(line[:, None], line)
    label = peaks_class(line[:, None], line)
    outside = (height < PEAKS_EDGES[0]) | (height > PEAKS_EDGES[-1])
    assert set(label[outside]) == {0, 4}


def test_class_of_a_point_without_value():
    with pytest.raises(ValueError, match=r"^1 of 2 points .* expected finite"):
        peaks_class([0.0, np.nan], 0.0)


@needs_shared
@pytest.mark.parametrize(("part", "n"), [("training", 5000), ("validation", 200)])
def test_published_labels_agree(part, n):
    points = np.loadtxt(SHARED / "peaks" / f"features_{part}.dat.gz")
    one_hot = np.loadtxt(SHARED / "peaks" / f"labels_{part}.dat.gz")
    assert points.shape == (n, 2)
    assert np.array_equal(peaks_class(*points.T), one_hot.argmax(axis=1))


# --- Computed problems -----------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("n_train", "n_validation"), [(997, 13), (3, 40)])
def test_peaks_is_balanced_and_rightly_labelled(seed, n_train, n_validation):
    problem = load_problem(
        "peaks", n_train=n_train, n_validation=n_validation, seed=seed
    )
    for split, n in ((problem.train, n_train), (problem.validation, n_validation)):
        counts = np.bincount(split.targets, minlength=5)
        assert counts.sum() == n
        assert np.ptp(counts) <= 1
        assert np.array_equal(split.targets, peaks_class(*split.inputs.T))
    assert (np.diff(problem.train.targets) < 0).any()  # classes come mixed


def test_peaks_points_are_uniform_within_their_class():
    # The middle class is large enough to compare with counts on a fine grid.
    problem = load_problem("peaks", n_train=10000, seed=666)
    points = problem.train.inputs[problem.train.targets == 2]
    line = (np.arange(800) + 0.5) * 6 / 800 - 3
    x, y = (a.ravel() for a in np.meshgrid(line, line))
    inside = peaks_class(x, y) == 2
    bins = [np.linspace(-3, 3, 5)] * 2
    share = np.histogram2d(x[inside], y[inside], bins)[0] / inside.sum()
    expected = 2000 * share
    found = np.histogram2d(*points.T, bins)[0]
    chi_square = ((found - expected) ** 2 / expected).sum()
    assert chi_square < 37.7  # 99.9 % quantile for 15 degrees of freedom


@pytest.mark.parametrize("name", ["peaks-regression", "sine"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_regression_targets_are_the_function(name, dtype):
    problem = load_problem(name, seed=666, dtype=dtype)
    for inputs, targets in (problem.train, problem.validation):
        assert inputs.dtype == targets.dtype == dtype
        exact = inputs.astype("float64")
        value = peaks_function(*exact.T) if "peaks" in name else np.sin(exact[:, 0])
        tolerance = 4 * np.finfo(dtype).eps
        np.testing.assert_allclose(targets[:, 0], value, tolerance, tolerance)
    reach = 3.0 if "peaks" in name else np.pi
    low, high = problem.train.inputs.min(), problem.train.inputs.max()
    assert -reach <= low < -0.98 * reach
    assert 0.98 * reach < high <= reach


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", COMPUTED)
def test_no_point_occurs_twice(name, dtype):
    # In single precision 40000 plain draws from [-pi, pi] repeat about 40 values.
    n = 20000 if name == "sine" else 2000
    problem = load_problem(name, n_train=n, n_validation=n, seed=13, dtype=dtype)
    points = np.concatenate([problem.train.inputs, problem.validation.inputs])
    assert len(np.unique(points, axis=0)) == 2 * n


@pytest.mark.parametrize("name", SHIPPED)
def test_problem_follows_from_its_arguments(name):
    problem = load_problem(name, n_train=77, n_validation=55, seed=40961)
    again = load_problem(name, n_train=77, n_validation=55, seed=40961)
    other = load_problem(name, n_train=77, n_validation=55, seed=40962)
    longer = load_problem(name, n_train=77, n_validation=66, seed=40961)
    assert same_split(problem.train, again.train)
    assert same_split(problem.validation, again.validation)
    assert not same_split(problem.train, other.train)
    assert same_split(problem.train, longer.train)
    assert len(longer.validation.inputs) == 66
    assert not np.array_equal(problem.train.inputs[:55], problem.validation.inputs)


@pytest.mark.parametrize("name", SHIPPED)
def test_problem_describes_its_arrays(name):
    problem = load_problem(name, dtype=np.float32)
    sizes = (500, 200) if name == "fashion-mnist" else (1000, 400)
    shape = () if problem.kind == "classification" else (problem.n_outputs,)
    assert problem.name == name
    for split, n in zip((problem.train, problem.validation), sizes, strict=True):
        assert split.inputs.shape == (n, problem.n_features)
        assert split.targets.shape == (n, *shape)
        assert split.inputs.dtype == np.float32
        assert split.targets.dtype == (np.float32 if shape else np.int64)
        assert split.inputs.flags.c_contiguous
        assert split.inputs.flags.writeable
    if not shape:
        assert len(problem.class_names) == problem.n_outputs
        assert set(problem.train.targets) == set(range(problem.n_outputs))
    assert f"{sizes[0]} training and {sizes[1]} validation" in str(problem)
    assert "\n" not in repr(problem) + problem.source


# --- Wrong arguments -------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("peeks", {}, r"^unknown problem 'peeks'; did you mean 'peaks'\? try peaks, "),
        (
            "xyz",
            {},
            r"^unknown problem 'xyz'; try peaks, .*shapes, fashion-mnist, mnist",
        ),
        ("sine", {"n_train": 0}, r"^n_train must be at least 1, got 0$"),
        ("peaks", {"n_validation": -3}, r"^n_validation must be at least 1, got -3"),
        ("peaks", {"seed": -1}, r"^seed must be at least 0, got -1$"),
        ("sine", {"dtype": "int32"}, r"^dtype=int32; expected float64 or float32, try"),
        ("sine", {"data_dir": "/d"}, r"^got data_dir='/d' .* leave data_dir out$"),
        ("mnist", {}, r"not shipped .*no data_dir; .*train-images.*t10k-labels"),
        (
            "fashion-mnist",
            {"n_train": 501},
            r"^n_train=501, but '.*fashion_mnist_subset' holds 500 such samples; "
            r"ask for at most 500, or give data_dir with the full set$",
        ),
        ("fashion-mnist", {"n_validation": 201}, r"n_validation=201, .* at most 200"),
    ],
)
def test_load_problem_refuses(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        load_problem(name, **arguments)


def test_numbers_must_be_integers():
    expected = r"^n_train must be an integer, got 10\.0; try 10$"
    with pytest.raises(TypeError, match=expected):
        load_problem("sine", n_train=10.0)
    with pytest.raises(TypeError, match=r"^seed must be an integer, got None"):
        load_problem("sine", seed=None)
    assert len(load_problem("sine", n_train=np.int32(9)).train.inputs) == 9


def test_every_problem_has_its_name():
    read = "mnist", "cifar-10", "cifar-100", "moving-images", "hapt", "uci-har"
    names = (*SHIPPED, *read, *MEASURED)
    assert tuple(PROBLEMS) == names


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "ranking"}, r"kind is 'ranking'; choose one of classification, reg"),
        ({"class_names": ("a", "b")}, r"2 class names for 5 classes; give one name"),
        ({"n_outputs": 4}, r"train split: labels run from 0 to 4; expected 0 to 3"),
        ({"kind": "regression"}, r"targets have shape \(5,\); expected \(5, 5\) for"),
        (
            {"validation": Split(np.ones((5, 3)), np.arange(5))},
            r"validation split: inputs have shape \(5, 3\); expected \(n, 2\)",
        ),
        (
            {"validation": Split(np.ones((5, 2)), np.arange(4))},
            r"validation split: targets have shape \(4,\); expected \(5,\)",
        ),
        (
            {"train": Split(np.ones((5, 2)), np.ones(5))},
            r"train split: labels are float64; expected integers",
        ),
    ],
)
def test_problem_refuses(changes, message):
    split = plain_split(5)
    fields = {
        "name": "mine",
        "kind": "classification",
        "train": split,
        "validation": split,
        "n_outputs": 5,
        "source": "made up",
    }
    assert Problem(**fields).n_features == 2
    with pytest.raises(ValueError, match=rf"^problem 'mine'.*{message}"):
        Problem(**(fields | changes))

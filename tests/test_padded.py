"""Sequences of different lengths in one array."""

import numpy as np
import pytest

import mgresnet as mg


def sequences(dtype=np.float64):
    """Five sequences of 3 features, 1 to 9 steps long."""
    rng = np.random.default_rng(61501)
    return [rng.standard_normal((n, 3)).astype(dtype) for n in (4, 1, 9, 2, 9)]


@pytest.mark.parametrize("steps", [None, 12])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_sequence_comes_back_from_its_mask(steps, dtype):
    given = sequences(dtype)
    out = mg.padded(given, steps)
    assert out.shape == (5, steps or 9, 4)
    assert out.dtype == dtype
    for sequence, row in zip(given, out, strict=True):
        counts = row[:, -1] == 1.0
        np.testing.assert_array_equal(row[counts, :-1], sequence)
        assert not row[~counts].any()


def test_whole_numbers_and_lists_will_do():
    assert mg.padded([[[1], [2]], [[3]]]).dtype == np.float64


@pytest.mark.parametrize(
    ("fault", "error", "match"),
    [
        (np.zeros((0, 3)), ValueError, r"sequence 2 has shape \(0, 3\).*one step"),
        (np.zeros(3), ValueError, r"sequence 2 has shape \(3,\).*\[:, None\]"),
        (np.zeros((3, 2)), ValueError, "sequence 2 has 2 features, sequence 0 has 3"),
        (np.full((2, 3), np.nan), ValueError, r"2 frames that .* step 0"),
        (np.full((2, 3), 1j), TypeError, "dtype complex128"),
    ],
)
def test_faults_name_the_sequence(fault, error, match):
    with pytest.raises(error, match=match):
        mg.padded([*sequences()[:2], fault])


def test_too_few_steps_and_no_sequences_are_refused():
    with pytest.raises(ValueError, match=r"sequence 2 has 9 steps.*steps=9"):
        mg.padded(sequences(), 8)
    with pytest.raises(TypeError, match=r"steps must be .* got 8\.5; try 9"):
        mg.padded(sequences(), 8.5)
    with pytest.raises(TypeError, match=r"sequences is None, .* a list of arrays"):
        mg.padded(None)
    with pytest.raises(ValueError, match="needed one sequence or more"):
        mg.padded([])

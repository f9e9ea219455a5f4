"""Marches through some samples of larger arrays, in place."""

import numpy as np
import pytest
from marches import steps_of, tape_of

import mgresnet as mg
from mgresnet.arrays.layout import absent, whole_rows
from mgresnet.layers.scheme import third_order

NONE = absent(np.float64)
PARTS = [slice(0, 5), slice(5, 21), slice(21, 37)]


def problem(width, n_stages):
    """A layer, prepared steps, states (n + 1, width, batch), and some numbers."""
    layer, rng = mg.Dense(width), np.random.default_rng(20411)
    scheme = third_order(4) if n_stages > 1 else None
    steps = steps_of(layer, layer.init(rng, 6), 0.3, scheme)
    u = rng.standard_normal((7, width, 37))
    layer.march(steps, u[:1].copy(), u[None, 1:], NONE, NONE)
    return layer, steps, u, rng.standard_normal((7, width, 37))


@pytest.mark.parametrize("n_stages", [1, 3])
@pytest.mark.parametrize("width", [1, 5])
def test_marches_of_parts_in_place_are_those_of_the_whole(width, n_stages):
    layer, steps, u, w = problem(width, n_stages)
    tape, known = tape_of(layer, steps, u[:-1]), u[:-1]
    whole, parts = w.copy(), w.copy()
    layer.march_back(steps, whole[:1], whole[None, 1:], NONE, known, tape, NONE, NONE)
    again = np.full_like(u, np.nan)
    again[0] = u[0]
    for some in PARTS:
        v, x = again[..., some], parts[..., some]
        layer.march(steps, v[:1], v[None, 1:], NONE, NONE)
        given = NONE, u[:-1][..., some], tape[..., some]
        layer.march_back(steps, x[:1], x[None, 1:], *given, NONE, NONE)
    np.testing.assert_array_equal(again, u)
    np.testing.assert_array_equal(parts, whole)


def test_steps_without_a_tape_note_one_beside_the_states():
    layer, steps, u, w = problem(5, 3)
    whole, parts = w.copy(), w.copy()
    known = NONE, u[:-1], NONE, NONE, NONE
    layer.march_back(steps, whole[:1], whole[None, 1:], *known)
    for some in PARTS:
        x = parts[..., some]
        given = NONE, u[:-1][..., some], NONE, NONE, NONE
        layer.march_back(steps, x[:1], x[None, 1:], *given)
    np.testing.assert_array_equal(parts, whole)


def test_arrays_that_are_no_slices_of_samples_are_refused():
    a = np.zeros((3, 4, 10))
    for no_slice in (a[..., ::2], a.transpose(1, 0, 2)[..., :4]):
        with pytest.raises(ValueError, match=r"strides .* needed samples side by side"):
            whole_rows(no_slice)

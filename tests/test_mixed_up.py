"""Arguments in each other's place: a message that says which, and what to give."""

import numpy as np
import pytest

import mgresnet as mg

NET = mg.Network(mg.Dense(3), 8)


@pytest.mark.parametrize(
    ("given", "hint"),
    [(8.0, 8), ("8", 8), (np.float64(6), 6), (8.5, 1), ("x", 1), (True, 1), (-2.0, 1)]
    + [(None, 1), (float("nan"), 1), ("inf", 1), ("1e300", 1)],
)
def test_a_number_that_is_no_integer_is_hinted_at_as_one(given, hint):
    with pytest.raises(TypeError, match=f"depth must be an integer, .*; try {hint}$"):
        mg.Network(mg.Dense(3), given)

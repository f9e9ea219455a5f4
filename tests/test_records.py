"""Options, networks, penalties and grids: what their records refuse."""

import re

import numpy as np
import pytest

import mgresnet as mg
from mgresnet.mgrit.options import INITIAL_GUESSES
from mgresnet.timeline.grid import TimeGrid

BAD = {
    "coarsening 1": (
        lambda: mg.MGRITOptions((4, 1)),
        ValueError,
        "coarsening must be at least 2, got 1",
    ),
    "coarsening by half": (
        lambda: mg.MGRITOptions((4.5,)),
        TypeError,
        "coarsening must be an integer, got 4.5",
    ),
    "relaxations of other levels": (
        lambda: mg.MGRITOptions((4, 4), (1, 0, 1)),
        ValueError,
        "relaxations (1, 0, 1) has 3 entries for 2 coarsening factors; give one per "
        "factor, or a single integer",
    ),
    "negative relaxations": (
        lambda: mg.MGRITOptions(relaxations=-1),
        ValueError,
        "relaxations must be at least 0, got -1",
    ),
    "relaxations by name": (
        lambda: mg.MGRITOptions(relaxations="FCF"),
        TypeError,
        "relaxations must be an integer, got 'FCF'",
    ),
    "unknown cycle": (
        lambda: mg.MGRITOptions(cycle="X"),
        ValueError,
        "unknown cycle 'X'; choose from V, W, F",
    ),
    "unknown guess": (
        lambda: mg.MGRITOptions(initial_guess="random"),
        ValueError,
        "unknown initial_guess 'random'; choose from coarse, constant, zero, serial",
    ),
    "true iterations": (
        lambda: mg.MGRITOptions(max_iterations=True),
        TypeError,
        "max_iterations must be an integer, got True",
    ),
    "negative iterations": (
        lambda: mg.MGRITOptions(max_iterations=-3),
        ValueError,
        "max_iterations must be at least 0, got -3",
    ),
    "negative tolerance": (
        lambda: mg.MGRITOptions(tolerance=-1e-3),
        ValueError,
        "tolerance is -0.001, needed a finite number >= 0 (0: never stop early)",
    ),
    "NaN as tolerance": (
        lambda: mg.MGRITOptions(tolerance=np.nan),
        ValueError,
        "tolerance is nan, needed a finite number",
    ),
    "weight 2": (
        lambda: mg.MGRITOptions(relaxation_weight=2.0),
        ValueError,
        "relaxation_weight is 2.0, needed a number between 0 and 2",
    ),
    "depth 0": (
        lambda: mg.Network(mg.Dense(3), 0),
        ValueError,
        "depth must be at least 1, got 0",
    ),
    "depth 2.0": (
        lambda: mg.Network(mg.Dense(3), 2.0),
        TypeError,
        "depth must be an integer, got 2.0",
    ),
    "no time": (
        lambda: mg.Network(mg.Dense(3), 4, 0.0),
        ValueError,
        "final_time must be a positive number, got 0.0",
    ),
    "endless time": (
        lambda: mg.Network(mg.Dense(3), 4, np.inf),
        ValueError,
        "final_time must be a positive number, got inf",
    ),
    "opening too wide": (
        lambda: mg.Network(mg.Dense(3), 4, opening=mg.Widen(2, 4)),
        ValueError,
        "the opening makes 4 features, the layers need 3; give both the same width",
    ),
    "head too narrow": (
        lambda: mg.Network(mg.Dense(3), 4, head=mg.Linear(2, 4)),
        ValueError,
        "the head takes 2 features, the layers make 3; give both the same width",
    ),
    "layer by name": (
        lambda: mg.Network("Dense", 3),
        TypeError,
        "layer is 'Dense', which has no state_shape, input_shape, n_params, ",
    ),
    "no layer": (lambda: mg.Network(None, 3), TypeError, "layer is None"),
    "class of layers": (
        lambda: mg.Network(mg.Dense, 3),
        TypeError,
        "layer is the class Dense, needed an instance such as Dense(4)",
    ),
    "layer as head": (
        lambda: mg.Network(mg.Dense(4), 3, head=mg.Dense(4)),
        TypeError,
        "head is a Dense, which has no n_inputs, n_outputs, apply, pull_back; needed "
        "something like Linear(4, 2)",
    ),
    "class as opening": (
        lambda: mg.Network(mg.Dense(4), 3, opening=mg.Linear),
        TypeError,
        "opening is the class Linear, needed an instance such as Linear(2, 4)",
    ),
    "number as control": (
        lambda: mg.Network(mg.Dense(4), 3, control=12),
        TypeError,
        "control is 12, which has no shared, n_rows, owned, values, basis, reach, ",
    ),
    "time as a word": (
        lambda: mg.Network(mg.Dense(4), 3, "1"),
        TypeError,
        "final_time must be a real number, got '1'; try 1.0",
    ),
    "rate as a word": (
        lambda: mg.adam("0.1"),
        TypeError,
        "learning rate must be a real number, got '0.1'",
    ),
    "no seed": (
        lambda: mg.Network(mg.Dense(3), 4).init(None),
        TypeError,
        "seed must be an integer, got None",
    ),
    "half precision": (
        lambda: mg.Network(mg.Dense(3), 4).init(dtype=np.float16),
        TypeError,
        "needed np.float64 or np.float32",
    ),
    "negative penalty": (
        lambda: mg.Regularisation(smoothness=-1.0),
        ValueError,
        "smoothness is -1.0, needed a finite number >= 0",
    ),
    "NaN as penalty": (
        lambda: mg.Regularisation(head=np.nan),
        ValueError,
        "head is nan, needed a finite number >= 0",
    ),
    "too many ranks": (
        lambda: TimeGrid(100, 1.0, (8, 4)).slab(0, 4),
        ValueError,
        "too many ranks: 4 ranks, but depth 100 with coarsening (8, 4) has 3 coarsest "
        "interval(s) and every rank needs one; use at most 3 rank(s), a deeper network "
        "or smaller coarsening factors",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_values_are_refused_with_a_message_that_helps(case):
    call, kind, message = BAD[case]
    with pytest.raises(kind, match=re.escape(message)):
        call()


@pytest.mark.parametrize("guess", INITIAL_GUESSES)
@pytest.mark.parametrize("cycle", ["V", "W", "F"])
def test_options_take_lists_and_numpy_integers(guess, cycle):
    options = mg.MGRITOptions(
        [np.int64(4), 2], np.int32(1), cycle, np.int8(3), initial_guess=guess
    )
    assert options.coarsening == (4, 2)
    assert options.sweeps(2) == (1, 1)
    assert hash(options) == hash(
        mg.MGRITOptions((4, 2), 1, cycle, 3, initial_guess=guess)
    )


def test_shorthands_are_points_of_the_same_space():
    assert mg.MGRITOptions.parareal(8) == mg.MGRITOptions((8,), 0)
    assert mg.MGRITOptions(8) == mg.MGRITOptions((8,))
    assert mg.MGRITOptions.serial().max_iterations == 0
    assert mg.MGRITOptions.serial().coarsening == ()


@pytest.mark.parametrize(
    ("depth", "coarsening", "factors", "steps"),
    [
        (100, (8, 4), (8, 4), (100, 12, 3)),
        (37, (5, 3, 3), (5, 3), (37, 7, 2)),
        (8, (16,), (), (8,)),
        (8, (8,), (8,), (8, 1)),
        (1, (), (), (1,)),
    ],
)
def test_levels_of_a_grid(depth, coarsening, factors, steps):
    grid = TimeGrid(depth, 1.0, coarsening)
    assert grid.factors == factors
    assert grid.steps == steps
    assert grid.interval == np.prod(factors, dtype=int)


@pytest.mark.parametrize("depth", [1, 24, 37, 100])
@pytest.mark.parametrize("coarsening", [(), (3,), (4, 2)])
def test_slabs_tile_the_layers_in_whole_intervals(depth, coarsening):
    grid = TimeGrid(depth, 1.0, coarsening)
    for size in range(1, grid.steps[-1] + 1):
        slabs = [grid.slab(rank, size) for rank in range(size)]
        assert [n for slab in slabs for n in slab] == list(range(depth))
        assert all(slab.start % grid.interval == 0 for slab in slabs)
        shares = [len(slab) // grid.interval for slab in slabs]
        assert max(shares) - min(shares) <= 1
    with pytest.raises(ValueError, match=f"use at most {grid.steps[-1]} rank"):
        grid.slab(0, grid.steps[-1] + 1)

"""Ranks that were given different things all hear of it, and none of them waits."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from fakes import run_ranks

import mgresnet as mg
from mgresnet.parallel.agree import agreement
from mgresnet.parallel.describe import texts_of
from mgresnet.parallel.roll import (
    AT_ODDS,
    ENDED,
    LANES,
    absent,
    is_unanimous,
    last_row,
    row_of,
    row_of_group,
)

NET = mg.Network(mg.Dense(3), 24, 2.0, mg.Linear(2, 3, "tanh"), mg.Linear(3, 4))
OPTIONS = mg.MGRITOptions((4,), max_iterations=2, tolerance=0.0)
RNG = np.random.default_rng(1)
X, LABELS = RNG.normal(size=(9, 2)), RNG.integers(0, 4, 9)
LOSS = mg.SoftmaxCrossEntropy()
SIZE, ODD = 3, 1  # ranks, and the one that differs


class Given(NamedTuple):
    """What a rank was given."""

    net: mg.Network = NET
    options: mg.MGRITOptions = OPTIONS
    inputs: object = X
    targets: object = LABELS
    dtype: str = "float64"
    seed: int = 5
    objective: object = LOSS

    @property
    def params(self):
        """Drawn from the seed."""
        return mg.Params(
            *(part.astype(self.dtype) for part in self.net.init(self.seed))
        )


def errors(function, size=SIZE):
    """What every rank raises."""

    def attempt(comm):
        try:
            function(comm)
        except (ValueError, TypeError, RuntimeError, AttributeError) as error:
            return error
        return None

    return run_ranks(attempt, size, timeout=20.0)


def all_say(found, message, others=None):
    """Every rank raises, all but the odd one with the same words."""
    texts = [str(error) for error in found]
    assert None not in found
    told = [text for rank, text in enumerate(texts) if rank != ODD or others is None]
    assert len(set(told)) == 1
    assert message in told[0]
    if others is not None:
        assert others in texts[ODD]


def solve(given, comm):
    """Only forward."""
    kwargs = {"options": given.options, "comm": comm}
    return mg.solve_forward(given.net, given.params, given.inputs, **kwargs)


def gradient(given, comm):
    """Loss and gradient."""
    return mg.value_and_gradient(
        given.net,
        given.params,
        given.inputs,
        given.targets,
        objective=given.objective,
        forward=given.options,
        adjoint=given.options,
        comm=comm,
    )


def score(given, comm):
    """Loss and score."""
    return mg.evaluate(
        given.net,
        given.params,
        given.inputs,
        given.targets,
        objective=given.objective,
        options=given.options,
        comm=comm,
    )


def outputs(given, comm):
    """Prediction."""
    kwargs = {"options": given.options, "comm": comm}
    return mg.predict(given.net, given.params, given.inputs, **kwargs)


def train(given, comm, **how):
    """Two steps."""
    how = {"optimiser": mg.adam(0.05), "objective": given.objective} | how
    both = {"forward": given.options, "adjoint": given.options, "comm": comm}
    data = how.pop("batches", [(given.inputs, given.targets)] * 2)
    return list(mg.train(given.net, given.params, data, **both, **how))


CALLS = {
    "solve_forward": solve,
    "value_and_gradient": gradient,
    "evaluate": score,
    "predict": outputs,
    "train": train,
}
OTHER_OPTIONS = {
    "max_iterations": 3,
    "tolerance": 0.1,
    "relaxations": 1,
    "cycle": "W",
    "coarsening": (2,),
    "initial_guess": "serial",
    "coarse_operator": "mean",
    "relaxation_weight": 0.7,
}
OTHER_NETWORKS = {
    "depth": replace(NET, depth=25),
    "layer.width": mg.Network(
        mg.Dense(5), 24, 2.0, mg.Linear(2, 5, "tanh"), mg.Linear(5, 4)
    ),
    "layer.activation": replace(NET, layer=mg.Dense(3, "relu")),
    "layer.bias": replace(NET, layer=mg.Dense(3, bias="none")),
    "final_time": replace(NET, final_time=3.0),
    "control": replace(NET, control=mg.BSpline(5)),
    "head.n_outputs": replace(NET, head=mg.Linear(3, 5)),
}


def disagree(call, odd, **usual):
    """Errors if one rank is given something else."""
    cases = [Given(**(usual | (odd if rank == ODD else {}))) for rank in range(SIZE)]
    return errors(lambda comm: CALLS[call](cases[comm.rank], comm))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", OTHER_OPTIONS)
def test_options_that_differ_are_named_on_all_ranks(name, call):
    options = replace(OPTIONS, **{name: OTHER_OPTIONS[name]})
    found = disagree(call, {"options": options})
    mine = OTHER_OPTIONS[name]
    about = f"{name}: {mine} on rank 1, {getattr(OPTIONS, name)} on ranks 0, 2"
    if name == "coarsening":
        about = f"{name}.0: 2 on rank 1, 4 on ranks 0, 2"
    all_say(found, about)
    assert f"ranks do not agree in {call} on" in str(found[0])


@pytest.mark.parametrize("call", ["train", "value_and_gradient"])
def test_states_that_are_kept_have_to_be_the_same(call):
    def attempt(comm):
        keep = "all" if comm.rank == ODD else "c-points"
        given = {"objective": Given().objective, "comm": comm, "keep": keep}
        batch = (Given().inputs, Given().targets)
        if call == "train":
            how = given | {"optimiser": mg.adam(0.1)}
            return list(mg.train(Given().net, Given().params, [batch], **how))
        return mg.value_and_gradient(Given().net, Given().params, *batch, **given)

    all_say(errors(attempt), "keep: all on rank 1, c-points on ranks 0, 2")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", OTHER_NETWORKS)
def test_networks_that_differ_are_named_on_all_ranks(name, call):
    all_say(disagree(call, {"net": OTHER_NETWORKS[name]}), f"net.{name}: ")


@pytest.mark.parametrize("call", CALLS)
def test_batches_and_dtypes_that_differ_are_named(call):
    small = {"inputs": X[:7], "targets": LABELS[:7]}
    all_say(
        disagree(call, small), "inputs: float64 (7, 2) on rank 1, float64 (9, 2) on"
    )
    single = {"dtype": "float32", "inputs": X.astype("float32")}
    all_say(disagree(call, single), "float32")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"inputs": X * np.nan}, "inputs has NaN or infinity"),
        ({"inputs": np.ones((9, 5))}, "inputs has shape (9, 5), needed (batch, 2)"),
        ({"inputs": X.astype("float32")}, "inputs has dtype float32"),
        ({"inputs": None}, "TypeError"),
        ({"options": {"coarsening": (4,)}}, "which has no coarsening"),
    ],
    ids=["NaN", "features", "dtype", "None", "no options"],
)
def test_what_one_rank_refuses_is_an_error_on_all(call, odd, message):
    found = disagree(call, odd)
    told = [str(error) for rank, error in enumerate(found) if rank != ODD]
    assert all(f"fails on some ranks: {type(found[ODD]).__name__}" in t for t in told)
    assert all(message in text and "on rank 1" in text for text in told)


@pytest.mark.parametrize("call", ["value_and_gradient", "evaluate", "train"])
def test_labels_that_one_rank_refuses_are_an_error_on_all(call):
    found = disagree(call, {"targets": LABELS + 9})
    all_say(found, "ValueError: targets run from", "targets run from")
    assert not str(found[ODD]).startswith("ranks")


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"optimiser": mg.sgd(0.1)}, "optimiser."),
        ({"optimiser": mg.adam(0.06)}, ": 0.06 on rank 1, 0.05 on ranks 0, 2"),
        ({"optimiser": mg.adam(mg.cosine(0.05, 9))}, "cosine on rank 1, constant on"),
        (
            {"optimiser": mg.chain(mg.clip_by_global_norm(1.0), mg.adam(0.05))},
            "clip_by_global_norm on rank 1",
        ),
        ({"regularisation": mg.Regularisation(0.1)}, "regularisation: Regularisation"),
        ({"gradient_tolerance": 0.1}, "gradient_tolerance: 0.1 on rank 1, None on"),
        ({"ranks": 64}, "ranks: 64 on rank 1, 3 on ranks 0, 2"),
        ({"check_every": 3}, "check_every: 3 on rank 1, None on ranks 0, 2"),
        ({"objective": mg.LeastSquares()}, "LeastSquares"),
        ({"batches": [(X, LABELS)] * 3}, "number of batches: 3 on rank 1, 2 on ranks"),
        ({"batches": iter([])}, "end of its batches after 0 step(s) on rank 1, step 0"),
        (
            {"batches": iter([(X, LABELS)])},
            "after 1 step(s) on rank 1, step 1 of train",
        ),
        ({"batches": iter([(X, LABELS)] * 3)}, "step 2 of train on rank 1, the end"),
        ({"batches": iter([(X, LABELS), None])}, "step 1 of train fails on some ranks"),
        (
            {"batches": iter([(X, LABELS), (X[:8], LABELS[:8])])},
            "inputs: float64 (8, 2)",
        ),
    ],
)
def test_runs_that_differ_are_errors_on_all_ranks(odd, message):
    def attempt(comm):
        return train(Given(), comm, **(odd if comm.rank == ODD else {}))

    found = errors(attempt)
    assert None not in found
    assert all(message in str(found[rank]) for rank in (0, 2))


def test_parameters_values_are_compared_where_a_run_begins():
    all_say(disagree("train", {"seed": 6}), "parameter values: ")


@pytest.mark.parametrize("whole", [0, 1, 2])
def test_a_rank_may_have_only_what_it_owns(whole):
    def attempt(comm):
        params = NET.init(5)
        if comm.rank != whole:
            params = mg.local_slab(NET, params, options=OPTIONS, comm=comm)
        both = {"forward": OPTIONS, "adjoint": OPTIONS, "comm": comm}
        how = {"optimiser": mg.sgd(0.1), "objective": LOSS}
        return [r.loss for r in mg.train(NET, params, [(X, LABELS)] * 2, **both, **how)]

    one, *others = run_ranks(attempt, SIZE)
    assert others == [one, one]


def test_ranks_that_make_other_calls_are_told():
    def attempt(comm):
        return (outputs if comm.rank == ODD else score)(Given(), comm)

    all_say(errors(attempt), "same call: predict on rank 1, evaluate on ranks 0, 2")


@pytest.mark.parametrize("call", ["adjoint", "gradient", "error"])
def test_what_follows_a_solve_is_compared(call):
    net = replace(NET, control=mg.BSpline(5), opening=None, head=None)
    inputs, targets = np.ones((4, 3)), np.ones((4, 3))
    loss = mg.LeastSquares()

    def attempt(comm):
        given = {"options": OPTIONS, "comm": comm}
        params = net.init()
        fwd = mg.solve_forward(net, params, inputs, **given)
        other = comm.rank == ODD
        odd = replace(net, final_time=9.0) if other else net
        same = replace(fwd, net=odd)  # as if it were one of this network
        if call == "adjoint":
            return mg.solve_adjoint(odd, params, same, targets, **given)
        adj = mg.solve_adjoint(net, params, fwd, targets, **given)
        if call == "gradient":
            return mg.parameter_gradient(odd, params, same, adj, comm=comm)
        rest = {"objective": loss, **given}
        return mg.estimate_gradient_error(odd, params, same, adj, targets, **rest)

    all_say(errors(attempt), "net.final_time: 9.0 on rank 1, 2.0 on ranks 0, 2")


SHAPES = [(1, 4), (2, 2), (4, 1)]


@pytest.mark.parametrize("odd", range(4))
@pytest.mark.parametrize(("layer", "data"), SHAPES)
def test_all_ranks_of_a_grid_hear_of_one(layer, data, odd):
    def attempt(comm):
        grid = mg.ProcessGrid.split(comm, layer=layer, data=data)
        assert (grid.rank, grid.size) == (comm.rank, comm.size)
        options = replace(OPTIONS, cycle="F") if comm.rank == odd else OPTIONS
        train(Given(options=options), grid)

    found = errors(attempt, 4)
    others = ", ".join(str(rank) for rank in range(4) if rank != odd)
    for error in found:
        assert f"forward.cycle: F on rank {odd}, V on ranks {others}" in str(error)


@pytest.mark.parametrize(("layer", "data"), SHAPES)
def test_groups_of_a_grid_that_are_at_odds_in_the_same_way_hear_of_it(layer, data):
    def attempt(comm):
        grid = mg.ProcessGrid.split(comm, layer=layer, data=data)
        with agreement(grid, "something", {"parity": comm.rank % 2}):
            pass

    for error in errors(attempt, 4):
        assert "parity: 0 on ranks 0, 2, 1 on ranks 1, 3" in str(error)


def test_ranks_that_agree_send_one_row():
    class Counting:
        """A communicator that counts roll calls and gathers."""

        def __init__(self, comm):
            self.size, self._comm, self.called = comm.size, comm, []

        def roll_call(self, row):
            self.called.append("roll call")
            return self._comm.gather(row[None])

        def gather(self, values):
            self.called.append("gather")
            return self._comm.gather(values)

    def attempt(comm):
        counting = Counting(comm)
        with agreement(counting, "nothing", {"net": NET}):
            pass
        return counting.called

    assert run_ranks(attempt, 2) == [["roll call"]] * 2


def test_one_rank_alone_compares_nothing():
    class Mute:
        size = 1

    with agreement(Mute(), "nothing", {"strange": object()}) as facts:
        facts["more"] = 1
    with (
        pytest.raises(ZeroDivisionError),
        agreement(Mute(), "nothing", {}),
    ):
        _ = 1 / 0


def test_texts_name_what_ranks_have_in_common():
    texts = dict(texts_of("options", OPTIONS))
    assert texts["options"] == "MGRITOptions"
    assert texts["options.cycle"] == "V"
    texts = dict(texts_of("optimiser", mg.adam(0.1, beta1=0.8)))
    assert "0.8" in texts.values()
    assert dict(texts_of("x", np.ones((2, 3), ">f4"))) == {"x": ">f4 (2, 3)"}
    assert dict(texts_of("x", [[1, 2], [3, 4]])) == {"x": "int64 (2, 2)"}
    assert dict(texts_of("x", [[1], [3, 4]])) == {"x": "list of 2"}
    assert dict(texts_of("x", np.float32(0.5))) == {"x": "0.5"}


def test_objects_and_functions_of_a_caller_go_by_their_names():
    """They may hold what differs from rank to rank."""

    class Schedule:
        def __init__(self, rank):
            self.rank = rank

    def make(rank):
        return lambda step: rank

    for thing in (Schedule, make):
        one, other = (dict(texts_of("x", thing(rank))) for rank in range(2))
        assert one == other
    partials = (dict(texts_of("x", partial(make, rank))) for rank in range(2))
    assert next(partials) != next(partials)


@pytest.mark.parametrize("lanes", [(0, 0), (0, 7), (7, 0), (7, 7)])
def test_unknown_digests_agree_with_all(lanes):
    rows = np.stack([row_of(3, 7, 7), row_of(3, *lanes), row_of(3, 0, 0)])
    assert is_unanimous(rows)
    assert row_of_group(rows).tolist() == [0, 3, 7, 7]
    assert not is_unanimous(np.stack([rows[0], row_of(3, 8, 7)]))
    assert not is_unanimous(np.stack([rows[0], row_of(4, 7, 7)]))


def test_groups_answer_for_those_who_left_or_are_at_odds():
    here = row_of(3)
    assert len(here) == LANES
    left = np.stack([here, last_row(5), last_row(ENDED)])
    assert absent(left) == {1: 5, 2: ENDED}
    assert row_of_group(left).tolist() == last_row(5).tolist()
    odd = np.stack([here, row_of(4)])
    assert row_of_group(odd)[0] == AT_ODDS
    assert not absent(row_of_group(odd)[None])
    assert not is_unanimous(row_of_group(odd)[None])


def test_seeds_of_all_states_are_everybodys():
    """One rank has a seed for its last state, the others one for each of theirs."""
    net = mg.Network(mg.Dense(3), 24)
    params, x = net.init(5), np.ones((4, 3))

    def back(comm):
        options = {"options": OPTIONS, "comm": comm}
        states = mg.solve_forward(net, params, x, **options)
        seed = np.ones((4, 3) if comm.rank == ODD else states.states[1:].shape)
        return mg.solve_adjoint(net, params, states, seed, **options)

    all_say(errors(back), "number of axes of the seed: 2 on rank 1, 3 on ranks 0, 2")

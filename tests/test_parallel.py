"""One rank and many compute the same bits; every rank holds its slab and no more."""

from collections import Counter
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from fakes import ThreadComm, check_verbs, run_ranks
from hypothesis import given, settings
from hypothesis import strategies as st
from mpi_program import (
    CASES,
    PENALTIES,
    Case,
    as_bits,
    assemble,
    clipped_adam,
    nesterov,
    network,
    problem,
    run,
)
from propagators import Recursion

import mgresnet as mg
from mgresnet.mgrit.solver import iterate
from mgresnet.parallel import as_time_comm
from mgresnet.parallel import shares as sharing
from mgresnet.timeline.grid import TimeGrid

RANKS = (1, 2, 3, 5, 8)


def assert_same_bits(case, *sizes):
    serial = assemble([run(case)])
    for size in sizes:
        parts = run_ranks(lambda comm: run(case, comm), size)
        parallel = assemble(parts)
        assert parallel.keys() == serial.keys()
        wrong = [k for k in serial if as_bits(serial[k]) != as_bits(parallel[k])]
        assert not wrong, f"different bits on {size} ranks"


@pytest.mark.parametrize("size", RANKS)
@pytest.mark.parametrize("name", CASES)
def test_gradients_and_training_have_the_same_bits_on_any_number_of_ranks(name, size):
    assert_same_bits(CASES[name], size)


@pytest.mark.parametrize("operator", ["matched", "mean", "injection"])
@pytest.mark.parametrize("cycle", "VWF")
@pytest.mark.parametrize("relaxations", [0, 1, 2, (2, 0)])
def test_every_cycle_has_the_same_bits(operator, cycle, relaxations):
    options = mg.MGRITOptions((2, 2), relaxations, cycle, 2, 0.0, operator)
    case = Case(network(37, mg.Dense(2)), options, options, nesterov(), n_steps=1)
    assert_same_bits(case, 2, 3, 8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("guess", ["coarse", "constant", "zero", "serial"])
def test_every_initial_guess_has_the_same_bits(guess, dtype):
    forward = mg.MGRITOptions((3, 2), 1, max_iterations=2, initial_guess=guess)
    adjoint = mg.MGRITOptions((3, 2), 0, max_iterations=0, initial_guess=guess)
    net = network(50, mg.Dense(3, bias="none"))
    case = Case(net, forward, adjoint, clipped_adam(), dtype, n_steps=1)
    assert_same_bits(case, 2, 5, 8)


@pytest.mark.parametrize(
    ("depth", "forward", "adjoint", "sizes"),
    [
        (100, (16,), (16,), (5, 6)),  # six intervals and four layers more
        (37, (37,), (37,), (1,)),
        (37, (4, 100), (4,), (2, 9)),  # one level is too short for a factor
        (1003, (5, 4, 3), (60,), (3, 8)),  # other levels, but the same slabs
        (1003, (7, 2), (7, 2), (3, 8)),
    ],
)
def test_remainders_and_uneven_slabs_have_the_same_bits(depth, forward, adjoint, sizes):
    case = Case(
        network(depth, mg.Dense(2)),
        mg.MGRITOptions(forward, 1, max_iterations=2),
        mg.MGRITOptions(adjoint, 1, max_iterations=1),
        clipped_adam(),
        n_steps=2,
        regularisation=PENALTIES,
    )
    assert_same_bits(case, *sizes)


def test_all_ranks_stop_at_the_same_iteration():
    options = mg.MGRITOptions((4,), 0, max_iterations=9, tolerance=1e-4)
    case = Case(network(37, mg.Dense(3)), options, options, nesterov(), n_steps=1)
    assert_same_bits(case, 2, 3, 5, 8)
    results = assemble([run(case)])
    assert 0 < results["gradient forward iterations"] < 9
    assert results["gradient forward status"] == "CONVERGED"


def test_a_batch_of_several_tiles_has_the_same_bits():
    options = mg.MGRITOptions((2,), 1, max_iterations=1)
    net = network(12, mg.Dense(2))
    case = Case(net, options, options, nesterov(), n_samples=700, n_steps=1)
    assert_same_bits(case, 3)


def test_pieces_are_the_whole_batch_and_small():
    for k, size, n_bytes in ((1, 1, 10**9), (1000, 3, 10**5), (4099, 8, 2000)):
        found = list(sharing.pieces(k, size, n_bytes))
        assert [i for some in found for i in range(k)[some]] == list(range(k))
        most = sharing.AT_ONCE + sharing.FEWEST * n_bytes
        for some in found:
            n = sharing.share_length(some.stop - some.start, size)
            assert n * n_bytes <= most


@pytest.mark.parametrize("size", [2, 5, 64])
@pytest.mark.parametrize(("k", "n_bytes"), [(1, 10**4), (1000, 256), (4099, 64)])
def test_turns_are_the_whole_batch_and_the_fastest(k, n_bytes, size):
    n_steps = 100

    def cost(found):
        most = max(some.stop - some.start for some in found)
        turn = sharing.START + n_steps * n_bytes * (sharing.STEP + most)
        return (len(found) + size - 1) * turn

    found = list(sharing.turns(k, n_bytes, 1, n_steps, size))
    assert [i for some in found for i in range(k)[some]] == list(range(k))
    others = [
        [slice(i, min(i + few, k)) for i in range(0, k, few)]
        for few in range(sharing.FEWEST, k + sharing.FEWEST, sharing.FEWEST)
    ]
    assert cost(found) <= min(map(cost, others))


def test_turns_keep_blocks_together():
    assert list(sharing.turns(100, 8, 0, 10**6, 8)) == [slice(0, 100)]
    assert all(some.start % 48 == 0 for some in sharing.turns(500, 8, 3, 10**6, 8))


@pytest.mark.parametrize("bias", ["vector", "scalar", "none"])
@pytest.mark.parametrize("keep", ["all", "c-points"])
def test_serial_propagation_in_turns_has_the_same_bits(keep, bias, monkeypatch):
    monkeypatch.setattr(sharing, "START", 1)
    monkeypatch.setattr(sharing, "STEP", 1)
    net, exact = network(23, mg.Dense(3, bias=bias)), mg.MGRITOptions.serial((4,))
    how = {"n_samples": 61, "n_steps": 1, "keep": keep}
    assert_same_bits(Case(net, exact, exact, nesterov(), **how), 2, 3, 5)


@pytest.mark.parametrize("n_samples", [1, 6, 37])
@pytest.mark.parametrize("name", ["two levels", "three levels"])
def test_batches_in_pieces_have_the_same_bits(name, n_samples, monkeypatch):
    monkeypatch.setattr(sharing, "AT_ONCE", 1)
    monkeypatch.setattr(sharing, "START", 1)
    monkeypatch.setattr(sharing, "STEP", 1)
    monkeypatch.setattr(sharing, "FEWEST", 3)
    case = CASES[name]._replace(n_samples=n_samples)
    assert_same_bits(case, 2, 3)


@st.composite
def random_cases(draw):
    """A case and a number of ranks that it allows."""
    depth = draw(st.integers(1, 60))
    coarsening = tuple(draw(st.lists(st.integers(2, 4), max_size=3)))
    per_level = st.tuples(*[st.integers(0, 2)] * len(coarsening))
    steps = TimeGrid(depth, 1.0, coarsening).steps
    keeps = ["all", "auto"]
    if len(steps) > 1:  # else ranks also keep their own ends
        keeps.append("c-points")
    options = st.builds(
        mg.MGRITOptions,
        coarsening=st.just(coarsening),
        relaxations=st.integers(0, 2) | per_level,
        cycle=st.sampled_from("VWF"),
        max_iterations=st.integers(0, 3),
        tolerance=st.sampled_from((0.0, 1e-3, 1e-8)),
        coarse_operator=st.sampled_from(("matched", "mean", "injection")),
        initial_guess=st.sampled_from(("coarse", "constant", "zero", "serial")),
        relaxation_weight=st.sampled_from((1.0, 0.7)),
    )
    ends = draw(st.booleans())
    layer = mg.Dense(
        draw(st.integers(1, 5)) if ends else 2,
        draw(st.sampled_from(("tanh", "relu", "smooth_relu", "sigmoid", "identity"))),
        draw(st.sampled_from(("vector", "scalar", "none"))),
    )
    case = Case(
        network(depth, layer, ends),
        draw(options),
        draw(options),
        draw(st.sampled_from((clipped_adam(), nesterov()))),
        draw(st.sampled_from(("float64", "float32"))),
        n_samples=draw(st.integers(1, 4)),
        n_steps=draw(st.integers(1, 2)),
        regularisation=draw(st.sampled_from((None, PENALTIES))),
        seed=draw(st.integers(1000, 9999)),
        keep=draw(st.sampled_from(keeps)),
    )
    most = min(8, steps[-1])
    return case, draw(st.integers(min(2, most), most))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(random_cases())
def test_random_configurations_have_the_same_bits(drawn):
    assert_same_bits(*drawn)


@given(
    st.integers(1, 5000),
    st.lists(st.integers(2, 20), max_size=4).map(tuple),
    st.integers(1, 64),
)
@settings(deadline=None, derandomize=True)
def test_slabs_are_equal_shares_of_whole_coarsest_intervals(depth, coarsening, size):
    grid = TimeGrid(depth, 1.0, coarsening)
    size = min(size, grid.steps[-1])
    slabs = [grid.slab(rank, size) for rank in range(size)]
    assert slabs[0].start == 0
    assert slabs[-1].stop == depth
    assert all(left.stop == right.start for left, right in pairwise(slabs))
    assert all(slab.start % grid.interval == 0 for slab in slabs)
    shares = [len(slab) // grid.interval for slab in slabs]
    assert 1 <= min(shares) <= max(shares) <= min(shares) + 1


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_rank_holds_its_rows_and_the_ends_that_touch_them(size):
    case = CASES["two levels"]
    grid = TimeGrid(case.net.depth, 1.0, case.forward.coarsening)
    ends = [(rank == 0, rank == size - 1) for rank in range(size)]
    rows = [len(grid.slab(rank, size)) for rank in range(size)]
    for rank, part in enumerate(run_ranks(lambda comm: run(case, comm), size)):
        for name in ("gradient", *(f"step {k}" for k in range(case.n_steps))):
            assert len(part.rows[f"{name} body"]) == rows[rank]
            held = [part.ends[f"{name} {end}"] for end in ("opening", "head")]
            assert tuple(end is not None for end in held) == ends[rank]


def solve_both(case, comm, params, inputs, seed):
    forward = mg.solve_forward(
        case.net, params, inputs, options=case.forward, comm=comm
    )
    adjoint = mg.solve_adjoint(
        case.net, params, forward, seed, options=case.adjoint, comm=comm
    )
    return forward, adjoint


@pytest.mark.parametrize("name", CASES)
def test_ranks_together_do_the_work_of_one(name):
    case = CASES[name]
    params, (inputs, _) = problem(case)
    seed = np.ones((len(inputs), case.net.layer.width), case.dtype)

    def work(comm=None):
        return [s.work for s in solve_both(case, comm, params, inputs, seed)]

    serial = work()
    assert all(counter.total() >= case.net.depth for counter in serial)
    for size in RANKS:
        shares = run_ranks(work, size)
        assert [sum(s, Counter()) for s in zip(*shares, strict=True)] == serial


def test_ranks_need_only_what_is_theirs():
    """Rows of the slab, features on the first rank, the seed on the last."""
    case = CASES["two levels"]
    params, (inputs, _) = problem(case)
    seed = np.ones((len(inputs), case.net.layer.width))

    def states(comm=None):
        return [s.states for s in solve_both(case, comm, params, inputs, seed)]

    def states_from_own(comm):
        own = mg.local_slab(case.net, params, options=case.forward, comm=comm)
        x = inputs if comm.rank == 0 else np.zeros_like(inputs)
        w = seed if comm.rank == comm.size - 1 else None
        return [s.states for s in solve_both(case, comm, own, x, w)]

    parts = zip(*run_ranks(states_from_own, 3), strict=True)
    for whole, slabs in zip(states(), parts, strict=True):
        together = [slabs[0][:1], *(slab[1:] for slab in slabs)]
        assert as_bits(np.concatenate(together)) == as_bits(whole)


@pytest.mark.parametrize("entry", ["local_slab", "solve", "gradient", "train"])
def test_too_many_ranks_is_an_error_on_all_of_them(entry):
    case = CASES["two levels"]
    params, (inputs, targets) = problem(case)
    few = mg.MGRITOptions((16,))
    fit = {"objective": mg.SoftmaxCrossEntropy(), "forward": few, "adjoint": few}
    enter = {
        "local_slab": partial(mg.local_slab, options=few),
        "solve": partial(mg.solve_forward, inputs=inputs, options=few),
        "gradient": partial(
            mg.value_and_gradient, inputs=inputs, targets=targets, **fit
        ),
        "train": partial(mg.train, batches=[], optimiser=case.optimiser, **fit),
    }[entry]

    def attempt(comm):
        with pytest.raises(ValueError, match=r"too many ranks: 3 .* at most 2 rank"):
            enter(case.net, params, comm=comm)
        return True

    assert run_ranks(attempt, 3) == [True] * 3


def test_a_propagator_that_ranks_cannot_share_is_refused():
    class Divisible(Recursion):
        sample_block = 1

    def attempt(comm):
        layers = Divisible(lambda start, stop, u: u, np.arange(9.0))
        with pytest.raises(TypeError, match=r"Divisible cannot be solved by 3 ranks"):
            iterate(layers, np.ones((1, 1)), (2,), mg.MGRITOptions((2,)), comm)
        return True

    assert run_ranks(attempt, 3) == [True] * 3


def test_serial_comm_keeps_the_contract():
    check_verbs(mg.SerialComm())


@pytest.mark.parametrize("size", RANKS)
def test_threads_keep_the_contract(size):
    run_ranks(check_verbs, size)


def test_communicators_are_recognised():
    (comm,) = run_ranks(as_time_comm, 1)
    assert isinstance(comm, ThreadComm)
    assert isinstance(as_time_comm(None), mg.SerialComm)
    with pytest.raises(TypeError, match="needed None, an mpi4py communicator"):
        as_time_comm(3)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_failing_thread_wakes_the_others(rank):
    def work(comm):
        comm.gather(np.zeros(1))
        if comm.rank == rank:
            raise ZeroDivisionError("mishap")
        comm.gather(np.zeros(1))

    with pytest.raises(ZeroDivisionError, match="mishap") as caught:
        run_ranks(work, 3)
    assert caught.value.__notes__ == [f"on rank {rank} of 3"]


@pytest.mark.parametrize(
    ("work", "error", "message"),
    [
        (lambda c: c.recv_left(np.zeros(1)), TimeoutError, r"ranks \[1\] of 2"),
        (lambda c: c.send_right(np.zeros(1)), AssertionError, "nobody received"),
        (lambda c: c.gather(np.zeros(1, f"f{4 + 4 * c.rank}")), AssertionError, "f"),
    ],
    ids=["missing", "unread", "mixed"],
)
def test_threads_report_messages_that_do_not_match(work, error, message):
    with pytest.raises(error, match=message):
        run_ranks(work, 2, timeout=2.0)

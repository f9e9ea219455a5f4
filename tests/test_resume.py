"""Training that goes on from a state is the training that never stopped."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import run_ranks
from test_oracles import DATA, HOW, LOSS, NETS, bits

import mgresnet as mg

STEPS = 6
OPTIMISERS = {
    "momentum": mg.sgd(mg.step_decay(0.05, 0.5, 2), 0.9),
    "clipped": mg.chain(mg.clip_by_global_norm(0.3), mg.adam(mg.cosine(0.02, STEPS))),
}
CONTROLLED = {"gradient_tolerance": 1e-2, "ranks": 64, "check_every": 4}
RUNS = {  # network, optimiser, options, layer ranks, data ranks
    "free": ("free", "momentum", {}),
    "free, controlled": ("free", "clipped", CONTROLLED),
    "spline, controlled": ("spline", "clipped", CONTROLLED),
    "shared": ("shared", "clipped", {"check_every": 2}),
    "chain, controlled": ("chain", "clipped", CONTROLLED),
}
each_run = pytest.mark.parametrize("name", RUNS)


def train(name, params=None, comm=None, **given):
    """Records of a run, or of the rest of one."""
    net, optimiser, options = RUNS[name]
    start = getattr(given.get("state"), "step", 0)
    batches = mg.batches(DATA, 8, epochs=STEPS // 3, seed=5, start=start)
    rest = {"optimiser": OPTIMISERS[optimiser], "objective": LOSS, "comm": comm}
    rest |= {"forward": HOW, "adjoint": HOW} | options | given
    return list(mg.train(NETS[net], params, batches, **rest))


def numbers(records):
    """What is the same on all ranks."""
    return [record._replace(seconds=None, state=None) for record in records]


def whole_run(name, comm=None):
    return train(name, NETS[RUNS[name][0]].init(9), comm)


@each_run
def test_a_run_goes_on_from_any_step(name):
    records = whole_run(name)
    for k, record in enumerate(records[:-1]):
        rest = train(name, state=record.state)
        assert numbers(rest) == numbers(records[k + 1 :])
        assert bits(rest[-1].state) == bits(records[-1].state)


@each_run
@pytest.mark.parametrize("size", [2, 3])
def test_a_state_of_one_rank_goes_on_on_several(name, size):
    records = whole_run(name)
    net = NETS[RUNS[name][0]]

    def work(comm):
        found = train(name, state=records[2].state, comm=comm)
        own = mg.local_slab(net, records[-1].params, options=HOW, comm=comm)
        assert bits(found[-1].params) == bits(own)
        return numbers(found)

    assert run_ranks(work, size) == [numbers(records[3:])] * size


@each_run
def test_states_of_several_ranks_go_on(name):
    def work(comm):
        records = whole_run(name, comm)
        rest = train(name, state=records[1].state, comm=comm)
        assert numbers(rest) == numbers(records[2:])
        return bits(rest[-1].state) == bits(records[-1].state)

    assert run_ranks(work, 3) == [True] * 3


def test_data_ranks_go_on():
    def work(comm):
        grid = mg.ProcessGrid.split(comm, layer=2, data=2)
        records = whole_run("free, controlled", grid)
        rest = train("free, controlled", state=records[2].state, comm=grid)
        return numbers(rest) == numbers(records[3:])

    assert run_ranks(work, 4) == [True] * 4


@each_run
def test_states_differ_and_are_never_written_again(name):
    net, optimiser, options = RUNS[name]
    net, seen, states = NETS[net], [], []
    rest = {"optimiser": OPTIMISERS[optimiser], "objective": LOSS, **options}
    for record in mg.train(net, net.init(9), [DATA] * STEPS, **rest):
        states.append(record.state)
        seen.append(bits(record.state))
    assert [state.step for state in states] == list(range(1, STEPS + 1))
    assert list(map(bits, states)) == seen
    assert len({repr(one[1]) for one in seen}) == STEPS


def test_ranks_of_a_state_are_those_that_plans_were_made_for():
    records = whole_run("free, controlled")
    assert records[0].state.ranks == 64
    rest = train("free, controlled", state=records[1].state, ranks=None)
    assert numbers(rest) == numbers(records[2:])


@pytest.mark.parametrize("full", [False, True])
def test_batches_start_where_others_would_be_skipped(full):
    size = None if full else 5
    for drop_last in (False, True):
        given = DATA, size, 3, 8
        every = list(mg.batches(*given, drop_last=drop_last))
        for k in range(len(every) + 2):
            some = mg.batches(*given, drop_last=drop_last, start=k)
            assert list(map(bits, some)) == list(map(bits, every[k:]))
        for batch in every:
            np.testing.assert_array_equal(batch.inputs, DATA[0][batch.rows])
            np.testing.assert_array_equal(batch.targets, DATA[1][batch.rows])


def test_a_bad_start_is_refused():
    with pytest.raises(ValueError, match=r"start.*-1"):
        mg.batches(DATA, 5, start=-1)


@pytest.mark.parametrize(
    ("state", "kind", "message"),
    [
        (3, TypeError, r"state is a int, needed a TrainState"),
        ("chain", ValueError, r"layers 0..23 of 24, 0..35 of 36, this rank has"),
    ],
)
def test_states_that_do_not_fit(state, kind, message):
    if state == "chain":
        state = whole_run("chain, controlled")[0].state
    with pytest.raises(kind, match=message):
        train("free", state=state)


def test_a_state_of_a_part_says_what_to_do():
    def work(comm):
        return whole_run("free", comm)[0].state

    state = run_ranks(work, 2)[1]
    with pytest.raises(ValueError, match=r"layers 16..36 of 37, .*save a checkpoint"):
        train("free", state=state)


def test_a_state_prints_as_a_line():
    state = whole_run("free")[1].state
    assert repr(state) == "TrainState after 2 step(s), layers 0..36 of 37"


def test_states_at_odd_steps_are_errors_on_all_ranks():
    records = whole_run("free")

    def work(comm):
        state = records[comm.rank].state
        with pytest.raises(
            ValueError, match=r"do not agree in train on steps: 1 on rank 0"
        ):
            train("free", state=state, comm=comm)

    run_ranks(work, 2)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"layer": mg.Dense(5, "relu")}, r"activation was tanh .* is relu here"),
        ({"final_time": 4.0}, r"network\.final_time was 2\.0 .* is 4\.0 here"),
        ({"opening": mg.Linear(3, 5, "tanh")}, r"opening\.activation was identity"),
    ],
)
def test_a_state_of_another_network_is_refused(other, message, tmp_path):
    """Also where all shapes are the same."""
    state = whole_run("free")[1].state
    changed = replace(NETS["free"], **other)
    mg.save_checkpoint(tmp_path, state)
    with pytest.raises(ValueError, match=message):
        mg.load_checkpoint(tmp_path, changed, options=HOW)
    rest = {"optimiser": OPTIMISERS["momentum"], "objective": LOSS, "forward": HOW}
    with pytest.raises(ValueError, match=message):
        mg.train(changed, None, [DATA], state=state, **rest)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optimiser": mg.sgd(0.1)}, r"optimiser of the state .*TraceState.*RateState"),
        ({"optimiser": mg.adam(0.1)}, r"optimiser .*TraceState.*needed .*AdamState"),
        ({"gradient_tolerance": 0.1}, r"memory .*made of None, needed Memory"),
    ],
)
def test_a_state_of_another_kind_of_training_is_refused(given, message):
    state = whole_run("free")[1].state
    with pytest.raises(ValueError, match=message):
        train("free", state=state, **given)


def test_an_oracle_of_another_network_is_refused():
    oracle = mg.layer_parallel(replace(NETS["free"], final_time=3.0), LOSS)
    net = NETS["free"]
    with pytest.raises(
        ValueError, match=r"network.final_time is 3\.0, not 2\.0; give both the same"
    ):
        mg.train(net, net.init(1), [DATA], optimiser=mg.sgd(0.1), oracle=oracle)


def test_parameters_may_be_written_to_once_training_is_set_up():
    net = NETS["free"]
    params = net.init(9)
    rest = {"optimiser": mg.sgd(0.1), "objective": LOSS}
    records = mg.train(net, params, [DATA], **rest)
    params.body[:] = 7.0
    (found,) = records
    (needed,) = mg.train(net, net.init(9), [DATA], **rest)
    assert found.value == needed.value


@pytest.mark.parametrize("one", [[mg.adam(0.1)], None, mg.adam])
def test_only_transforms_are_chained(one):
    with pytest.raises(TypeError, match=r"transform 1 is .*update.*adam\(0\.001\)"):
        mg.chain(mg.clip_by_global_norm(1.0), one)

"""The performance model: counts of real runs exactly, and times found by hand."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from fakes import run_ranks

import mgresnet as mg
from mgresnet.__main__ import main
from mgresnet.parallel import shares as sharing
from mgresnet.parallel.clock import VirtualClock
from mgresnet.parallel.machine import MACHINES
from mgresnet.parallel.shares import share_length
from mgresnet.perfmodel.clocks import Ranks
from mgresnet.perfmodel.comm import Verb
from mgresnet.perfmodel.configuration import Configuration, slabs
from mgresnet.perfmodel.cost import FREE, BatchCost, Cost, Rates
from mgresnet.perfmodel.layer import March, Observed
from mgresnet.perfmodel.measure import measure_rates
from mgresnet.perfmodel.memory import memory
from mgresnet.perfmodel.predict import Course, predict, replay, serial_seconds
from mgresnet.perfmodel.rivals import (
    bubble,
    data_parallel,
    modules_apart,
    pipeline,
)
from mgresnet.perfmodel.search import best_coarsening, break_even
from mgresnet.perfmodel.tasks import TASKS
from mgresnet.perfmodel.trace import trace
from mgresnet.timeline import adjoints
from mgresnet.timeline.grid import TimeGrid

INFINITY = float("inf")
NO_NETWORK = mg.Machine("none", 0.0, INFINITY, "made up")
PLAIN = mg.Machine("plain", 1e-6, 1e9, "made up")
BUSY = mg.Machine("busy", 1e-3, 1e6, "made up", 2e-4)
SLOW = mg.Machine("slow", 1e2, INFINITY, "made up")
LAYER = Cost.rate(1.0)
BATCH, WIDTH = 5, 3


SERIAL = [f"serial {task} {keep}" for task in TASKS for keep in ("all", "c-points")]


def rates(sweep=LAYER, coarse=FREE, around=FREE):
    """Steps cost the same both ways, and samples alike."""
    costs = {"fine": BatchCost((BATCH,), (sweep,))}
    costs["coarse"] = BatchCost((BATCH,), (coarse,))
    names = "march", "march_back", "retrace"
    marches = {f"{level} {name}": costs[level] for level in costs for name in names}
    marches |= dict.fromkeys(
        ("fine prepare", "coarse prepare"), BatchCost((1,), [FREE])
    )
    return Rates({}, marches, dict.fromkeys([*TASKS, *SERIAL], around), 0.0, 0.0)


def configuration(
    depth,
    coarsening,
    k=1,
    *,
    control=None,
    ends=False,
    bias="vector",
    keep="all",
    **options,
):
    opening, head = (mg.Linear(2, WIDTH), mg.Linear(WIDTH, 2)) if ends else (None, None)
    layer = mg.Dense(WIDTH, bias=bias)
    net = mg.Network(
        layer, depth, opening=opening, head=head, control=control or mg.Free()
    )
    same = mg.MGRITOptions(coarsening, max_iterations=k, tolerance=0.0, **options)
    return Configuration(net, BATCH, 8, same, same, keep)


SPLINE = mg.BSpline(4)


def of_sequences(config):
    """The same of a recurrent network."""
    layer, head, depth = mg.GRU(2, WIDTH), mg.Linear(WIDTH, 2), config.net.depth
    net = mg.Network(layer, depth, float(depth), head=head, control=mg.Shared())
    return replace(config, net=net)


CONFIGURATIONS = {
    "two levels": configuration(24, (4,)),
    "remainder": configuration(27, (4,), 2),
    "FCF": configuration(24, (4,), 2, relaxations=1),
    "no iteration": configuration(24, (3,), 0, relaxations=1),
    "three levels": configuration(36, (3, 2), 2, relaxations=(1, 2)),
    "W": configuration(67, (2, 2, 2), 2, cycle="W"),
    "F": configuration(64, (2, 2, 2), 1, cycle="F", relaxations=1),
    "control": configuration(24, (4,), control=SPLINE),
    "opening and head": configuration(24, (4,), ends=True, keep="c-points"),
    "c-points": configuration(27, (4,), 0, control=SPLINE, keep="c-points"),
    "c-points, FCF": configuration(29, (3,), 2, relaxations=1, keep="c-points"),
    "both": configuration(26, (3,), 2, control=SPLINE, ends=True),
    "slope": configuration(24, (2, 2), coarse_operator="third_order"),
    "one bias": configuration(24, (4,), control=SPLINE, bias="scalar"),
    "constant": configuration(24, (4,), 1, initial_guess="constant"),
    "serial": configuration(24, (4,), 0, initial_guess="serial"),
    "serial forward": replace(
        configuration(24, (4,)), forward=mg.MGRITOptions.serial((4,))
    ),
    "one level": configuration(24, ()),
    "sequences": of_sequences(configuration(24, (4,), coarse_operator="e2")),
    "sequences, three levels": of_sequences(
        configuration(44, (4, 2), 2, coarse_operator="injection", keep="c-points")
    ),
}


def done_by(comm, config):
    """Marches and books of a gradient, and of a step of training."""
    net, rng, marches = config.net, np.random.default_rng(3), []

    def act(march, run, outputs):
        marches.append(march)
        run()

    net = replace(net, layer=Observed(net.layer, act))
    steps = (net.depth,) if net.layer.input_shape else ()
    inputs = rng.normal(size=(BATCH, *steps, *net.input_shape))
    targets = np.ones((BATCH, net.n_outputs))
    how = {"forward": config.forward, "adjoint": config.adjoint, "comm": comm}
    how |= {"keep": config.keep, "objective": mg.LeastSquares()}
    params, sgd = net.init(), mg.sgd(1e-3)
    mg.value_and_gradient(net, params, inputs, targets, **how)
    yield marches, comm.account
    marches = []
    comm.reset()
    list(mg.train(net, params, [(inputs, targets)], optimiser=sgd, **how))
    yield marches, comm.account


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_marches_messages_and_bytes_are_those_of_real_runs(name, size):
    config = CONFIGURATIONS[name]
    found = run_ranks(
        lambda comm: [*done_by(mg.VirtualTimeComm(comm, PLAIN), config)], size
    )
    for i, task in enumerate(("gradient", "step")):
        predicted = predict(task, config, rates(), PLAIN, size)
        traced = trace(task, config, size)
        for rank, runs in enumerate(found):
            marches, books = runs[i]
            events = traced.events[traced.roles[rank]]
            assert [e for e in events if isinstance(e, March)] == marches
            sent = predicted.messages[rank], predicted.bytes[rank]
            assert sent == (books.messages, books.bytes)


def test_a_trace_has_ranks_that_differ_and_no_others():
    config = configuration(4 * 50 + 3, (4,))
    traced = trace("step", config, 16)  # slabs of 3 or 4 intervals
    assert len(traced.events) == 4
    assert sorted(traced.layers.tolist()) == [12, 12, 16, 19]
    assert np.array_equal(traced.layers[traced.roles], slabs(config.grid, 16))


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", ["two levels", "three levels", "both", "c-points"])
def test_messages_are_those_of_real_runs_if_batches_go_in_pieces(
    name, size, monkeypatch
):
    monkeypatch.setattr(sharing, "AT_ONCE", 1)
    monkeypatch.setattr(sharing, "START", 1)
    monkeypatch.setattr(sharing, "STEP", 1)
    monkeypatch.setattr(sharing, "FEWEST", 1)
    trace.cache_clear()
    test_marches_messages_and_bytes_are_those_of_real_runs(name, size)
    trace.cache_clear()


class BadHead:
    """A head that fails, on the last rank alone."""

    def __getattr__(self, name):
        return getattr(mg.Linear(WIDTH, 2), name)

    def apply(self, theta, x):
        raise RuntimeError("no outputs today")


def test_what_fails_on_one_rank_ends_the_trace():
    config = CONFIGURATIONS["two levels"]
    config = replace(config, net=replace(config.net, head=BadHead()))
    with pytest.raises(RuntimeError, match="no outputs today"):
        trace("step", config, 4)


def test_one_rank_does_the_counted_work():
    config = configuration(96, (4, 3), 2, relaxations=1)
    found = predict("forward", config, rates(coarse=Cost.rate(2.0)), NO_NETWORK, 1)
    net, inputs = config.net, np.ones((BATCH, WIDTH))
    work = mg.solve_forward(net, net.init(), inputs, options=config.forward).work
    fine = sum(n for (level, _), n in work.items() if level == 0)
    assert found.seconds == fine + 2.0 * (sum(work.values()) - fine)
    assert sum(found.phases.values()) == pytest.approx(found.seconds, rel=1e-14)


@pytest.mark.parametrize(
    ("k", "relaxations"), list(itertools.product((0, 1, 3), (0, 1)))
)
def test_without_coarse_cost_and_network_ranks_share_the_sweeps(k, relaxations):
    config = configuration(256, (4,), k, relaxations=relaxations)
    sweeps = k * (1 + relaxations) + 1
    for size in (1, 2, 16, 64):
        found = predict("forward", config, rates(), NO_NETWORK, size)
        speedup = serial_seconds("forward", config, rates()) / found.seconds
        assert speedup == pytest.approx(size / sweeps, rel=1e-14)


@pytest.mark.parametrize(("task", "marches"), [("forward", 1), ("adjoint", 2)])
def test_ranks_share_the_coarse_steps(task, marches):
    """Without network and calls, samples alike: time is that of one rank, shared.

    Two solves and one restriction; backwards slopes are found first.
    """
    config = replace(configuration(256, (4,), 1), batch=64)
    steps = rates(FREE, LAYER)
    for size in (1, 4, 32, 64):
        found = predict(task, config, steps, NO_NETWORK, size)
        expected = 3 * marches * 64 * 64 / BATCH / size
        assert found.seconds == pytest.approx(expected, rel=1e-14)


def test_a_rank_has_at_least_one_sample():
    """So that the march through the coarsest level is a bound from below."""
    config, steps = configuration(256, (4,), 1), rates(FREE, LAYER)
    for size in (BATCH, 2 * BATCH, 64):
        found = predict("forward", config, steps, NO_NETWORK, size)
        restricted = -(-64 // size)
        assert found.seconds == pytest.approx(2 * 64 / BATCH + restricted, rel=1e-14)


@pytest.mark.parametrize("task", TASKS)
def test_what_is_around_marches_goes_by_the_layers_and_events_of_a_rank(task):
    config = configuration(240, (4,))
    steps = rates(FREE, FREE, Cost.rate(1.0, call=2.0))._replace(event=0.1)
    for size in (1, 3, 6):
        events = max(map(len, trace(task, config, size).events))
        found = predict(task, config, steps, NO_NETWORK, size)
        expected = 2.0 + 240 / size + 0.1 * events
        assert found.seconds == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_exchanges_take_as_long_as_on_virtual_clocks(size):
    """Ranks enter one after the other, each with more steps than the one before."""
    steps, entries = np.arange(2, 2 + size), 1e-4 * np.arange(1, 1 + size)
    share = share_length(BATCH, size)

    def exchange(comm):
        clock = VirtualClock(lambda: 0.0)
        clock.computed = entries[comm.rank]
        virtual = mg.VirtualTimeComm(comm, BUSY, clock)
        n = int(steps[comm.rank])
        virtual.to_shares(np.zeros((size, n, WIDTH, share)))
        after = virtual.account
        virtual.from_shares(np.zeros((steps.sum() + 1, WIDTH, share)), n)
        return after, virtual.account

    ranks = Ranks.start(size, BUSY)
    ranks.compute(entries)
    accounts = list(zip(*run_ranks(exchange, size), strict=True))
    row = 8 * WIDTH * share
    for verb, books in (
        (lambda: ranks.to_shares(row * steps), accounts[0]),
        (lambda: ranks.from_shares(row * (steps + 1)), accounts[1]),
    ):
        verb()
        assert ranks.messages.tolist() == [b.messages for b in books]
        assert ranks.bytes.tolist() == [b.bytes for b in books]
        np.testing.assert_allclose(ranks.seconds, [b.seconds for b in books], 1e-14)


@pytest.mark.parametrize(
    ("verbs", "message"),
    [
        ((["sum"], ["gather"]), "ranks do not call the same verbs"),
        ((["recv_left", "sum"],) * 2, "recv_left is followed by sum"),
        ((["recv_left"],) * 2, "recv_left is followed by nothing"),
    ],
)
def test_what_clocks_have_no_rule_for_is_an_error(verbs, message):
    courses = [
        Course(tuple(Verb(name, False, 8) for name in v), np.zeros((len(v) + 1, 3)))
        for v in verbs
    ]
    with pytest.raises(ValueError, match=message):
        replay(courses, np.arange(2), Ranks.start(2, PLAIN))


def test_chain_is_the_recursion_it_solves():
    rng = np.random.default_rng(5)
    ranks = Ranks.start(9, BUSY)
    ranks.compute(rng.uniform(0.0, 1.0, 9))
    entry, own = ranks.seconds.copy(), rng.uniform(0.0, 0.3, 9)
    ranks.chain(own, 1000)
    done = entry[0] + own[0]
    for rank in range(9):
        if rank:
            done = max(entry[rank], done + BUSY.message(1000)) + own[rank]
        sent = done + BUSY.overhead * (rank < 8)
        assert ranks.seconds[rank] == pytest.approx(sent, rel=1e-14)


@pytest.mark.parametrize("task", ["forward", "gradient", "step"])
def test_slower_networks_take_longer(task):
    config = CONFIGURATIONS["both"]
    latencies = [0.0, 1e-6, 1e-3, 1.0]
    times = [
        predict(task, config, rates(), mg.Machine("", a, 1e9, ""), 4).seconds
        for a in latencies
    ]
    assert times == sorted(times)
    assert len(set(times)) == 4


@pytest.mark.parametrize("size", [1, 2, 3, 7, 11])
@pytest.mark.parametrize("coarsening", [(), (4,), (2, 3), (100,)])
def test_slabs_are_those_of_the_grid(size, coarsening):
    grid = TimeGrid(71, 1.0, coarsening)
    if size > grid.steps[-1]:
        with pytest.raises(ValueError, match="too many ranks"):
            slabs(grid, size)
    else:
        lengths = [len(grid.slab(rank, size)) for rank in range(size)]
        assert slabs(grid, size).tolist() == lengths


def test_cost_is_linear_between_sizes_and_beyond():
    cost = Cost((2, 4, 8), (1.0, 3.0, 4.0))
    found = [cost.at(n) for n in (0, 2, 3, 6, 16)]
    np.testing.assert_allclose(found, [0.0, 1.0, 2.0, 3.5, 8.0])


def test_batch_cost_is_linear_between_batches():
    cost = BatchCost((1, 4, 16), (Cost.rate(1.0), Cost.rate(1.5), Cost.rate(4.5)))
    found = [cost.at(10, batch) for batch in (1, 2, 4, 10, 16)]
    np.testing.assert_allclose(found, [10.0, 35 / 3, 15.0, 30.0, 45.0], rtol=1e-14)
    alone = BatchCost((8,), (LAYER,))
    assert [alone.at(10, batch) for batch in (2, 8, 16)] == [2.5, 10.0, 20.0]


def test_break_even_is_the_first_that_is_faster():
    config = configuration(1024, (4,), 3)
    coarse = Cost.rate(0.5)  # 4 coarse solves: on one rank, half of a serial one
    size = break_even("forward", config, rates(coarse=coarse), NO_NETWORK)
    times = [
        predict("forward", config, rates(coarse=coarse), NO_NETWORK, p).seconds
        for p in range(1, size + 1)
    ]
    assert [t < 1024 for t in times] == [False] * (size - 1) + [True]
    assert break_even("forward", config, rates(coarse=LAYER), SLOW) is None


def test_best_coarsening_weighs_sweeps_against_the_coarse_solve():
    """Long intervals: the coarse solves take k + 1 times n / m steps of a sample."""
    config, size = configuration(4096, (4,), 1), 32
    best = best_coarsening("forward", config, rates(coarse=LAYER), NO_NETWORK, size)
    assert np.prod(best.coarsening) <= 4096 // size
    for m in (2, 8, 32, 128):
        other = configuration(4096, (m,), 1)
        found = predict("forward", other, rates(coarse=LAYER), NO_NETWORK, size)
        assert best.seconds <= found.seconds
    assert best_coarsening("forward", config, rates(), NO_NETWORK, 4096) is None


def test_pipeline_is_idle_for_its_bubble():
    assert bubble(8, 32) == 7 / 39
    assert bubble(1, 4) == 0.0
    config, steps = configuration(64, (4,)), rates()
    found = pipeline(config, steps, NO_NETWORK, 4)
    assert found.micro_batches == 4  # as many as samples allow
    busy = (1 - found.bubble) * found.seconds
    assert busy == pytest.approx(2 * 64 / 4, rel=1e-14)  # there and back
    assert pipeline(config, steps, NO_NETWORK, 65) is None


def test_modules_apart_share_the_layers_and_exchange_two_messages():
    config, steps = configuration(64, (4,)), rates()
    for modules, sweeps in ((1, 1), (4, 1), (8, 3)):
        exchange = 2 * PLAIN.message(1000.0) * (modules > 1)
        expected = sweeps * (128 / modules + exchange)
        found = modules_apart(config, steps, PLAIN, modules, 1000.0, sweeps)
        assert found == pytest.approx(expected, rel=1e-14)


def test_data_parallel_sums_gradients():
    config, steps = configuration(64, (4,)), rates()
    assert data_parallel(config, steps, PLAIN, 1) == pytest.approx(128)
    moved = 64 * WIDTH * (WIDTH + 1) * 8 * 4 / 5
    expected = 128 / 5 + 2 * PLAIN.allgather(5, moved)
    assert data_parallel(config, steps, PLAIN, 5) == pytest.approx(expected)
    assert data_parallel(config, steps, PLAIN, BATCH + 1) is None


def test_memory_falls_with_ranks_and_with_c_points_only():
    kept = [
        memory(replace(configuration(4096, (16,), keep=keep), batch=64), size)
        for keep, size in (("all", 1), ("all", 16), ("c-points", 1), ("c-points", 16))
    ]
    shares = [found.pop("shares of the coarsest level") for found in kept]
    gathered = [found.pop("coarse coefficients") for found in kept]
    totals = [sum(found.values()) for found in kept]
    assert totals[1] < totals[0] / 15
    assert totals[2] < totals[0]
    assert totals[3] < totals[2] / 10
    steps = 4096 // 16
    points = (steps + 1) * WIDTH * 4 * 8
    assert shares == [0, 6 * points] * 2  # points, forcing, states, and copies of them
    assert gathered == [steps * WIDTH * (WIDTH + 1) * 8] * 4  # on every rank


@pytest.mark.parametrize("task", TASKS)
def test_measured_rates_are_positive_and_survive_json(task):
    config = configuration(32, (4,), control=SPLINE, coarse_operator="third_order")
    found = measure_rates(task, config)
    assert found.marches["coarse march every u"].batches == [1, BATCH // 2, BATCH]
    for kind, cost in found.marches.items():
        assert cost.at(8, BATCH) > 0.0, kind
    assert found.event > 0.0
    assert all(found.around(task, 8, 10) > 0.0 for task in found.others)
    assert Rates.read(json.loads(json.dumps(found))) == found
    with pytest.raises(ValueError, match="without a coarse level"):
        measure_rates("step", configuration(8, (16,)))


def test_only_the_first_call_prepares_pieces_of_an_adjoint(monkeypatch):
    monkeypatch.setattr(adjoints, "AT_ONCE", 1)
    trace.cache_clear()
    found = measure_rates("adjoint", configuration(32, (4,)))
    trace.cache_clear()
    assert found.around("adjoint", 32, 10) > 0.0


def test_unknown_task():
    with pytest.raises(ValueError, match="unknown task 'x'; choose from forward"):
        predict("x", CONFIGURATIONS["FCF"], rates(), PLAIN, 1)


SMALL = ["--depth", "32", "--width", "3", "--batch-size", "4", "--coarsening", "4"]


def test_command_prints_writes_and_reads_again(tmp_path, capsys):
    folder = tmp_path / "out"
    asked = ["model", *SMALL, "--ranks", "1,8,64"]
    assert main([*asked, "--output", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "break-even" in out
    found = json.loads((folder / "model.json").read_text())
    assert [row["ranks"] for row in found["rows"]] == [1, 8, 64]
    assert "seconds" not in found["rows"][2]  # 8 intervals
    assert (folder / "model.png").read_bytes()[:4] == b"\x89PNG"
    again = [*asked, "--rates", str(folder / "model.json")]
    assert main(again) == 0
    table = capsys.readouterr().out
    assert table in out
    assert main([*again, "--machine", str(folder / "model.json")]) == 2
    assert "lacks name, source" in capsys.readouterr().err
    found["rates"].pop()
    (folder / "older.json").write_text(json.dumps(found))
    assert main([*asked, "--rates", str(folder / "older.json")]) == 2
    assert "older.json has other costs" in capsys.readouterr().err
    assert main([*again, "--width", "4"]) == 2
    assert "measured for width 3, needed 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ranks", "1,x"], "--ranks is '1,x', needed integers >= 1"),
        (["--machine", "abacus"], f"choose from {', '.join(MACHINES)}"),
        (["--batch-size", "0"], "--batch-size"),
        (["--output", __file__], "is a file, needed a folder"),
    ],
)
def test_command_refuses_bad_input(arguments, message, capsys):
    assert main(["model", *SMALL, *arguments]) == 2
    assert message in capsys.readouterr().err

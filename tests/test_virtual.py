"""A virtual clock: times that a hand can compute, and numbers that do not change."""

import time

import numpy as np
import pytest
from fakes import check_verbs, run_ranks
from launch import launch
from mpi_program import CASES, as_bits, assemble, run

import mgresnet as mg
from mgresnet.parallel.calibrate import SIZES, fit_machine, ping_pong
from mgresnet.parallel.clock import Stretches, VirtualClock
from mgresnet.parallel.machine import MACHINES

# Powers of two, so that all sums below are exact.
ALPHA, BETA, OVERHEAD = 2.0**-10, 2.0**20, 2.0**-12
PLAIN = mg.Machine("plain", ALPHA, BETA, "made up")
BUSY = mg.Machine("busy", ALPHA, BETA, "made up", OVERHEAD)
C = 0.25  # seconds of compute
FIRST = np.zeros(32)
BYTES = FIRST.nbytes
MESSAGE = ALPHA + BYTES / BETA


class Worker:
    """A rank whose CPU time passes only when told."""

    def __init__(self, comm, machine=PLAIN):
        self.cpu = 0.0
        clock = VirtualClock(lambda: self.cpu)
        self.comm = mg.VirtualTimeComm(comm, machine, clock)
        self.rank = comm.rank

    def compute(self, seconds=C):
        self.cpu += seconds


def on_ranks(work, size, machine=PLAIN):
    """Results of ``work(worker)`` on all ranks."""
    return run_ranks(lambda comm: work(Worker(comm, machine)), size)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_pipeline(size):
    """Rank r receives, computes, sends: done at (r + 1) c + r (alpha + b / beta)."""

    def work(w):
        u = w.comm.recv_left(FIRST)
        w.compute()
        w.comm.send_right(u)
        return w.comm.account

    for rank, books in enumerate(on_ranks(work, size)):
        assert books.seconds == (rank + 1) * C + rank * MESSAGE
        assert books.computed == C
        assert books.waited == rank * (C + MESSAGE)
        assert books.messages == (rank < size - 1)
        assert books.bytes == BYTES * (rank < size - 1)


def test_two_waves_through_the_pipeline_overlap():
    """The second wave finds every rank free, and is one step behind the first."""

    def work(w):
        for _ in range(2):
            u = w.comm.recv_left(FIRST)
            w.compute()
            w.comm.send_right(u)
        return w.comm.clock

    assert on_ranks(work, 3) == [(r + 2) * C + r * MESSAGE for r in range(3)]


def test_a_message_that_has_arrived_costs_nothing():
    def work(w):
        w.compute(C if w.rank == 0 else 10 * C)
        return w.comm.shift(FIRST, FIRST), w.comm.clock

    assert [clock for _, clock in on_ranks(work, 2)] == [C, 10 * C]


def test_shift_waits_for_the_left_neighbour_only():
    def work(w):
        w.compute((w.rank + 1) ** 2 % 5 * C)  # 1, 4, 4, 1
        w.comm.shift(FIRST, FIRST)
        return w.comm.clock

    assert on_ranks(work, 4) == [C, 4 * C, 4 * C + MESSAGE, 4 * C + MESSAGE]


def test_overhead_delays_the_sender_not_the_message():
    def work(w):
        if w.rank == 0:
            w.comm.send_right(FIRST)
        else:
            w.comm.recv_left(FIRST)
        return w.comm.clock

    assert on_ranks(work, 2, BUSY) == [OVERHEAD, MESSAGE]


@pytest.mark.parametrize(("size", "rounds"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_collectives_start_with_the_last_and_double(size, rounds):
    def work(w):
        w.compute((w.rank + 1) * C)
        w.comm.sum(FIRST)
        after_sum = w.comm.account
        w.comm.gather(np.zeros(w.rank + 1))
        return after_sum, w.comm.account

    n, least = 8 * size * (size + 1) // 2, 8
    moved = BYTES * (size - 1)
    summed = size * C + rounds * ALPHA + moved / BETA
    moved_later = 8 * (size - 1) + n - least
    gathered = summed + 2 * rounds * ALPHA + moved_later / BETA
    for after_sum, after_gather in on_ranks(work, size):
        assert after_sum.seconds == pytest.approx(summed, rel=1e-14)
        assert after_gather.seconds == pytest.approx(gathered, rel=1e-14)
        assert (after_sum.messages, after_sum.bytes) == (rounds, moved)
        assert after_gather.messages == 3 * rounds
        assert after_gather.bytes == moved + moved_later


def test_all_communicators_of_a_rank_share_its_clock():
    def work(w):
        back = w.comm.reversed()
        group = w.comm.split(w.rank % 2)
        w.compute()
        back.recv_left(FIRST)
        back.send_right(FIRST)
        group.sum(FIRST)
        assert back.clock == group.clock == w.comm.clock
        assert group.account == w.comm.reversed().account
        return w.comm.clock

    # All compute at once, then the message goes from rank 2 to 0; 0 and 2 sum.
    pair = C + 2 * MESSAGE + ALPHA + BYTES / BETA
    assert on_ranks(work, 3) == [pair, C + MESSAGE, pair]


def test_reset_starts_anew():
    def work(w):
        w.compute()
        w.comm.sum(FIRST)
        w.comm.reset()
        assert w.comm.account == (0.0, 0.0, 0.0, 0, 0)
        w.compute()
        return w.comm.clock

    assert on_ranks(work, 2) == [C, C]


class Repeated:
    """A run that is repeated; its stretches take what they are told to."""

    def __init__(self):
        self.cpu = 0.0
        self.clock, self.stretches = VirtualClock(lambda: self.cpu), Stretches()

    def seconds(self, *stretches):
        self.clock.reset(self.stretches)
        for verb, seconds in stretches:
            self.cpu += seconds
            self.clock.leave(self.clock.enter(verb))
        return self.clock.account().seconds


def test_a_repeated_run_takes_what_its_stretches_usually_take():
    """Medians of each, not of their sum: one is disturbed here, the other there."""
    run = Repeated()
    assert run.seconds(("sum", 1.0), ("sum", 2.0)) == 3.0
    assert run.seconds(("sum", 9.0), ("sum", 2.0)) == 5.0 + 2.0
    assert run.seconds(("sum", 1.0), ("sum", 8.0)) == 1.0 + 2.0


def test_runs_that_part_have_stretches_of_their_own():
    run = Repeated()
    assert run.seconds(("sum", 1.0), ("gather", 2.0)) == 3.0
    assert run.seconds(("sum", 1.0), ("shift", 8.0)) == 9.0
    assert run.seconds(("sum", 1.0), ("gather", 4.0)) == 1.0 + 3.0


def test_time_within_the_transport_does_not_count():
    class Slow(mg.SerialComm):
        def gather(self, values):
            worker.compute(100.0)
            return values

    worker = Worker(Slow())
    worker.compute()
    worker.comm.gather(FIRST)
    assert worker.comm.clock == C


def test_kernels_count_and_sleep_does_not():
    net = mg.Network(mg.Dense(8), 64)
    params, inputs = net.init(), np.ones((50, 8))
    mg.solve_forward(net, params, inputs)
    comm = mg.VirtualTimeComm(None, PLAIN)
    started = time.thread_time()
    for _ in range(50):
        mg.solve_forward(net, params, inputs, comm=comm)
    computed = comm.clock
    assert computed == pytest.approx(time.thread_time() - started, rel=0.2)
    time.sleep(max(0.1, 10 * computed))
    assert comm.clock < 2 * computed


@pytest.mark.parametrize("size", [1, 2, 3])
def test_virtual_ranks_keep_the_contract(size):
    run_ranks(lambda comm: check_verbs(mg.VirtualTimeComm(comm, PLAIN)), size)


@pytest.mark.parametrize("name", ["two levels", "control over depth"])
def test_numbers_are_those_without_a_clock(name):
    serial = assemble([run(CASES[name])])
    for size in (1, 3):
        parts = run_ranks(
            lambda comm: run(CASES[name], mg.VirtualTimeComm(comm, BUSY)), size
        )
        virtual = assemble(parts)
        assert [k for k in serial if as_bits(serial[k]) != as_bits(virtual[k])] == []


@pytest.mark.mpi
@pytest.mark.parametrize("n_ranks", [3, 4])
def test_training_under_mpi_has_the_bits_of_serial_training(n_ranks):
    job = launch(n_ranks, "virtual")
    assert job.returncode == 0, job.stderr
    assert job.stdout == f"{n_ranks} ranks: serial losses, clocks go forwards\n"


@pytest.mark.parametrize("name", MACHINES)
def test_machines_are_named_and_cited(name):
    machine = MACHINES[name]
    assert machine.name == name
    assert "https://" in machine.source
    assert 1e-7 < machine.latency < 1e-4
    assert 1e8 < machine.bandwidth < 1e11


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ((-1e-6, 1e9), "latency is -1e-06, needed finite seconds >= 0"),
        ((np.nan, 1e9), "latency is nan"),
        ((1e-6, 0.0), "bandwidth is 0.0, needed bytes per second > 0"),
        ((1e-6, np.nan), "bandwidth is nan"),
        ((1e-6, 1e9, "", 1e-5), "overhead is 1e-05, needed seconds from 0"),
    ],
)
def test_impossible_machines(figures, message):
    latency, bandwidth, *rest = figures
    with pytest.raises(ValueError, match=message):
        mg.Machine("odd", latency, bandwidth, *(rest or [""]))


def test_fit_recovers_latency_and_bandwidth():
    seconds = [PLAIN.message(size) for size in SIZES]
    found = fit_machine("again", "model", SIZES, seconds)
    assert found.latency == pytest.approx(ALPHA, rel=1e-10)
    assert found.bandwidth == pytest.approx(BETA, rel=1e-10)


def test_fit_of_nonsense_is_refused():
    with pytest.raises(ValueError, match="less busy"):
        fit_machine("odd", "", SIZES, [1e-3 / (k + 1) for k in range(len(SIZES))])


def test_ping_pong_gives_both_ranks_the_same_times():
    one, other = run_ranks(lambda comm: ping_pong(comm, (8, 64), repeats=3), 2)
    assert one == other
    assert len(one) == 2
    assert min(one) > 0.0


@pytest.mark.parametrize("size", [1, 3])
def test_ping_pong_needs_two_ranks(size):
    def attempt(comm):
        with pytest.raises(ValueError, match=rf"{size} rank.* mpiexec -n 2"):
            ping_pong(comm)

    run_ranks(attempt, size)

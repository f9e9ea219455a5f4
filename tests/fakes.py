"""Ranks without MPI, threads that talk through queues; the contract of `TimeComm`.

`ThreadComm` is stricter than MPI: a message of the wrong kind, shape or dtype is an
error where MPI would cut or garble it, and so is a message that nobody receives.
"""

import threading
import time
from queue import SimpleQueue

import numpy as np

from mgresnet.parallel.shares import from_shares, share_length, to_shares


class OtherRankFailedError(Exception):
    """Wakes the ranks that wait for a rank that has failed."""


class Mailboxes:
    """One queue for every ordered pair of ranks."""

    def __init__(self, size):
        self.size = size
        pairs = [(a, b) for a in range(size) for b in range(size)]
        self._boxes = {pair: SimpleQueue() for pair in pairs}

    def put(self, source, target, kind, values):
        """Send a copy."""
        self._boxes[source, target].put((kind, np.array(values, order="C")))

    def get(self, source, target, kind):
        """Wait for the next message, which has to be of this kind."""
        message = self._boxes[source, target].get()
        if message is None:
            raise OtherRankFailedError
        if message[0] != kind:
            raise AssertionError(
                f"rank {target} waits for a {kind}, rank {source} sent a {message[0]}"
            )
        return message[1]

    def close(self):
        """Wake everybody who waits."""
        for box in self._boxes.values():
            box.put(None)

    def unread(self):
        """Pairs of ranks with messages that nobody received."""
        return [pair for pair, box in self._boxes.items() if not box.empty()]


class ThreadComm:
    """`TimeComm` between threads; every rank holds one."""

    def __init__(self, mailboxes, place, order=None):
        self._mailboxes = mailboxes
        self._place = place
        self._order = order or range(mailboxes.size)
        self.rank = self._order.index(place)
        self.size = len(self._order)

    def shift(self, values, first):
        """Send to the right, return what comes from the left (rank 0: `first`)."""
        self.send_right(values)
        return self.recv_left(first)

    def recv_left(self, first):
        """Return what the left neighbour sends (rank 0: `first`)."""
        if self.rank == 0:
            return first.copy()
        left = self._order[self.rank - 1]
        received = self._mailboxes.get(left, self._place, "move")
        _check_fits("move", first, received, first.shape, received.shape)
        return received

    def send_right(self, values):
        """Send to the right neighbour, if there is one."""
        if self.rank < self.size - 1:
            right = self._order[self.rank + 1]
            self._mailboxes.put(self._place, right, "move", values)

    def gather(self, values):
        """Concatenate along axis 0 in time order; every rank gets the whole."""
        for target in self._order:
            self._mailboxes.put(self._place, target, "gather", values)
        parts = self._take("gather")
        for part in parts:
            _check_fits("gather", values, part, values.shape[1:], part.shape[1:])
        return np.concatenate(parts)

    def sum(self, values):
        """Sum over ranks in time order; every rank gets the same bits."""
        total, *others = self.gather(values[None])
        for part in others:
            total = total + part
        return total

    def to_shares(self, shares):
        """Give every rank its share; return what all give this one, in time order."""
        for target, part in zip(sorted(self._order), shares, strict=True):
            self._mailboxes.put(self._place, target, "share", part)
        return np.concatenate(self._take("share"))

    def from_shares(self, points, n):
        """Give every rank its points; return what all have for this one."""
        stops = np.cumsum(self.gather(np.array([n])))
        for target, stop, steps in zip(
            self._order, stops, np.diff(stops, prepend=0), strict=True
        ):
            part = points[stop - steps : stop + 1]
            self._mailboxes.put(self._place, target, "share", part)
        assert len(points) == stops[-1] + 1
        return np.stack(self._take("share", sorted(self._order)))

    def _take(self, kind, order=None):
        sources = order or self._order
        return [self._mailboxes.get(source, self._place, kind) for source in sources]

    def reversed(self):
        """The same ranks with time running backwards."""
        return ThreadComm(self._mailboxes, self._place, self._order[::-1])

    def split(self, colour):
        """Ranks that give the same colour, in the order they have here."""
        colours = self.gather(np.array([colour])).tolist()
        groups = zip(self._order, colours, strict=True)
        order = [place for place, other in groups if other == colour]
        return ThreadComm(self._mailboxes, self._place, order)


def _check_fits(verb, expected, received, expected_shape, received_shape):
    needed = (expected.dtype, expected_shape)
    if (received.dtype, received_shape) != needed:
        raise AssertionError(
            f"{verb}: received {received.dtype} {received_shape}, expected {needed}"
        )


def run_ranks(function, size, timeout=240.0):
    """Results of ``function(comm)`` on all ranks, in rank order.

    The first exception of any rank wakes the others and is raised here, with a note
    that names the rank.  Ranks that wait for ever are a TimeoutError, or another note.
    """
    mailboxes = Mailboxes(size)
    results = [None] * size
    failures = []

    def work(rank):
        try:
            results[rank] = function(ThreadComm(mailboxes, rank))
        except OtherRankFailedError:
            pass
        except BaseException as error:
            error.add_note(f"on rank {rank} of {size}")
            failures.append(error)
            mailboxes.close()

    threads = [
        threading.Thread(target=work, args=(rank,), daemon=True) for rank in range(size)
    ]
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    stuck = [rank for rank, thread in enumerate(threads) if thread.is_alive()]
    if stuck:
        mailboxes.close()
        waiting = TimeoutError(f"ranks {stuck} of {size} still wait after {timeout} s")
        for error in failures:
            error.add_note(str(waiting))
        failures.append(waiting)
    if failures:
        raise failures[0]
    if mailboxes.unread():
        raise AssertionError(f"nobody received the messages {mailboxes.unread()}")
    return results


def check_verbs(comm):
    """Compare verbs and groups with what they promise, in both directions."""
    for dtype in ("f4", "f8", "c16", "i4", "i8", "?"):
        for direction in (comm, comm.reversed()):
            _check_moves(direction, dtype)
            _check_collectives(direction, dtype)
            _check_shares(direction, comm.rank, dtype)
    _check_groups(comm)
    _check_groups(comm.reversed())
    assert comm.reversed().rank == comm.size - 1 - comm.rank
    assert comm.reversed().reversed().rank == comm.rank


def _values(n, rank, dtype):
    """Rows that no two ranks have in common, whatever the dtype but bool."""
    values = np.arange(3 * n, dtype="f8").reshape(n, 3) + 100 * rank - 7
    return values.astype(dtype)


def _check_moves(comm, dtype):
    """Whole, strided, transposed and empty arrays; a chain from first to last."""
    first = np.full((4, 3), 1, dtype)
    own, left = (_values(8, comm.rank - k, dtype) for k in (0, 1))
    for view in (
        lambda u: u[:4].copy(),
        lambda u: u[::2],
        lambda u: np.asfortranarray(u[4:]),
    ):
        got = comm.shift(view(own), first)
        _same("shift", got, view(left) if comm.rank else first)
    assert comm.shift(own[:0], first[:0]).shape == (0, 3)
    received = comm.recv_left(first)
    _same("recv_left", received, left[:4] if comm.rank else first)
    comm.send_right(own[:4])
    if comm.rank:
        received[:] = 0  # what came in is the receiver's own
        assert first.all(), "the default was written to"


def _check_groups(comm):
    """Even and odd ranks among themselves, in their order, in both directions."""
    group = comm.split(comm.rank % 2)
    members = list(range(comm.rank % 2, comm.size, 2))
    assert (group.size, members[group.rank]) == (len(members), comm.rank)
    assert group.gather(np.array([comm.rank])).tolist() == members
    assert group.reversed().gather(np.array([comm.rank])).tolist() == members[::-1]
    _check_moves(group, "f8")


def _check_collectives(comm, dtype):
    """Parts of unequal length, of length zero, nothing but empty ones; sums."""
    ranks = range(comm.size)
    for lengths in ([(2 * r + 1) % 4 for r in ranks], [r % 2 for r in ranks]):
        got = comm.gather(_values(lengths[comm.rank], comm.rank, dtype))
        parts = [_values(lengths[r], r, dtype) for r in ranks]
        _same("gather", got, np.concatenate(parts))
    assert comm.gather(np.empty((0, 2), dtype)).shape == (0, 2)
    assert comm.gather(np.empty((1, 0), dtype)).shape == (comm.size, 0)
    strided = comm.gather(_values(4, comm.rank, dtype)[::2, 1])
    wanted = np.concatenate([_values(4, r, dtype)[::2, 1] for r in ranks])
    _same("gather of a strided vector", strided, wanted)
    if dtype in ("f4", "f8", "c16"):
        summands = [np.array([0.1, 1e7], dtype) / (3 * r + 1) for r in ranks]
        total = summands[0]
        for summand in summands[1:]:
            total = total + summand
        _same("sum in time order", comm.sum(summands[comm.rank]), total)


def _check_shares(comm, place, dtype):
    """There and back: rows of all ranks, neighbours sharing a point, any last axis."""
    ranks = range(comm.size)
    steps = [(2 * r + 1) % 4 for r in ranks]
    total = sum(steps)
    for k in (1, 3, comm.size, 2 * comm.size + 1):
        rows = np.arange(1, 2 * total * k + 1).reshape(total, 2, k).astype(dtype)
        start = sum(steps[: comm.rank])
        mine = rows[start : start + steps[comm.rank]]
        share = share_length(k, comm.size)
        got = to_shares(mine, comm)
        wanted = np.zeros((total, 2, comm.size * share), dtype)
        wanted[..., :k] = rows
        parts = np.moveaxis(wanted.reshape(total, 2, comm.size, share), 2, 0)
        _same("to_shares", got, parts[place])
        points = np.concatenate([np.zeros_like(got[:1]), got])
        back = np.empty((len(mine) + 1, *mine.shape[1:]), dtype)
        from_shares(points, back, comm)
        before = rows[start - 1 : start] if start else np.zeros_like(rows[:1])
        _same("from_shares", back, np.concatenate([before, mine]))


def _same(what, got, wanted):
    np.testing.assert_array_equal(got, wanted, what, strict=True)

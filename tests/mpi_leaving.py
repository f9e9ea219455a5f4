"""One rank leaves, by whatever way, while the others go on; communicators of callers.

    mpiexec -n 3 python tests/mpi_leaving.py leave break 1
    mpiexec -n 3 python tests/mpi_leaving.py together

The first trains, and after two steps rank 1 leaves the loop.  Others are in `ACTIONS`.
"""

import itertools
import os
import sys
import threading

import numpy as np
from mpi_program import CASES, problem

import mgresnet as mg
from mgresnet.parallel import as_time_comm
from mgresnet.parallel.grid import ProcessGrid

CASE = CASES["two levels"]
MANY = 500  # communicators and grids, one after the other
MESSAGE = np.full(24, 123.0)
TAG = 99


def records(comm, batches):
    """Steps of training."""
    return mg.train(
        CASE.net,
        problem(CASE)[0],
        batches,
        optimiser=CASE.optimiser,
        objective=mg.SoftmaxCrossEntropy(),
        forward=CASE.forward,
        adjoint=CASE.adjoint,
        comm=comm,
    )


def samples():
    """Always the same batch."""
    return itertools.repeat(problem(CASE)[1])


def solve(comm):
    """States of the batch."""
    params, (inputs, _) = problem(CASE)
    return mg.solve_forward(CASE.net, params, inputs, options=CASE.forward, comm=comm)


def fail():
    """Raise what nobody catches."""
    raise RuntimeError("mishap")


def fail_without_stderr():
    """Raise what nobody catches, with nowhere to report it."""
    sys.stderr = None
    fail()


def fail_in_hook():
    """Raise what nobody catches, and once more when it is reported."""

    def hook(*_):
        raise ValueError("a hook of the user's own")

    sys.excepthook = hook
    from mgresnet.parallel.endings import end_job_on_exception

    end_job_on_exception()
    fail()


WAYS = {
    "exit": lambda: sys.exit(0),
    "message": lambda: sys.exit("bye"),
    "interrupt": lambda: (_ for _ in ()).throw(KeyboardInterrupt),
    "fail": fail,
    "no stderr": fail_without_stderr,
    "hook": fail_in_hook,
}


def leave(world, way, rank):
    """Leave the training after two steps."""
    for record in records(world, samples()):
        if record.step == 1 and world.rank == int(rank):
            if way == "break":
                break
            WAYS[way]()
    print("left", flush=True)


def leave_batches(world, way, rank):
    """Let the batches of one rank end, or end the program, after two of them."""

    def batches():
        yield from itertools.islice(samples(), 2)
        if world.rank != int(rank):
            yield from samples()
        elif way != "end":
            WAYS[way]()

    for _ in records(world, batches()):
        pass


def leave_solves(world, way, rank):
    """End the program between two solves."""
    solve(world)
    if world.rank == int(rank):
        WAYS[way]()
    solve(world)


def leave_early(world, rank):
    """Raise what nobody catches before anything of the package is called."""
    if world.rank == int(rank):
        fail()
    world.Barrier()


def leave_thread(world, rank):
    """Train in a thread, which fails on one rank."""
    end = "fail" if world.rank == int(rank) else "end"
    work = threading.Thread(target=leave_batches, args=(world, end, world.rank))
    work.start()
    work.join()
    world.Barrier()


def together(world):
    """Leave in the same step, or close what others still hold, and go on."""
    for record in records(world, samples()):
        if record.step == 1:
            break
    first = solve(world)
    held = records(world, samples())
    next(held)
    if world.rank == 1:
        held.close()
    world.Barrier()
    held.close()
    again = solve(world)
    assert np.array_equal(first.states, again.states)
    kept = records(world, samples())
    globals()["kept"] = kept  # to be closed by the end of the program
    next(kept)
    print("went on", flush=True)


def message(world):
    """Solve while a message of the caller is under way."""
    alone = solve(None)
    if world.rank == 0:
        request = world.Isend(MESSAGE, 1, TAG)
    states = solve(world)
    slab = states.slab
    assert np.array_equal(states.states, alone.states[slab.start : slab.stop + 1])
    if world.rank == 1:
        received = np.zeros_like(MESSAGE)
        world.Recv(received, 0, TAG)
        assert np.array_equal(received, MESSAGE)
    elif world.rank == 0:
        request.Wait()
    print("received", flush=True)


def many(world):
    """Use up more communicators than MPI has, if they were not freed."""
    comm = as_time_comm(world)
    for _ in range(MANY):
        ProcessGrid.split(world, layer=1, data=world.size)
        ProcessGrid.split(comm.reversed(), layer=world.size, data=1)
        other = world.Dup()
        as_time_comm(other).split(0).sum(np.zeros(1))
        other.Free()
    from mgresnet.parallel import mpi

    assert len(mpi._owned) == 1 + len(comm._own.groups)
    print("grids", len(comm._own.groups), flush=True)


def between(world):
    """Offer an intercommunicator."""
    group = world.Split(world.rank % 2, world.rank)
    inter = group.Create_intercomm(0, world, 1 - world.rank % 2)
    for comm in (inter, type(world)()):
        try:
            solve(comm)
        except TypeError as error:
            print(str(error).partition(";")[2], flush=True)


def finalised(world):
    """End MPI by hand."""
    from mpi4py import MPI

    solve(world)
    MPI.Finalize()
    print("finalised", flush=True)


def exhausted(world):
    """Take as many records as there are batches, and no more; or all."""
    steps = records(world, [problem(CASE)[1]] * 2)
    taken = list(itertools.islice(steps, 2))
    assert len(taken) == 2
    assert not list(steps)
    os.write(1, b"done\n")


ACTIONS = {
    "leave": leave,
    "batches": leave_batches,
    "solves": leave_solves,
    "thread": leave_thread,
    "early": leave_early,
    "together": together,
    "message": message,
    "many": many,
    "between": between,
    "finalised": finalised,
    "exhausted": exhausted,
}

if __name__ == "__main__":
    from mpi4py import MPI

    ACTIONS[sys.argv[1]](MPI.COMM_WORLD, *sys.argv[2:])

"""What P ranks compute when parallelism is tested, and a script that does it on MPI.

    mpiexec -n 3 python tests/mpi_program.py digests

prints one line for every result of every case in `CASES`: its name, and a digest of its
bytes in layer order.  The lines are the same for any number of ranks, and those that
`digests` makes in one process.  Other first arguments are the keys of `ACTIONS`.
"""

import hashlib
import sys
import time
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np
from fakes import check_verbs

import mgresnet as mg

WORK = 0.2  # seconds


class Case(NamedTuple):
    """A network, a way to solve it, and a way to train it."""

    net: mg.Network
    forward: mg.MGRITOptions
    adjoint: mg.MGRITOptions
    optimiser: mg.Transform
    dtype: str = "float64"
    n_samples: int = 5
    n_steps: int = 5
    regularisation: mg.Regularisation | None = None
    gradient_tolerance: float | None = None
    seed: int = 4711
    keep: str = "auto"


class Part(NamedTuple):
    """What one rank has in its hands at the end."""

    points: dict[str, Any]  # (n_local + 1, ...): neighbours share a point
    rows: dict[str, Any]  # (n_local, ...)
    ends: dict[str, Any]  # on one rank only, None on the others
    shared: dict[str, Any]  # the same on all ranks


FREE = mg.Free()


def network(depth, layer, ends=True, control=FREE):
    """Two features in and two out, by linear maps or, without ends, as they are."""
    opening = mg.Linear(2, layer.width, activation="tanh") if ends else None
    head = mg.Linear(layer.width, 2) if ends else None
    return mg.Network(layer, depth, 2.0, opening, head, control)


def clipped_adam():
    """Adam behind a clip that is short enough to act."""
    return mg.chain(mg.clip_by_global_norm(0.05), mg.adam(0.02))


def nesterov():
    """Gradient descent with Nesterov's momentum."""
    return mg.sgd(0.05, momentum=0.9, nesterov=True)


PENALTIES = mg.Regularisation(tikhonov=1e-2, smoothness=1e-4, head=1e-3)

# Every case has eight coarsest intervals or more.
CASES = {
    "two levels": Case(
        network(37, mg.Dense(3)),
        mg.MGRITOptions((4,), relaxations=1, max_iterations=2, tolerance=0.0),
        mg.MGRITOptions((4,), max_iterations=1, tolerance=0.0),
        clipped_adam(),
        regularisation=PENALTIES,
    ),
    "three levels": Case(
        network(103, mg.Dense(3, "relu", "scalar")),
        mg.MGRITOptions((3, 4), (0, 1), "F", 3, 1e-2, "mean", initial_guess="constant"),
        mg.MGRITOptions((3, 4), 1, "W", 2, 0.0, "injection", "zero"),
        nesterov(),
        n_steps=2,
        regularisation=PENALTIES,
    ),
    "single precision": Case(
        network(50, mg.Dense(2, "smooth_relu", "none"), ends=False),
        mg.MGRITOptions((2, 2), 1, tolerance=1e-3),
        mg.MGRITOptions((2, 2), 0, max_iterations=0),
        clipped_adam(),
        dtype="float32",
        n_steps=3,
    ),
    "serial": Case(
        network(23, mg.Dense(4, "sigmoid")),
        mg.MGRITOptions.serial((2,)),
        mg.MGRITOptions.serial((2,)),
        nesterov(),
    ),
    "control over depth": Case(
        network(45, mg.Dense(3), control=mg.BSpline(6)),
        mg.MGRITOptions((5,), 1, max_iterations=4, tolerance=0.0),
        mg.MGRITOptions((5,), 0, max_iterations=4, tolerance=0.0),
        clipped_adam(),
        n_steps=3,
        regularisation=PENALTIES,
        gradient_tolerance=2e-3,
    ),
}


# Ranks over layers and over data.
SHAPES = {"1x2": (1, 2), "2x1": (2, 1), "2x2": (2, 2), "3x2": (3, 2)}


def problem(case):
    """Parameters of the whole network, and samples."""
    rng = np.random.default_rng(case.seed)
    theta = case.net.init(case.seed)
    theta = theta._replace(body=theta.body + 0.1 * rng.normal(size=theta.body.shape))
    params = mg.Params(*(f if f is None else f.astype(case.dtype) for f in theta))
    inputs = rng.normal(size=(case.n_samples, 2)).astype(case.dtype)
    if case.net.head is None:
        return params, (inputs, np.sin(inputs))
    return params, (inputs, rng.integers(0, 2, case.n_samples))


def run(case, comm=None):
    """Gradient, gradient from a guess, training and prediction: this rank's part."""
    part = Part({}, {}, {}, {})
    params, (inputs, targets) = problem(case)
    objective = mg.LeastSquares() if case.net.head is None else mg.SoftmaxCrossEntropy()
    options = {
        "objective": objective,
        "forward": case.forward,
        "adjoint": case.adjoint,
        "comm": comm,
        "regularisation": case.regularisation,
        "keep": case.keep,
    }
    guess = None
    for name in ("gradient", "guessed"):
        value, gradient, info = mg.value_and_gradient(
            case.net, params, inputs, targets, guess=guess, **options
        )
        _keep_params(part, name, case, gradient)
        _keep(part, name, value=value, loss=info.loss)
        _keep_solution(part, f"{name} forward", info.forward)
        _keep_solution(part, f"{name} adjoint", info.adjoint)
        params, guess = params._replace(body=0.9 * params.body), info
    size = min(3, case.n_samples)
    samples = mg.batches((inputs, targets), size, epochs=case.n_steps)
    records = mg.train(
        case.net,
        params,
        samples,
        optimiser=case.optimiser,
        gradient_tolerance=case.gradient_tolerance,
        ranks=16,
        check_every=1,
        **options,
    )
    for record in islice(records, case.n_steps):
        numbers = record._asdict()
        for name in ("seconds", "state"):
            del numbers[name]
        numbers["plans"] = str(numbers["plans"])
        _keep_params(part, f"step {record.step}", case, record.params)
        _keep(part, f"step {record.step}", **numbers)
    outputs = mg.predict(
        case.net, record.params, inputs, options=case.forward, comm=comm
    )
    _keep(part, "predict", outputs=outputs)
    return part


def _keep_params(part, name, case, params):
    body = part.shared if case.net.control.shared else part.rows
    body[f"{name} body"] = params.body
    part.ends[f"{name} opening"] = params.opening
    part.ends[f"{name} head"] = params.head


def _keep(part, name, **shared):
    for key, value in shared.items():
        value = value.name if isinstance(value, mg.Status) else value
        part.shared[f"{name} {key}"] = np.array(value)


def _keep_solution(part, name, solution):
    part.points[f"{name} states"] = solution.states
    numbers = ("residuals", "final_residual", "iterations", "status")
    _keep(part, name, **{key: getattr(solution, key) for key in numbers})
    if solution.iterations:
        _keep(part, name, point_residuals=solution.point_residuals)


def assemble(parts):
    """Results of the whole network from the parts of all ranks, in rank order."""
    whole = {}
    for name, values in _columns(parts, "points"):
        for left, right in pairwise(values):
            _check_same(f"{name} between ranks", left[-1], right[0])
        whole[name] = np.concatenate([values[0][:1], *[v[1:] for v in values]])
    for name, values in _columns(parts, "rows"):
        whole[name] = np.concatenate(values)
    for name, values in _columns(parts, "ends"):
        for value in (v for v in values if v is not None):
            assert name not in whole, f"{name} on several ranks"
            whole[name] = value
    for name, values in _columns(parts, "shared"):
        for value in values:
            _check_same(f"{name} on all ranks", values[0], value)
        whole[name] = values[0]
    return whole


def _columns(parts, field):
    dictionaries = [getattr(part, field) for part in parts]
    for name in dictionaries[0]:
        yield name, [dictionary[name] for dictionary in dictionaries]


def _check_same(name, one, other):
    assert as_bits(one) == as_bits(other), f"{name}: {one} is not {other}"


def as_bits(array):
    """Dtype, shape and bytes of an array."""
    return array.dtype.str, array.shape, array.tobytes()


def digests(whole):
    """One line per result: its name and a digest of its bits."""
    return [
        f"{name}: {hashlib.sha256(repr(as_bits(whole[name])).encode()).hexdigest()}"
        for name in sorted(whole)
    ]


def print_digests(world, *names):
    """Run cases, all by default, and print the digests on rank 0."""
    for name in names or CASES:
        parts = world.gather(run(CASES[name], world))
        if world.rank == 0:
            print(*(f"{name}: {line}" for line in digests(assemble(parts))), sep="\n")


def fail(world, where, rank):
    """Train, with a mishap on one rank."""
    case = CASES["two levels"]
    params, (inputs, targets) = problem(case)
    unlucky = world.rank == int(rank)
    comm = mg.ProcessGrid.split(world, layer=1, data=3) if where == "grid" else world
    complaint = f"mishap {where} on rank {rank}"

    def samples():
        yield inputs, targets
        if unlucky and where in ("between", "grid"):
            raise RuntimeError(complaint)
        yield inputs, targets

    if unlucky and where == "before":
        params = params._replace(body=params.body[:, :-1])
    options = case.forward
    if where == "crowd":
        options = mg.MGRITOptions((37,))  # one interval: a single rank at most
    records = mg.train(
        case.net,
        params,
        samples(),
        optimiser=case.optimiser,
        objective=mg.SoftmaxCrossEntropy(),
        forward=options,
        adjoint=options,
        comm=comm,
    )
    for record in records:
        print("trained step", record.step, flush=True)
    raise AssertionError("the mishap did not happen")


def verbs(world):
    """Check the verbs of `MPIComm`."""
    from mgresnet.parallel import as_time_comm

    check_verbs(as_time_comm(world))
    if world.rank == 0:
        print(f"{world.size} ranks checked")


def training(case, comm=None):
    """Records of training on the whole batch."""
    params, (inputs, targets) = problem(case)
    objective = mg.LeastSquares() if case.net.head is None else mg.SoftmaxCrossEntropy()
    return mg.train(
        case.net,
        params,
        mg.batches((inputs, targets), epochs=case.n_steps),
        optimiser=case.optimiser,
        objective=objective,
        forward=case.forward,
        adjoint=case.adjoint,
        regularisation=case.regularisation,
        gradient_tolerance=case.gradient_tolerance,
        ranks=16,
        check_every=1,
        comm=comm,
    )


def virtual(world):
    """Train with a virtual clock."""
    case = CASES["control over depth"]
    comm = mg.VirtualTimeComm(world, mg.Machine("any", 1e-6, 1e10, "made up"))
    serial = [record.loss for record in training(case)]
    clocks, found = [comm.clock], []
    for record in training(case, comm):
        found.append(record.loss)
        clocks.append(comm.clock)
    assert found == serial
    assert all(a < b for a, b in pairwise(clocks))
    if world.rank == 0:
        print(f"{world.size} ranks: serial losses, clocks go forwards")


def grid(world, shape):
    """Train on layers x data ranks and print the losses."""
    layer, data = SHAPES[shape]
    ranks = mg.ProcessGrid.split(world, layer=layer, data=data)
    for record in training(CASES["two levels"], ranks):
        if world.rank == 0:
            print(repr(record.loss))


def apart(comm=None):
    """Train four modules apart, with multipliers, each third epoch exactly."""
    case = CASES["serial"]
    net = mg.Network(case.net.layer, 24, 2.0, case.net.opening, case.net.head)
    params, data = problem(case._replace(net=net, n_samples=12))
    loss = mg.SoftmaxCrossEntropy()
    exact = mg.layer_parallel(net, loss, comm=comm)
    variables = mg.augmented_lagrangian(net, loss, 4, 12, comm=comm)
    return mg.train(
        net,
        params,
        mg.batches(data, 4, epochs=6, seed=5),
        optimiser=clipped_adam(),
        oracle=mg.hybrid(variables, exact, (2, 1)),
        comm=comm,
    )


def auxiliary(world):
    """Do so on all ranks and print losses and defects."""
    for record in apart(world):
        if world.rank == 0:
            print(repr(record.loss), repr(record.forward_residual))


def patience(world):
    """Every verb waits, on all ranks but one, for a rank that works for a while."""
    from mgresnet.parallel import as_time_comm

    comm = as_time_comm(world)
    for verb in (
        lambda: comm.gather(np.zeros(1)),
        lambda: comm.sum(np.zeros(1)),
        lambda: comm.to_shares(np.zeros((comm.size, 1))),
        lambda: comm.from_shares(np.zeros(comm.size + 1), 1),
        lambda: comm.send_right(comm.recv_left(np.zeros(1))),
    ):
        world.Barrier()
        if world.rank == 0:
            time.sleep(WORK)
        before = time.process_time()
        verb()
        used = world.gather(time.process_time() - before)
        if world.rank == 0:
            print(max(used[1:]) / WORK)


def hang(world):
    """Wait for a message that nobody sends."""
    world.recv(source=world.rank)


ACTIONS = {
    "digests": print_digests,
    "verbs": verbs,
    "virtual": virtual,
    "grid": grid,
    "auxiliary": auxiliary,
    "fail": fail,
    "hang": hang,
    "patience": patience,
}

if __name__ == "__main__":
    from mpi4py import MPI

    ACTIONS[sys.argv[1]](MPI.COMM_WORLD, *sys.argv[2:])

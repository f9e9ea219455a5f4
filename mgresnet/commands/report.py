"""What a training run prints and writes: table, closing report, output folder."""

from collections import Counter
from pathlib import Path

import numpy as np

from mgresnet.arrays.files import replacing
from mgresnet.arrays.trees import tree_map
from mgresnet.commands.history import History
from mgresnet.commands.saved import write_saved
from mgresnet.commands.setup import Setup, chooses_plans
from mgresnet.commands.streams import say
from mgresnet.control import Free
from mgresnet.data import peaks_class
from mgresnet.kernels.threads import threads
from mgresnet.learning.controller import planned_options
from mgresnet.learning.evaluation import EpochRow, predict
from mgresnet.learning.ladder import Plan
from mgresnet.learning.record import Record
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Params
from mgresnet.parallel import ProcessGrid, TimeComm
from mgresnet.parallel.blas import blas_threads
from mgresnet.solve.gradient import Info, value_and_gradient
from mgresnet.solve.solution import Solution
from mgresnet.solve.stages import space, whole_params
from mgresnet.timeline.grid import TimeGrid

COLUMNS = "{:>5}  {:>8} {:>8} {:>8}  {:>8} {:>8} {:>8}  {:>8} {:>8} {:>8}  {:>7}"


def start(setup: Setup, comm: TimeComm) -> None:
    """Say what is about to happen."""
    problem, net, a = setup.problem, setup.net, setup.arguments
    n_train, n_validation = len(problem.train.inputs), len(problem.validation.inputs)
    say(comm, f"problem   {problem.name}: {problem.source}")
    say(comm, f"          {n_train} training and {n_validation} validation samples")
    layers = f"{net.depth} layers of width {a.width}, {a.activation}"
    if problem.steps is not None:
        layers = f"{net.depth} steps of {net.layer}"
    say(
        comm,
        f"network   {layers}, T = {net.final_time:g}, {net.n_params} parameters, "
        f"{a.dtype}",
    )
    say(
        comm,
        f"solver    {_ranks(setup.grid)}, {_how(setup)}\n"
        f"threads   {threads()} for kernels, {blas_threads()} for BLAS, per rank\n",
    )
    name = setup.objective.score_name
    top = ("", "loss", "", "", name, "", "", "relative", "residual", "gradient", "")
    say(comm, COLUMNS.format(*top))
    parts = ("training", "exact", "new data")
    heads = ("epoch", *parts, *parts, "forward", "adjoint", "error", "seconds")
    plans = "" if a.gradient_tolerance is None else "  plans"
    say(comm, COLUMNS.format(*heads) + plans)


def table_line(row: EpochRow) -> str:
    """Losses, scores and residuals after an epoch."""
    evaluations = (row.training, row.exact, row.validation)
    cells = [short(e.loss) for e in evaluations]
    cells += [short(e.score) for e in evaluations]
    errors = (row.forward_residual, row.adjoint_residual, row.gradient_error)
    cells += [f"{error:.1e}" for error in errors]
    line = COLUMNS.format(row.epoch, *cells, f"{row.seconds:.1f}")
    return f"{line}  {row.plans}".rstrip()


def short(number: float) -> str:
    """A number that fits in a column."""
    return f"{number:.4f}" if abs(number) < 1e3 else f"{number:.1e}"


def finish(
    setup: Setup,
    params: Params,
    history: History,
    comm: TimeComm,
    folder: Path | None,
) -> None:
    """Compare with exact propagation, say where the time went, draw figures."""
    records, last = history.records, history.rows[-1]
    name = setup.objective.score_name
    seen, exact, new = (
        short(e.score) for e in (last.training, last.exact, last.validation)
    )
    say(
        comm,
        f"\n{name} on the training data: {seen} as training saw it, {exact} by exact "
        f"inference; on new data {new} by exact inference",
    )
    error, info = gradient_error(setup, params, records[-1])
    estimate = records[-1].gradient_error
    say(
        comm,
        f"relative error of the gradient at the end: {error:.1e}; estimated in the "
        f"last step: {estimate:.1e}",
    )
    for kind, solution in (("forward", info.forward), ("adjoint", info.adjoint)):
        text = f"relative residuals of the last {kind} solve: {_history(solution)}"
        say(comm, text)
    seconds: Counter[str] = Counter()
    for record in records:
        seconds.update(record.seconds)
    parts = [f"{part} {seconds.pop(part):.1f}" for part in ("relax", "coarse")]
    phases = [f"{phase} {spent:.1f}" for phase, spent in seconds.items()]
    of = f"{', '.join(phases)}; within both solves {', '.join(parts)}"
    say(comm, f"seconds by phase on rank 0: {of}")
    if setup.arguments.output:
        _write_results(setup, params, history, comm, folder)


def gradient_error(setup: Setup, params: Params, last: Record) -> tuple[float, Info]:
    """Relative 2-norm error of the gradient on the first training batch, undivided."""
    n = setup.arguments.batch_size
    train = setup.problem.train
    exact_options = MGRITOptions.serial(setup.forward.coarsening, setup.forward.slabs)
    results = [
        value_and_gradient(
            setup.net,
            params,
            train.inputs[:n],
            train.targets[:n],
            objective=setup.objective,
            forward=forward,
            adjoint=adjoint,
            comm=setup.grid.layer,
            regularisation=setup.regularisation,
            keep="c-points",
        )
        for forward, adjoint in (
            options_in(setup, last),
            (exact_options, exact_options),
        )
    ]
    (_, inexact, info), (_, exact, _) = results
    norm = space(setup.net, setup.forward, setup.grid.layer).norm
    return norm(tree_map(np.subtract, inexact, exact)) / norm(exact), info


def options_in(setup: Setup, record: Record) -> tuple[MGRITOptions, MGRITOptions]:
    """Options by which both solves of a step were done."""
    ways = setup.forward, setup.adjoint
    counts = record.forward_iterations, record.adjoint_iterations
    plans = record.plans or [
        Plan(way.coarsening, way.coarse_operator, k)
        for way, k in zip(ways, counts, strict=True)
    ]
    forward, adjoint = map(planned_options, ways, plans)
    return forward, adjoint


def _write_results(
    setup: Setup,
    params: Params,
    history: History,
    comm: TimeComm,
    folder: Path | None,
) -> None:
    layer = setup.grid.layer
    ways = {"options": setup.forward, "comm": layer}
    whole = whole_params(setup.net, params, **ways)
    outputs = None
    if setup.problem.name == "peaks":
        x = np.linspace(-3.0, 3.0, 201)
        grid = np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2)
        options = MGRITOptions.serial(setup.forward.coarsening, setup.forward.slabs)
        grid = grid.astype(setup.arguments.dtype)
        outputs = predict(setup.net, params, grid, options=options, comm=layer)
    if not folder:
        return
    write_saved(folder, setup.net, whole, setup.problem.scales)
    try:
        from mgresnet import plotting
    except ModuleNotFoundError as error:
        say(comm, f"no figures: {error}; pip install 'mgresnet[plot]'")
        return
    with replacing(folder / "curves.png") as path:
        plotting.save_curves(path, *history, setup.objective.score_name)
    if outputs is not None:
        predicted = outputs.argmax(axis=1).reshape(len(x), -1)
        truth = peaks_class(*np.meshgrid(x, x))
        points = setup.problem.validation
        with replacing(folder / "regions.png") as path:
            plotting.save_regions(path, x, predicted, truth, points)
    names = sorted(file.name for file in folder.iterdir())
    say(comm, f"written to {folder}: {', '.join(names)}")


def _ranks(grid: ProcessGrid) -> str:
    if grid.data.size == 1:
        return f"{grid.layer.size} rank(s)"
    return f"{grid.layer.size} rank(s) over layers x {grid.data.size} over samples"


def _how(setup: Setup) -> str:
    """How solves are done, as far as that is known before they are."""
    a, options = setup.arguments, setup.forward
    if chooses_plans(a):
        text = (
            f"plans by the gradient's error, at most {a.gradient_tolerance:g},\n"
            f"          for {a.for_ranks} rank(s), slabs of {options.slabs} layers"
        )
        if isinstance(setup.net.control, Free):
            text += (
                "\n          free weights take iterations, or exact propagation in a "
                "pipeline;\n          a spline, --control 12, mostly takes neither"
            )
        return text
    factors = TimeGrid(setup.net.depth, 1.0, options.coarsening, options.slabs).factors
    if not options.iterates(factors):
        return (
            f"exact propagation: coarsening {options.coarsening} of {setup.net.depth} "
            f"layers, initial guess {options.initial_guess}"
        )
    used = "" if factors == options.coarsening else f", of which {factors} in use"
    bound = f"tolerance {options.tolerance:g}"
    if a.gradient_tolerance is not None:
        bound = f"gradients to {a.gradient_tolerance:g}"
    return (
        f"coarsening {options.coarsening}{used}, {options.coarse_operator}, {bound},\n"
        f"          at most {a.iterations} forward and {a.adjoint_iterations} adjoint "
        "corrections"
    )


def _history(solution: Solution) -> str:
    history = list(solution.residuals)
    if len(history) == solution.iterations:  # the last correction is not measured yet
        history.append(solution.final_residual)
    unit = solution.state_norm or 1.0
    return " ".join(f"{residual / unit:.1e}" for residual in history)

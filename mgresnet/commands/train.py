"""Train a residual network on a problem, in parallel over its layers."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from mgresnet.commands import report
from mgresnet.commands.setup import Setup
from mgresnet.commands.setup import add_arguments as add_arguments
from mgresnet.commands.setup import prepare as prepare
from mgresnet.data import Split
from mgresnet.learning.controller import Plan, planned_options
from mgresnet.learning.evaluation import EpochRow, Evaluation, evaluate
from mgresnet.learning.record import Record
from mgresnet.learning.trainer import train
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.solver import Status
from mgresnet.parallel import TimeComm

DIVERGED = 1  # exit code


def run(setup: Setup, comm: TimeComm) -> int:
    """Train, show a table, write the output folder; return the exit code."""
    records: list[Record] = []
    rows: list[EpochRow] = []
    params = setup.params
    folder: Path | None = setup.arguments.output if comm.rank == 0 else None
    report.start(setup, comm, folder)
    steps = -(-len(setup.problem.train.inputs) // setup.arguments.batch_size)
    started = time.perf_counter()
    for record in with_progress(setup, steps, comm):
        params = record.params
        records.append(record._replace(state=None))
        report.append_record(folder, record)
        if record.status is Status.NON_FINITE:
            report.say(comm, f"step {record.step} diverged: {record.status.value}")
            return DIVERGED
        if (record.step + 1) % steps == 0:
            seconds = time.perf_counter() - started
            rows.append(epoch_row(setup, record, seconds))
            report.say(comm, report.table_line(rows[-1]))
    report.finish(setup, params, records, rows, comm, folder)
    return 0


def with_progress(setup: Setup, steps: int, comm: TimeComm) -> Iterator[Record]:
    """Training steps, counted by a bar on rank 0 when somebody watches."""
    a = setup.arguments
    records = train(
        setup.net,
        setup.params,
        setup.batches,
        optimiser=setup.optimiser,
        objective=setup.objective,
        forward=setup.forward,
        adjoint=setup.adjoint,
        comm=setup.grid,
        regularisation=setup.regularisation,
        gradient_tolerance=a.gradient_tolerance,
        ranks=a.for_ranks,
        check_every=a.check_every,
        keep="c-points",
    )
    watched = comm.rank == 0 and (a.progress or sys.stderr.isatty())
    total = a.epochs * steps
    return iter(
        tqdm(records, total=total, unit="step", leave=False, disable=not watched)
    )


def epoch_row(setup: Setup, record: Record, seconds: float) -> EpochRow:
    """Evaluate the weights after an epoch, as training sees them and exactly."""
    exact = MGRITOptions.serial(setup.forward.coarsening)
    seen = planned_options(setup.forward, Plan(record.forward_iterations))

    def score(split: Split, options: MGRITOptions) -> Evaluation:
        return evaluate(
            setup.net,
            record.params,
            split.inputs,
            split.targets,
            objective=setup.objective,
            options=options,
            comm=setup.grid.layer,
        )

    return EpochRow(
        epoch=record.epoch + 1,
        training=score(setup.problem.train, seen),
        exact=score(setup.problem.train, exact),
        validation=score(setup.problem.validation, exact),
        forward_residual=record.forward_residual,
        adjoint_residual=record.adjoint_residual,
        gradient_error=record.gradient_error,
        seconds=seconds,
    )

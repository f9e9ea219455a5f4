"""Train a residual network on a problem, in parallel over its layers."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from mgresnet.commands import report
from mgresnet.commands.folder import CHECKPOINTS, locked
from mgresnet.commands.history import History, append_record, write_rows
from mgresnet.commands.options import add_arguments as add_arguments
from mgresnet.commands.setup import Setup, check_every
from mgresnet.commands.setup import prepare as prepare
from mgresnet.commands.stopping import stopping
from mgresnet.commands.streams import say
from mgresnet.commands.warmup import compile_first
from mgresnet.data import Split
from mgresnet.learning.checkpoint import save_checkpoint
from mgresnet.learning.evaluation import EpochRow, Evaluation, evaluate
from mgresnet.learning.record import Record
from mgresnet.learning.state import TrainState
from mgresnet.learning.trainer import train
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.mgrit.solver import Status
from mgresnet.parallel import TimeComm

DIVERGED = 1  # exit code


def run(setup: Setup, comm: TimeComm) -> int:
    """Train, show a table, write the output folder; return the exit code."""
    report.start(setup, comm)
    return carry_out(setup, comm, None, History([], []))


def carry_out(
    setup: Setup, comm: TimeComm, state: TrainState | None, history: History
) -> int:
    """Do what is left of a run; return the exit code."""
    folder: Path | None = setup.arguments.output if comm.rank == 0 else None
    every = setup.checkpoint_every
    compile_first((setup.arguments.dtype,), comm, lambda line: None)
    started = time.perf_counter() - history.seconds
    good: TrainState | None = None  # the last whose objective was finite
    with locked(folder), stopping() as stop:
        for record in with_progress(setup, state, comm):
            if record.status is Status.NON_FINITE:
                say(
                    comm,
                    f"step {record.step} diverged: {record.lost}; try a smaller "
                    "--learning-rate, or --clip 1",
                )
                keep(setup, good, comm)
                return DIVERGED
            good, state = state, record.state
            history.records.append(record._replace(state=None))
            append_record(folder, record)
            if setup.evaluates(state.step):
                seconds = time.perf_counter() - started
                history.rows.append(epoch_row(setup, record, seconds))
                write_rows(folder, history.rows)
                say(comm, report.table_line(history.rows[-1]))
            if code := stop.agreed(comm):
                say(comm, f"stopped by a signal after step {record.step}")
                keep(setup, state, comm)
                return code
            if every and state.step % every == 0:
                save(setup, state)
    if state is not None:
        report.finish(setup, state.params, history, comm, folder)
    return 0


def with_progress(
    setup: Setup, state: TrainState | None, comm: TimeComm
) -> Iterator[Record]:
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
        check_every=check_every(a),
        state=state,
    )
    watched = comm.rank == 0 and (a.progress or sys.stderr.isatty())
    done, total = 0 if state is None else state.step, a.epochs * setup.steps_per_epoch
    shown = {"total": total, "initial": done, "unit": "step", "leave": False}
    return iter(tqdm(records, disable=not watched, **shown))


def keep(setup: Setup, state: TrainState | None, comm: TimeComm) -> None:
    """Save the state that a run has stopped at, and say how to go on."""
    folder = setup.arguments.output
    if folder is None:
        say(comm, "nothing is kept: there is no --output")
    elif state is None:
        say(comm, "nothing new is kept: no step has gone well before")
    else:
        save(setup, state)
        say(
            comm,
            f"kept what was learned in {state.step} step(s); go on by: "
            f"mgresnet resume {folder}",
        )


def save(setup: Setup, state: TrainState) -> None:
    """Save a checkpoint; what was saved later is no longer wanted."""
    if setup.arguments.output:
        folder = setup.arguments.output / CHECKPOINTS
        save_checkpoint(folder, state, setup.grid, overwrite=True)


def epoch_row(setup: Setup, record: Record, seconds: float) -> EpochRow:
    """Evaluate the weights after an epoch, as training sees them and exactly."""
    exact = MGRITOptions.serial(setup.forward.coarsening, setup.forward.slabs)
    seen, _ = report.options_in(setup, record)

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

    found = score(setup.problem.train, exact)
    residuals = record.relative_residuals
    return EpochRow(
        epoch=record.epoch + 1,
        training=found if seen == exact else score(setup.problem.train, seen),
        exact=found,
        validation=score(setup.problem.validation, exact),
        forward_residual=residuals.forward,
        adjoint_residual=residuals.adjoint,
        gradient_error=record.gradient_error,
        seconds=seconds,
        plans=" + ".join(map(str, record.plans or ())),
    )

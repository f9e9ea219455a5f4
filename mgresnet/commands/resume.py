"""Go on with a training run that was interrupted, on any number of layer ranks."""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from mgresnet.arrays.files import read_json
from mgresnet.commands import report, train
from mgresnet.commands.folder import CHECKPOINTS, CONFIG, digest_of, locked
from mgresnet.commands.history import History, read_history, write_history
from mgresnet.commands.options import options_of
from mgresnet.commands.setup import Setup, build
from mgresnet.commands.streams import say
from mgresnet.data import batches
from mgresnet.learning.checkpoint import load_checkpoint
from mgresnet.learning.state import TrainState
from mgresnet.parallel import TimeComm


class Rest(NamedTuple):
    """What is left of a run."""

    setup: Setup
    state: TrainState
    history: History


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="--output of mgresnet train")
    add("--step", type=int, help="steps done, if not those of the last checkpoint")
    add("--progress", action="store_true", help="show the bar also under mpiexec")


def prepare(arguments: argparse.Namespace, comm: TimeComm) -> Rest:
    """Read the run's configuration and its last checkpoint."""
    folder = arguments.folder
    given = read_config(folder / CONFIG)
    options = options_of(given, output=folder, progress=arguments.progress)
    setup = build(options, comm)
    if given.get("samples") != digest_of(setup.problem):
        raise ValueError(
            f"{setup.problem.name} has other samples than the run in {folder} had; "
            "give it the files as they were, or start another run"
        )
    state = load_checkpoint(
        folder / CHECKPOINTS,
        setup.net,
        options=setup.forward,
        comm=setup.grid,
        step=arguments.step,
    )
    a = setup.arguments
    split, seed = setup.problem.train, a.seed
    rest = batches(split, a.batch_size, a.epochs, seed, start=state.step)
    return Rest(setup._replace(batches=rest), state, read_history(folder, state.step))


def read_config(path: Path) -> dict[str, Any]:
    """Configuration that ``mgresnet train`` has written."""
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no {path}; give the --output folder of mgresnet train"
        )
    return read_json(path, "the options of the run; undo what was edited")


def run(rest: Rest, comm: TimeComm) -> int:
    """Do the rest of the run; return the exit code."""
    setup, state, history = rest
    folder = setup.arguments.output
    report.start(setup, comm)
    say(comm, f"goes on after {state.step} step(s)")
    if comm.rank == 0:
        with locked(folder):
            write_history(folder, history)
    for row in history.rows:
        say(comm, report.table_line(row))
    return train.carry_out(setup, comm, state, history)

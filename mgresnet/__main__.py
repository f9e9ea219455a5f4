"""Command line: ``mgresnet COMMAND ...``, the same alone and under ``mpiexec -n P``."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn, Protocol

import numpy as np

from mgresnet.commands import (
    compare,
    export,
    model,
    predict,
    resume,
    scale,
    study,
    train,
    warmup,
)
from mgresnet.commands.stopping import ASIDE
from mgresnet.commands.streams import listen, open_streams, tell
from mgresnet.parallel import TimeComm, launched_ranks
from mgresnet.starting import listen_again
from mgresnet.version import __version__

FAILED, BAD_INPUT = 1, 2  # exit codes


class Command(Protocol):
    """What a module of `mgresnet.commands` offers."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""

    def prepare(self, arguments: argparse.Namespace, comm: TimeComm) -> Any:
        """Check the input; the result is for `run`."""

    def run(self, setup: Any, comm: TimeComm) -> int:
        """Do the work; return the exit code."""


COMMANDS: dict[str, Command] = {
    "train": train,
    "resume": resume,
    "compare": compare,
    "predict": predict,
    "export": export,
    "scale": scale,
    "model": model,
    "study": study,
    "warmup": warmup,
}


class BadInputError(Exception):
    """A command line that cannot be carried out."""


def _refuse(program: str, message: str) -> NoReturn:
    raise BadInputError(f"{message} (see {program} --help)")


def parser() -> argparse.ArgumentParser:
    """Arguments of all commands."""
    whole: Any = partial(argparse.ArgumentParser, allow_abbrev=False)
    top: argparse.ArgumentParser = whole(prog="mgresnet", description=__doc__)
    top.add_argument("--version", action="version", version=f"mgresnet {__version__}")
    commands = top.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=whole
    )
    parsers: list[Any] = [top]
    for name, command in COMMANDS.items():
        about = command.__doc__
        parsers.append(commands.add_parser(name, help=about, description=about))
        command.add_arguments(parsers[-1])
    for each in parsers:
        each.error = partial(_refuse, each.prog)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command; return the exit code."""
    listen_again()
    open_streams()
    comm = launched_ranks()
    listen(comm)
    try:
        return _carry_out(arguments, comm)
    except KeyboardInterrupt:
        if comm.size > 1:
            raise  # ends the job on all ranks
        tell("mgresnet: stopped")
        return ASIDE + signal.SIGINT


def _carry_out(arguments: Sequence[str] | None, comm: TimeComm) -> int:
    parsed = _attempt(comm, parser().parse_args, arguments)
    if parsed is None:
        return BAD_INPUT
    command = COMMANDS[parsed.command]
    setup = _attempt(comm, command.prepare, parsed, comm)
    if setup is None:
        return BAD_INPUT
    try:
        return command.run(setup, comm)
    except (OSError, MemoryError) as error:
        tell(f"mgresnet: error: {error}")
        if comm.size > 1:
            raise  # ends the job on all ranks
        return FAILED


def _attempt(comm: TimeComm, function: Callable[..., Any], *arguments: Any) -> Any:
    """Result of a function, or None on all ranks if it refuses its input on any.

    The first of those ranks says why.
    """
    result, problem = None, ""
    try:
        result = function(*arguments)
    except (BadInputError, ValueError, TypeError, OSError, MemoryError) as error:
        problem = " ".join(str(error).split())
    troubled = comm.gather(np.array([bool(problem)]))
    if troubled.any() and comm.rank == int(troubled.argmax()):
        tell(f"mgresnet: error: {problem}")
    return None if troubled.any() else result


if __name__ == "__main__":
    sys.exit(main())

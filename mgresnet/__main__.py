"""Command line: ``mgresnet COMMAND ...``, the same alone and under ``mpiexec -n P``."""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn, Protocol

import numpy as np

from mgresnet.commands import (
    export,
    model,
    predict,
    resume,
    scale,
    study,
    train,
    warmup,
)
from mgresnet.parallel import TimeComm, launched_ranks

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
    top = argparse.ArgumentParser(prog="mgresnet", description=__doc__)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    parsers = [top]
    for name, command in COMMANDS.items():
        about = command.__doc__
        parsers.append(commands.add_parser(name, help=about, description=about))
        command.add_arguments(parsers[-1])
    for each in parsers:
        each.error = partial(_refuse, each.prog)  # type: ignore[method-assign]
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command; return the exit code."""
    comm = launched_ranks()
    parsed = _attempt(comm, parser().parse_args, arguments)
    if parsed is None:
        return BAD_INPUT
    command = COMMANDS[parsed.command]
    setup = _attempt(comm, command.prepare, parsed, comm)
    if setup is None:
        return BAD_INPUT
    try:
        return command.run(setup, comm)
    except OSError as error:
        print(f"mgresnet: error: {error}", file=sys.stderr, flush=True)
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
    except (BadInputError, ValueError, TypeError, OSError) as error:
        problem = " ".join(str(error).split())
    troubled = comm.gather(np.array([bool(problem)]))
    if troubled.any() and comm.rank == int(troubled.argmax()):
        print(f"mgresnet: error: {problem}", file=sys.stderr, flush=True)
    return None if troubled.any() else result


if __name__ == "__main__":
    sys.exit(main())

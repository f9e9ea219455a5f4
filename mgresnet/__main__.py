"""Command line: ``mgresnet COMMAND ...``, the same alone and under ``mpiexec -n P``."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from mgresnet.commands.setup import add_arguments, prepare
from mgresnet.commands.train import __doc__ as train_doc
from mgresnet.commands.train import run
from mgresnet.parallel import TimeComm, launched_ranks

BAD_INPUT = 2  # exit code


class BadInputError(Exception):
    """A command line that cannot be carried out."""


def _refuse(message: str) -> NoReturn:
    raise BadInputError(f"{message} (see mgresnet train --help)")


def parser() -> argparse.ArgumentParser:
    """Arguments of all commands."""
    top = argparse.ArgumentParser(prog="mgresnet", description=__doc__)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    one = commands.add_parser("train", help=train_doc, description=train_doc)
    add_arguments(one)
    for each in (top, one):
        each.error = _refuse  # type: ignore[method-assign]
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command; return the exit code."""
    comm = launched_ranks()
    try:
        setup = prepare(parser().parse_args(arguments), comm)
        problem = ""
    except (BadInputError, ValueError, TypeError, OSError) as error:
        problem = " ".join(str(error).split())
    if _first_problem(problem, comm):
        return BAD_INPUT
    return run(setup, comm)


def _first_problem(problem: str, comm: TimeComm) -> bool:
    """Whether any rank has a problem; the first of those ranks reports it."""
    troubled = comm.gather(np.array([bool(problem)]))
    if troubled.any() and comm.rank == int(troubled.argmax()):
        print(f"mgresnet: error: {problem}", file=sys.stderr, flush=True)
    return bool(troubled.any())


if __name__ == "__main__":
    sys.exit(main())

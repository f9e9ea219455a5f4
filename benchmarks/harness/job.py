"""Functions called in processes of their own, on one rank or several.

The first argument of such a function is the communicator; the others, and what it
returns on the first rank, fit into JSON.
"""

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

from harness.launch import alone, execute, on
from mgresnet.parallel.choose import launched_ranks


def call(ranks: int | None, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of a module returns on so many ranks; None is without MPI."""
    return json.loads(execute(command(ranks, function, *arguments)))


def command(
    ranks: int | None, function: Callable[..., Any], *arguments: Any
) -> list[str]:
    """How to start this module for a function."""
    program = ("-m", "harness.job", function.__module__, function.__name__)
    program += (json.dumps(arguments),)
    return alone(*program) if ranks is None else on(ranks, *program)


if __name__ == "__main__":
    module, name, given = sys.argv[1:]
    comm = launched_ranks()
    found = getattr(importlib.import_module(module), name)(comm, *json.loads(given))
    if comm.rank == 0:
        print(json.dumps(found))

"""Write a saved network's parameters by the names that torch has for them."""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.files import replacing
from mgresnet.chain import Chain
from mgresnet.commands.saved import alone, check_output, read_network
from mgresnet.commands.streams import say
from mgresnet.network import Network
from mgresnet.parallel import TimeComm
from mgresnet.saving.state_dict import state_dict


class Setup(NamedTuple):
    """What is written, and where."""

    net: Network | Chain
    params: Any
    output: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("saved", type=Path, metavar="RUN_OR_FILE", help="of train --output, or mg.save")
    add("--output", type=Path, metavar="FILE", required=True, help="to write, an .npz")


def prepare(arguments: argparse.Namespace, comm: TimeComm) -> Setup:
    """Check everything, so that bad input shows before any work is done."""
    alone(comm, "export")
    check_output(arguments.output, (".npz",))
    return Setup(*read_network(arguments.saved), arguments.output)


def run(setup: Setup, comm: TimeComm) -> int:
    """Write the file; return the exit code."""
    arrays = state_dict(setup.net, setup.params)
    with replacing(setup.output) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    size = sum(array.size for array in arrays.values())
    say(comm, f"wrote {len(arrays)} arrays with {size} numbers to {setup.output}")
    return 0

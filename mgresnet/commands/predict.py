"""Outputs of a saved network for inputs from a file, and their score."""

import argparse
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.checks import check_finite
from mgresnet.arrays.layout import Array
from mgresnet.chain import Chain, networks_of
from mgresnet.commands.new_samples import read_inputs
from mgresnet.commands.saved import (
    TABLES,
    alone,
    check_output,
    read_network,
    read_scales,
    read_table,
    write_table,
)
from mgresnet.commands.streams import say
from mgresnet.data.scaling import Scale
from mgresnet.learning.evaluation import predict
from mgresnet.network import Network
from mgresnet.parallel import TimeComm
from mgresnet.solve.ahead import checked_inputs
from mgresnet.solve.classification import SoftmaxCrossEntropy
from mgresnet.solve.objectives import Objective, check_targets
from mgresnet.solve.regression import LeastSquares
from mgresnet.solve.slab import Slab
from mgresnet.solve.stages import trees_of


class Setup(NamedTuple):
    """What is propagated, and what becomes of the outputs."""

    net: Network | Chain
    params: Any
    inputs: Array
    targets: Array | None
    scale: Scale | None  # of outputs
    output: Path | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("saved", type=Path, metavar="RUN_OR_FILE", help="of train --output, or mg.save")
    add("inputs", type=Path, metavar="INPUTS", help="a sample a line, or an .npz")
    add("--targets", type=Path, metavar="FILE", help="print a score")
    add("--output", type=Path, metavar="FILE", help="write the outputs: .csv or .npz")


def prepare(arguments: argparse.Namespace, comm: TimeComm) -> Setup:
    """Check everything, so that bad input shows before any work is done."""
    a = arguments
    alone(comm, "predict")
    if a.output is None and a.targets is None:
        raise ValueError("nothing to do; add --output FILE, --targets FILE, or both")
    if a.output:
        check_output(a.output, TABLES)
    net, params = read_network(a.saved)
    own, first = trees_of(net, params)[0], networks_of(net)[0]
    scales = read_scales(a.saved)
    inputs = read_inputs(a.inputs, first, scales.inputs).astype(own.body.dtype)
    inputs = checked_inputs(Slab.of(first, None, comm), own, inputs)
    targets = None
    if a.targets:
        targets = as_targets(
            net, read_table("targets", a.targets, scales.targets), inputs
        )
    return Setup(net, params, inputs, targets, scales.targets, a.output)


def run(setup: Setup, comm: TimeComm) -> int:
    """Propagate, write and print; return the exit code."""
    outputs = predict(setup.net, setup.params, setup.inputs)
    if setup.targets is not None:
        objective = objective_of(setup.targets)
        score = objective.score(outputs, setup.targets)
        say(comm, f"{objective.score_name} {score:.4f} on {len(outputs)} samples")
    if setup.output:
        names: tuple[str, ...] = ()
        if setup.scale is not None:
            outputs, names = setup.scale.undo(outputs), setup.scale.names
        write_table(setup.output, "outputs", outputs, names)
        say(comm, f"wrote outputs of {len(outputs)} samples to {setup.output}")
    return 0


def as_targets(net: Network | Chain, targets: Array, inputs: Array) -> Array:
    """Class numbers (batch,) if there is one for several outputs, else values."""
    check_finite(targets, "targets")
    rows = targets.reshape(len(targets), math.prod(targets.shape[1:]))
    if rows.shape[1] == 1 < net.n_outputs and (rows == np.rint(rows)).all():
        values: Array = rows[:, 0].astype(np.int64)
    else:
        values = rows.astype(inputs.dtype)
    check_targets(objective_of(values), net.n_outputs, values, len(inputs))
    return values


def objective_of(targets: Array) -> Objective:
    """What has targets of this kind."""
    return SoftmaxCrossEntropy() if targets.ndim == 1 else LeastSquares()

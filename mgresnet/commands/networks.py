"""Networks of ``mgresnet train``: residual layers for rows, recurrent for sequences."""

import argparse
from collections.abc import Mapping
from typing import Any

from mgresnet.commands.choices import (
    CURVES,
    OF_ROWS,
    OF_SEQUENCES,
    OPENINGS,
    PRESETS,
    SEQUENCES,
)
from mgresnet.control import BSpline, Free, Shared
from mgresnet.data import Problem
from mgresnet.layers import GRU, Dense, Linear
from mgresnet.layers.gating import check_gating
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network
from mgresnet.timeline.grid import TimeGrid


def preset(a: argparse.Namespace, problem: Problem) -> None:
    """Fill in what is not given and goes with a problem.

    Raises
    ------
    ValueError
        If a depth is given that is not the length of the sequences.
    """
    values: Mapping[str, Any] = PRESETS.get(a.problem, CURVES)
    if problem.steps is not None:
        if a.depth not in (None, problem.steps):
            raise ValueError(
                f"--depth {a.depth}, but the sequences of {problem.name} have "
                f"{problem.steps} steps; leave it out"
            )
        steps = {"depth": problem.steps, "final_time": float(problem.steps)}
        values = SEQUENCES | steps
    for name, value in values.items():
        if getattr(a, name) is None:
            setattr(a, name, value)


def build_network(a: argparse.Namespace, problem: Problem) -> Network:
    """Opening, dense layers and a linear head; or gated units and a head."""
    if problem.steps is not None:
        _refuse(a, OF_ROWS, f"layers for rows, and {problem.name} has sequences")
        return _recurrent(a, problem)
    _refuse(a, OF_SEQUENCES, f"units for sequences, and {problem.name} has rows")
    opening = choose("opening", a.opening, OPENINGS)
    return Network(
        Dense(a.width, a.activation),
        a.depth,
        a.final_time,
        opening=opening(problem.n_features, a.width, a.activation),
        head=Linear(a.width, problem.n_outputs),
        control=control_of(a.control, a.depth),
    )


def _refuse(a: argparse.Namespace, defaults: Mapping[str, Any], others: str) -> None:
    """Refuse options that only networks of another kind have."""
    for name, default in defaults.items():
        if (given := getattr(a, name)) != default:
            raise ValueError(
                f"--{name} is {given}, but it is of {others}; leave it out"
            )


def control_of(n: int | None, depth: int) -> BSpline | Free:
    """Weights of all layers from n values, or each layer's own if that is None.

    Raises
    ------
    ValueError
        If there are more values than layers.
    """
    if n is not None and n > depth:
        raise ValueError(
            f"--control {n}, but there are {depth} layers; needed at most as many "
            "values, or no --control for weights of their own"
        )
    return Free() if n is None else BSpline(n)


def _recurrent(a: argparse.Namespace, problem: Problem) -> Network:
    """Gated units with the same weights in all steps, and a head for the last state."""
    layer = GRU(
        problem.n_features - problem.masked,
        a.width,
        a.cells,
        implicit=not a.explicit,
        masked=problem.masked,
    )
    head = Linear(layer.state_shape[0], problem.n_outputs)
    return Network(layer, a.depth, a.final_time, head=head, control=Shared())


def coarse_operator(a: argparse.Namespace, net: Network) -> str:
    """What is given, or else the best for most networks of this kind."""
    name: str | None = a.coarse_operator
    return name or ("matched" if net.layer.input_shape is None else "e2")


def check_coarse_steps(net: Network, options: MGRITOptions) -> None:
    """Refuse explicit units whose steps are too long to be composed, if they are."""
    factors = options.coarsening, options.slabs
    grid = TimeGrid(net.depth, net.final_time, *factors)
    if isinstance(net.layer, GRU) and options.iterates(grid.factors):
        operator = net.layer.coarse(options.coarse_operator)
        check_gating(operator.scheme(2), net.layer.implicit, net.step)


def choose(name: str, key: str, table: Mapping[str, Any]) -> Any:
    """Entry of a table; an unknown key names those there are."""
    if key not in table:
        raise ValueError(f"unknown {name} {key!r}; choose from {', '.join(table)}")
    return table[key]

"""How time grows with the depth, and falls with a second thread."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from _timing import take_turns

import mgresnet as mg

SHAPES = ((8, 256), (32, 64))
THREADED = ((16, 64), (16, 1000), (64, 64), (64, 1000))
OBJECTIVE = mg.LeastSquares()
SERIAL = mg.MGRITOptions.serial((16,))
KEEP = "c-points"


def over_depth(depths: tuple[int, ...], budget: float) -> list[dict[str, Any]]:
    """Nanoseconds per layer, feature and sample of serial solves and gradients."""
    rows = []
    for width, batch in SHAPES:
        row: dict[str, Any] = {"width": width, "batch": batch, "depths": list(depths)}
        for what, make in (("forward", _forward), ("gradient", _gradient)):
            runs = {str(n): make(width, batch, n) for n in depths}
            times = take_turns(runs, budget)
            scale = 1e9 / (width * batch)
            row[what] = [scale * times[str(n)].median / n for n in depths]
        rows.append(row)
    return rows


def _forward(width: int, batch: int, depth: int) -> Callable[[], object]:
    net = mg.Network(mg.Dense(width), depth)
    states = _states(width, batch)
    call = partial(mg.solve_forward, options=SERIAL, keep=KEEP)
    return partial(call, net, net.init(), states)


def _gradient(width: int, batch: int, depth: int) -> Callable[[], object]:
    net, u = mg.Network(mg.Dense(width), depth), _states(width, batch)
    how = {"objective": OBJECTIVE, "forward": SERIAL, "keep": KEEP}
    call = partial(mg.value_and_gradient, **how)
    return partial(call, net, net.init(), u, np.zeros_like(u))


def _states(width: int, batch: int) -> Any:
    return np.random.default_rng(6577).standard_normal((batch, width))


def over_threads(budget: float, depth: int = 1024) -> list[dict[str, Any]]:
    """Seconds of the clock of a gradient with one thread and with two, the best."""
    rows = []
    for width, batch in THREADED:
        gradient = _gradient(width, batch, depth)
        runs = {"one": partial(_on, 1, gradient), "two": partial(_on, 2, gradient)}
        times = take_turns(runs, budget, clock=time.perf_counter)
        best = {name: found.best for name, found in times.items()}
        rows.append({"width": width, "batch": batch, "depth": depth, **best})
    mg.set_threads(1)
    return rows


def _on(threads: int, run: Callable[[], object]) -> None:
    mg.set_threads(threads)
    run()


def show_depths(rows: list[dict[str, Any]]) -> None:
    """Print nanoseconds and how far they spread."""
    for row in rows:
        print(f"w{row['width']} B{row['batch']}, depths", *row["depths"])
        for what in ("forward", "gradient"):
            found = row[what]
            print(
                f"  {what:8} ns",
                *(f"{ns:.2f}" for ns in found),
                f"largest over smallest {max(found) / min(found):.2f}",
            )

"""Tables and figures of runs that were serial, and parallel over layers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mgresnet.studies.against_serial import PARALLEL, SERIAL, WAYS
from mgresnet.studies.statistics import estimate, paired
from mgresnet.studies.study import Row
from mgresnet.studies.work import on_grid


def results(rows: Sequence[Row], task: str, way: str, name: str) -> list[Any]:
    """One number of all seeds."""
    return [
        row.result[name]
        for row in rows
        if row.case["task"] == task and row.case["way"] == way
    ]


def tasks_of(rows: Sequence[Row]) -> list[str]:
    """Names, in order."""
    return [*dict.fromkeys(row.case["task"] for row in rows)]


def last_seconds(rows: Sequence[Row], task: str, way: str, ranks: str) -> list[float]:
    """Modelled seconds of whole runs."""
    return [each[ranks][-1] for each in results(rows, task, way, "seconds")]


def compared(rows: Sequence[Row], name: str) -> list[str]:
    """Scores of both ways, their differences, and modelled times."""
    lines = []
    for task in tasks_of(rows):
        both = [results(rows, task, way, "score") for way in WAYS]
        ours = [estimate(scores) for scores in both]
        spread = f", standard deviation over seeds {ours[0].deviation:.3g}"
        lines += [
            f"{task}: {name} {SERIAL} {ours[0]}, {PARALLEL} {ours[1]}",
            f"  difference of the same seeds {paired(both[1], both[0])}"
            f"{spread if ours[0].n > 1 else ''}",
        ]
        serial = results(rows, task, SERIAL, "seconds")
        for ranks in serial[0]:
            a, b = (np.mean(last_seconds(rows, task, way, ranks)) for way in WAYS)
            lines.append(
                f"  {ranks:>3s} ranks: modelled {a:.3g} s serial, {b:.3g} s parallel, "
                f"speed-up {a / b:.2f}"
            )
    return lines


def by_plans(rows: Sequence[Row]) -> list[str]:
    """Modelled steps of an exact pipeline, and shares of plans over all seeds."""
    lines = []
    for task in tasks_of(rows):
        exact = results(rows, task, SERIAL, "pipeline")
        costs = ", ".join(f"{p} ranks {1e3 * s:.3g}" for p, s in exact[0].items())
        lines.append(f"  ms of an exact step in turns: {costs}")
        runs = results(rows, task, PARALLEL, "plans")
        for i, quarter in enumerate(zip(*runs, strict=True)):
            names = dict.fromkeys(name for each in quarter for name in each)
            shares = {n: np.mean([q.get(n, 0.0) for q in quarter]) for n in names}
            most = sorted(shares, key=shares.__getitem__, reverse=True)
            cells = ", ".join(f"{name} {shares[name]:.0%}" for name in most)
            lines.append(f"  quarter {i + 1}: {cells}")
    return lines


def curves(rows: Sequence[Row]) -> dict[str, Any]:
    """Loss over steps, over work and over modelled time."""
    from mgresnet.plotting.studies import draw_bands

    over_steps: dict[str, Any] = {}
    over_work: dict[str, Any] = {}
    over_time: dict[str, Any] = {}
    for task in tasks_of(rows):
        steps, work, clock = (
            over_steps.setdefault(task, {}),
            over_work.setdefault(task, {}),
            over_time.setdefault(task, {}),
        )
        for way in WAYS:
            loss = results(rows, task, way, "loss")
            steps[way] = results(rows, task, way, "step")[0], loss
            units = results(rows, task, way, "units")
            work[way] = _regrid(units, loss)
            runs = results(rows, task, way, "seconds")
            for ranks in [*runs[0]][-1:] if way == SERIAL else runs[0]:
                label = way if way == SERIAL else f"{ranks} ranks"
                clock[label] = _regrid([run[ranks] for run in runs], loss)
    return {
        "steps": draw_bands(over_steps, "steps", "loss"),
        "work": draw_bands(over_work, "work units", "loss", x_scale="log"),
        "time": draw_bands(over_time, "modelled seconds", "loss", x_scale="log"),
    }


def _regrid(x: list[list[float]], y: list[list[float]]) -> tuple[Any, Any]:
    """Curves of all seeds at the same places."""
    first, last = max(each[0] for each in x), min(each[-1] for each in x)
    grid = np.geomspace(first, max(last, first * 1.01), 100)
    return grid, [on_grid(a, b, grid) for a, b in zip(x, y, strict=True)]

"""Whether virtual clocks tell the time, where every rank has a core of its own.

The same training takes turns on the clock of the wall and on virtual clocks, a few
steps each.  The ratio of their medians counts, round by round.  Takes 8 minutes, with
--quick and short networks under a minute.
"""

import json
import statistics
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import mgresnet as mg
from harness.command import run
from harness.job import call
from harness.table import Rows, distinct, select, table
from scaling.machines import calibrate, machine
from scaling.methods import train
from scaling.task import Task
from scaling.turns import TimedComm, VirtualClock, WallClock, summary, take_turns

RANKS = (1, 2)
SIZES = ((8, 1024), (8, 4096), (32, 1024), (32, 4096))  # widths and depths
METHODS = ("0", "1")
FACTORS = (32, 64)
BATCH = 256
ROUNDS, STEPS = 5, 7


def ratios(
    task: Task, method: str, m: int, plain: mg.TimeComm, profile: mg.Machine
) -> dict[str, Any]:
    """Virtual over wall time of every round, and median milliseconds by the wall."""
    timed, virtual = TimedComm(plain, []), mg.VirtualTimeComm(plain, profile)
    runs = [train(method, task, (m,), comm) for comm in (timed, virtual)]
    found, by_wall = [], []
    for _ in range(ROUNDS):
        clocks = WallClock(plain, timed), VirtualClock(plain, virtual)
        wall, other = (
            statistics.median(summary(steps, clock.columns)["samples"])
            for run, clock in zip(runs, clocks, strict=True)
            for steps in take_turns([run], clock, plain, 1, STEPS)
        )
        found.append(other / wall)
        by_wall.append(1e3 * wall)
    return {"milliseconds": statistics.median(by_wall), "ratios": found}


def settings(comm: mg.TimeComm, profile: str, shorter: int) -> Rows:
    """All of them on these ranks, with networks so many times shorter."""
    rows = []
    for (width, depth), method, m in product(SIZES, METHODS, FACTORS):
        task = Task(depth // shorter, width, BATCH)
        setting = {**task._asdict(), "method": method, "m": m, "ranks": comm.size}
        rows.append(setting | ratios(task, method, m, comm, machine(profile)))
    return rows


def measure(quick: bool) -> dict[str, Any]:
    """All settings on one and two ranks."""
    with tempfile.TemporaryDirectory() as folder:
        profile = calibrate(Path(folder) / "machine.json")
        found = [call(n, settings, profile, 8 if quick else 1) for n in RANKS]
        network = json.loads(Path(profile).read_text())
    rows = [row for rows in found for row in rows]
    return {"network": network, "rows": rows}


def report(results: dict[str, Any]) -> str:
    """A row for every setting, and the median over those of as many ranks."""
    rows = results["rows"]
    form = "{method} {ranks} {depth} {width} {m} {milliseconds:.1f}"
    found = []
    for row in rows:
        spread = (statistics.median(row["ratios"]), *_ends(row))
        found.append([*form.format(**row).split(), *(f"{x:.2f}" for x in spread)])
    head = ["corrections", "ranks", "depth", "width", "m", "ms by the wall"]
    lines = [table([*head, "virtual / wall", "least", "largest"], found), ""]
    for ranks in distinct(rows, "ranks"):
        chosen = select(rows, ranks=ranks)
        middle = [statistics.median(row["ratios"]) for row in chosen]
        low, high = min(middle), max(middle)
        text = f"{statistics.median(middle):.2f}, settings {low:.2f} to {high:.2f}"
        lines.append(f"Median ratio on {ranks} rank(s): {text}")
    return "\n".join(lines)


def _ends(row: dict[str, Any]) -> tuple[float, float]:
    return min(row["ratios"]), max(row["ratios"])


def main() -> None:
    """Answer."""
    run("virtual_time", __doc__, measure, report)

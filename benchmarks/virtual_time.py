"""Whether virtual clocks tell the time, where every rank has a core of its own.

The same training takes turns on the clock of the wall and on virtual clocks, a few
steps each, so that both see the machine in the same mood.  The ratio of their medians
counts, round by round.

    python benchmarks/virtual_time.py              about 8 minutes
    python benchmarks/virtual_time.py --quick      short networks, under a minute

Results go to results/virtual_time.json and .png.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from _machine import stamp
from _scaling_cases import Task, train
from _scaling_job import RESULTS, machine
from _scaling_launch import ENVIRONMENT, calibrate, on
from _scaling_steps import TimedComm, VirtualClock, WallClock, summary, take_turns
from matplotlib.figure import Figure

import mgresnet as mg
from mgresnet.plotting.style import STYLE

RANKS = (1, 2)
SIZES = ((8, 1024), (8, 4096), (32, 1024), (32, 4096))  # widths and depths
METHODS = ("0", "1")
FACTORS = (32, 64)
BATCH = 256
ROUNDS, STEPS = 5, 7
GOAL = 0.1  # largest difference from one


def ratios(
    task: Task, method: str, m: int, plain: mg.TimeComm, profile: mg.Machine
) -> tuple[list[float], float]:
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
    return found, statistics.median(by_wall)


def job(a: argparse.Namespace, plain: mg.TimeComm) -> None:
    """All settings on the ranks of this job; the first rank prints them as JSON."""
    profile, rows = machine(a.job), []
    for (width, depth), method, m in product(SIZES, METHODS, FACTORS):
        task = Task(depth // 8 if a.quick else depth, width, BATCH)
        found, milliseconds = ratios(task, method, m, plain, profile)
        setting = {**task._asdict(), "method": method, "m": m, "ranks": plain.size}
        rows.append({**setting, "milliseconds": milliseconds, "ratios": found})
    if plain.rank == 0:
        print(json.dumps(rows))


def measure(ranks: int, profile: str, quick: bool) -> list[dict[str, Any]]:
    """Settings on so many ranks, in a job of their own."""
    command = on(ranks, __file__, "--job", profile, *["--quick"] * quick)
    done = subprocess.run(
        command,
        env={**os.environ, **ENVIRONMENT},
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        timeout=900.0,
    )
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Median ratio of every setting, and the least and largest of its rounds."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 3.2), layout="constrained")
        axes = figure.add_subplot()
        axes.axhspan(1 - GOAL, 1 + GOAL, color="0.9", lw=0, label="within 10 %")
        axes.axhline(1.0, color="k", lw=0.8)
        for ranks in sorted({row["ranks"] for row in rows}):
            some = [row for row in rows if row["ranks"] == ranks]
            x = [row["milliseconds"] for row in some]
            middle = np.array([statistics.median(row["ratios"]) for row in some])
            ends = np.array([[min(r["ratios"]), max(r["ratios"])] for r in some]).T
            label = f"{ranks} rank{'s' * (ranks > 1)}"
            axes.errorbar(
                x, middle, np.abs(ends - middle), fmt="o", capsize=2, label=label
            )
        axes.set(
            xscale="log", xlabel="ms per step by the wall", ylabel="virtual / wall time"
        )
        axes.legend()
        figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--job", metavar="PROFILE", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.job:
        from mgresnet.parallel.choose import launched_ranks

        job(a, launched_ranks())
        return
    with tempfile.TemporaryDirectory() as folder:
        profile = calibrate(Path(folder) / "machine.json")
        rows = [row for ranks in RANKS for row in measure(ranks, profile, a.quick)]
        network = json.loads(Path(profile).read_text())
    for row in rows:
        middle = statistics.median(row["ratios"])
        print(
            "P = {ranks}, N = {depth:4}, w = {width:2}, m = {m}, k = {method}: "
            "{milliseconds:6.1f} ms, virtual / wall".format(**row),
            f"{middle:.2f} ({min(row['ratios']):.2f} to {max(row['ratios']):.2f})",
        )
    for ranks in RANKS:
        middle = [statistics.median(r["ratios"]) for r in rows if r["ranks"] == ranks]
        close = sum(abs(ratio - 1.0) <= GOAL for ratio in middle)
        print(
            f"P = {ranks}: median {statistics.median(middle):.2f}, {close} of "
            f"{len(middle)} settings within {GOAL:.0%}"
        )
    if a.quick:
        return
    text = json.dumps({"machine": stamp(), "network": network, "rows": rows}, indent=1)
    (RESULTS / "virtual_time.json").write_text(text + "\n", encoding="utf-8")
    draw(rows, RESULTS / "virtual_time.png")


if __name__ == "__main__":
    main()

"""Whether runs that are killed or stopped at random moments lose anything.

Runs of `mgresnet train` on one to three ranks end at a random moment after they have
begun to write: by SIGKILL of one rank or of all, or by SIGINT.  They go on with
`mgresnet resume` on one to three ranks, and are compared with a run that nobody
interrupted.  Takes 20 minutes on two cores; --quick makes 6 runs in place of 70.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import mgresnet as mg
from harness.command import run
from harness.launch import ENVIRONMENT, on
from harness.table import Rows, select, table

RUN = ["train", "peaks", "--depth", "24", "--coarsening", "4", "--width", "4"]
RUN += ["--n-train", "100", "--n-validation", "20", "--batch-size", "25"]
RUN += ["--gradient-tolerance", "1e-2", "--check-every", "3", "--for-ranks", "32"]
RUN += ["--control", "5", "--clip", "0.5", "--epochs", "30", "--checkpoint-every", "3"]
RANKS = (1, 2, 3)
SEED = 20261128
KILLED, STOPPED = 50, 20


def start(ranks: int, *arguments: str) -> subprocess.Popen[str]:
    """Start the command line."""
    command = [sys.executable, "-m", "mgresnet", *arguments]
    if ranks > 1:
        command = [*on(ranks, "-m", "mgresnet")[:3], *command]
    return subprocess.Popen(
        command,
        env={**os.environ, **ENVIRONMENT},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes(folder: Path) -> list[int]:
    """Ranks that write to a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:  # has ended
            continue
        if str(folder).encode() in words and b"mpiexec" not in words[0]:
            found.append(int(path.name))
    return found


def steps_in(folder: Path) -> int:
    """Steps of which there is a record."""
    path = folder / "records.jsonl"
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0


def interrupt(kind: str, folder: Path, ranks: int, moment: float) -> None:
    """Let a run begin, and end it that many seconds after its first step."""
    process = start(ranks, *RUN, "--output", str(folder))
    while not steps_in(folder) and process.poll() is None:
        time.sleep(0.002)
    time.sleep(moment)
    targets = processes(folder)
    if kind == "one rank killed":
        targets = [random.choice(targets)] if targets else []
    number = signal.SIGINT if kind == "Ctrl-C" else signal.SIGKILL
    for pid in targets:
        try:
            os.kill(pid, number)
        except ProcessLookupError:  # was quicker
            continue
    try:
        process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def contents(folder: Path) -> tuple[Any, ...]:
    """Parameters and records, but for times."""
    _, params = mg.load(folder / "network.npz")
    lines = (folder / "records.jsonl").read_text(encoding="utf-8").splitlines()
    records = [{**json.loads(line), "seconds": None} for line in lines]
    return [np.asarray(part).tobytes() for part in params], records


def attempt(kind: str, folder: Path, desired: Any, seconds: float) -> dict[str, Any]:
    """Interrupt a run and let it go on; what was lost, and whether it ends right."""
    before, after = random.choice(RANKS), random.choice(RANKS)
    interrupt(kind, folder, before, random.uniform(0.0, seconds))
    done = steps_in(folder)
    process = start(after, "resume", str(folder))
    said, _ = process.communicate(timeout=300)
    at = [line.split()[3] for line in said.splitlines() if "goes on after" in line]
    resumed = int(at[0]) if at else 0
    right = process.returncode == 0 and contents(folder) == desired
    return {
        "kind": kind,
        "ranks": before,
        "resumed on": after,
        "steps": done,
        "kept": resumed,
        "readable": bool(at),
        "same bits": right,
        "said": "" if right else said[-300:],
    }


def measure(quick: bool) -> dict[str, Any]:
    """All attempts."""
    random.seed(SEED)
    kinds = ["one rank killed", "all ranks killed"] * (KILLED // 2)
    kinds += ["Ctrl-C"] * STOPPED
    if quick:
        kinds = kinds[:4] + kinds[-2:]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.perf_counter()
        start(1, *RUN, "--output", str(folder / "whole")).communicate()
        desired = contents(folder / "whole")
        seconds = 0.5 * (time.perf_counter() - started)
        rows = [
            attempt(kind, folder / str(i), desired, seconds)
            for i, kind in enumerate(tqdm(kinds))
        ]
    return {"seed": SEED, "steps": len(desired[1]), "rows": rows}


def report(results: dict[str, Any]) -> str:
    """Counts by kind, and the most that was lost."""
    rows: Rows = []
    for kind in ("one rank killed", "all ranks killed", "Ctrl-C"):
        some = select(results["rows"], kind=kind)
        lost = [row["steps"] - row["kept"] for row in some]
        early = sum(row["steps"] < results["steps"] for row in some)
        counts = [sum(row[name] for row in some) for name in ("readable", "same bits")]
        rows.append([kind, len(some), early, *counts, max(lost, default=0)])
    head = ["", "runs", "before the end", "readable", "same bits", "most steps lost"]
    return table(head, rows)


def main() -> None:
    """Answer."""
    run("interruptions", __doc__, measure, report)

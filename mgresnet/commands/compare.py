"""Put training runs side by side: what they learned, and the seconds of their steps."""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mgresnet.commands.folder import CONFIG, RECORDS, ROWS
from mgresnet.commands.history import History, read_history
from mgresnet.commands.options import options_of
from mgresnet.commands.report import short
from mgresnet.commands.resume import read_config
from mgresnet.commands.saved import alone
from mgresnet.commands.streams import say
from mgresnet.parallel import TimeComm

WITHIN = ("relax", "coarse")  # seconds that are also counted elsewhere
ITS_OWN = ("output", "progress", "overwrite", "checkpoint_every", "checksum")


class Run(NamedTuple):
    """A training run that is over, or has got so far."""

    folder: Path
    config: dict[str, Any]
    history: History

    @property
    def seconds(self) -> float:
        """Of all steps, on rank 0; evaluations and compiling are not in them."""
        spent = (record.seconds for record in self.history.records)
        return sum(
            s for each in spent for name, s in each.items() if name not in WITHIN
        )

    @property
    def step(self) -> float:
        """Seconds of a step, the mean."""
        return self.seconds / len(self.history.records)

    @property
    def lacks(self) -> str:
        """What is missing to its end, or nothing."""
        last, epochs = self.history.rows[-1].epoch, self.config["epochs"]
        return f"its table ends with epoch {last} of {epochs}" if last < epochs else ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    about = "--output of mgresnet train; the first is what the others are compared with"
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help=about)


def prepare(arguments: argparse.Namespace, comm: TimeComm) -> list[Run]:
    """Read all runs."""
    alone(comm, "compare")
    return [read_run(folder) for folder in arguments.folders]


def read_run(folder: Path) -> Run:
    """Configuration and history of a run.

    Raises
    ------
    ValueError
        If it is none, or has not come to the end of an epoch that is evaluated.
    """
    config, records = read_config(folder / CONFIG), folder / RECORDS
    options_of(config, output=folder, progress=False)
    steps = records.read_bytes().count(b"\n") if records.exists() else 0
    history = read_history(folder, steps) if steps else History([], [])
    if not history.rows:
        raise ValueError(
            f"{folder} has {steps} step(s) in {RECORDS}, and no line in {ROWS}; if it "
            f"has not come to its end, go on with it by mgresnet resume {folder}"
        )
    run = Run(folder, config, history)
    if not 0.0 < run.seconds < math.inf:
        raise ValueError(
            f"the steps in {records} take {run.seconds} s; put back what the run has "
            "written, or start it anew"
        )
    return run


def run(runs: list[Run], comm: TimeComm) -> int:
    """Print a line for each; return the exit code."""
    for line in lines(runs):
        say(comm, line)
    return 0


def lines(runs: list[Run]) -> Iterator[str]:
    """A table, how the runs differ, and what a run takes of the first one's seconds."""
    width = max(len(str(run.folder)) for run in runs)
    heads = ("loss", "new data", "score", "new data", "seconds", "ms a step")
    yield f"{'run':{width}s}  ranks  steps  " + " ".join(f"{h:>9s}" for h in heads)
    for one in runs:
        folder, config, (records, rows) = one
        ends = rows[-1].exact, rows[-1].validation
        cells = [short(end.loss) for end in ends] + [short(end.score) for end in ends]
        cells += [f"{one.seconds:.2f}", f"{1e3 * one.step:.1f}"]
        counts = f"{config['ranks']:5d}  {len(records):5d}"
        numbers = " ".join(f"{c:>9s}" for c in cells)
        yield f"{folder!s:{width}s}  {counts}  {numbers}  {rows[-1].plans}".rstrip()
    for one in runs:
        if one.lacks:
            yield f"{one.folder} was stopped, or has diverged: {one.lacks}"
    first, *others = runs
    for one in others:
        yield from beside(first, one)


def beside(first: Run, other: Run) -> Iterator[str]:
    """How a run differs from the first one, and the ratio of their seconds.

    Runs that are not the same training, to its end, are compared by their steps.
    """
    if unlike := list(differences(first.config, other.config)):
        yield f"{other.folder} is another training: {', '.join(unlike)}"
    if unlike or first.lacks or other.lacks:
        ratio = first.step / other.step
        yield f"its step is {ratio:.2f} times as fast as that of {first.folder}"
    else:
        ratio = first.seconds / other.seconds
        yield f"{other.folder} is {ratio:.2f} times as fast as {first.folder}"


def differences(first: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    """Options that the other run had, and the first had not."""
    for name, value in other.items():
        was = first.get(name)
        if name not in (*ITS_OWN, "ranks", "for_ranks") and value != was:
            yield f"{name} {value}, not {was}"

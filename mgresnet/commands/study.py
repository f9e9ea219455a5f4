"""Repeat an experiment of the papers: its table, JSON and figures."""

import argparse
import signal
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from mgresnet.arrays.checks import integer
from mgresnet.arrays.files import replacing
from mgresnet.commands.folder import CONFIG, check_folder, locked
from mgresnet.commands.networks import choose
from mgresnet.commands.options import factors
from mgresnet.commands.saved import alone
from mgresnet.commands.stopping import ASIDE, interrupting
from mgresnet.commands.streams import say
from mgresnet.parallel import TimeComm
from mgresnet.studies.carrying_out import carry_out, read_rows
from mgresnet.studies.catalogue import STUDIES
from mgresnet.studies.study import Case, Request, Row, Study


class Setup(NamedTuple):
    """A study, and where it goes."""

    name: str
    study: Study
    request: Request
    output: Path | None
    progress: bool

    @property
    def path(self) -> Path | None:
        """File of the rows."""
        return self.output and self.output / f"{self.name}.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(f"{name:17s} {s.about}" for name, s in STUDIES.items())
    add("name", metavar="NAME", help="of the study, see below")
    add(
        "--output", type=Path, metavar="DIR", help="write JSON and figures; go on there"
    )
    add("--seeds", type=int, help="repetitions; by default those of the study")
    add("--quick", action="store_true", help="small networks and few steps")
    add("--ranks", type=factors, default=(1, 4, 16, 32), help="to model, as 1,4,16,32")
    add("--data-dir", type=Path, metavar="DIR", help="of files that are not brought")
    add("--progress", action="store_true", help="show the bar, also where none watches")


def prepare(arguments: argparse.Namespace, comm: TimeComm) -> Setup:
    """Check everything, so that bad input shows before any work is done."""
    a = arguments
    alone(comm, "study")
    study = choose("study", a.name, STUDIES)
    if a.seeds is not None:
        integer("--seeds", a.seeds, 1)
    if not a.ranks or min(a.ranks) < 1:
        raise ValueError(f"--ranks is {a.ranks}, needed numbers >= 1, such as 1,4,16")
    if a.data_dir is not None and not a.data_dir.is_dir():
        raise ValueError(f"--data-dir {a.data_dir}: there is no such folder")
    if a.output is not None:
        check_folder("--output", a.output)
        if (a.output / CONFIG).exists():
            raise ValueError(
                f"--output {a.output} holds a training run; choose another"
            )
    request = Request(a.seeds, a.quick, a.ranks, a.data_dir)
    setup = Setup(a.name, study, request, a.output, a.progress)
    study.cases(request)
    if setup.path:
        read_rows(setup.path, request)
    return setup


def run(setup: Setup, comm: TimeComm) -> int:
    """Measure what is not there yet, print, draw; return the exit code."""
    say(comm, f"{setup.name}: {setup.study.about}")
    if setup.output:
        setup.output.mkdir(parents=True, exist_ok=True)
    try:
        with locked(setup.output), interrupting():
            _carry_out(setup, comm)
    except KeyboardInterrupt as told:
        kept = "nothing is kept: there is no --output"
        if setup.path:
            kept = f"what was measured is in {setup.path}; the same command goes on"
        say(comm, f"stopped; {kept}")
        return ASIDE + (told.args[0] if told.args else signal.SIGINT)
    return 0


def _carry_out(setup: Setup, comm: TimeComm) -> None:
    watch = partial(_watch, setup)
    rows = carry_out(setup.study, setup.request, setup.path, watch)
    for line in setup.study.table(rows):
        say(comm, line)
    if setup.output:
        say(comm, f"written to {setup.output}: {', '.join(_write(setup, rows))}")


def _watch(setup: Setup, cases: list[Case]) -> Iterable[Case]:
    """Cases, counted by a bar when somebody watches."""
    watched = setup.progress or sys.stderr.isatty()
    bar: Iterable[Case] = tqdm(cases, disable=not watched, unit="case", leave=False)
    return bar


def _write(setup: Setup, rows: list[Row]) -> list[str]:
    """Write the table and the figures; names of all files."""
    assert setup.output is not None
    names = [f"{setup.name}.json", f"{setup.name}.txt"]
    text = "\n".join([setup.study.about, "", *setup.study.table(rows), ""])
    with replacing(setup.output / names[1]) as path:
        path.write_text(text, encoding="utf-8")
    try:
        figures = setup.study.draw(rows)
    except ModuleNotFoundError as error:
        return [*names, f"no figures ({error}; pip install 'mgresnet[plot]')"]
    for name, figure in figures.items():
        names.append(f"{setup.name}-{name}.png")
        with replacing(setup.output / names[-1]) as path:
            figure.savefig(path, format="png", dpi=150)
    return names

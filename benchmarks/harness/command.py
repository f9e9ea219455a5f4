"""A question on the command line: measure, save, print, draw."""

import argparse
from collections.abc import Callable, Iterable
from typing import Any

from harness.machine import stamp
from harness.results import load, path_of, save

Results = Any
Figures = Iterable[tuple[str, Any]]
DOTS = 150  # per inch of a figure


def run(
    name: str,
    description: str,
    measure: Callable[[bool], Results],
    report: Callable[[Results], str],
) -> None:
    """Answer a question that has no options of its own.

    Parameters
    ----------
    name : str
        Of the results.
    description : str
        Its first line is shown by ``--help``.
    measure : callable
        From whether to be quick to results that fit into JSON; what they were
        measured with is added.
    report : callable
        From stored results to text.
    """
    a = parser(description).parse_args()

    def stamped() -> Results:
        return {"machine": stamp(), **measure(a.quick)}

    answer(name, a, stamped, report)


def parser(description: str) -> argparse.ArgumentParser:
    """Options of every question."""
    options = argparse.ArgumentParser(description=description.splitlines()[0])
    add = options.add_argument
    add("--quick", action="store_true", help="a small version, kept in results/quick")
    add("--stored", action="store_true", help="print and draw what is there")
    return options


def answer(
    name: str,
    a: argparse.Namespace,
    measure: Callable[[], Results],
    report: Callable[[Results], str],
    figures: Callable[[Results], Figures] = lambda results: (),
) -> Results:
    """Measure unless the results are stored; print and draw; the results.

    Figures come with suffixes of their file names.
    """
    path = path_of(name, a.quick)
    if not a.stored:
        save(path, measure())
    results = load(path)
    print(report(results))
    for suffix, figure in figures(results):
        figure.savefig(path.with_name(f"{path.stem}{suffix}.png"), dpi=DOTS)
    return results

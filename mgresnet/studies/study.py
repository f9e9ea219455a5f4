"""What a study is: cases that can be measured one by one, a table and figures."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

Case: TypeAlias = dict[str, Any]


class Request(NamedTuple):
    """What was asked of a study.

    Parameters
    ----------
    seeds : int, or None
        Number of repetitions; by default the study's own.
    quick : bool
        Small networks and few steps, to see that all works.
    ranks : tuple of int
        Numbers of ranks for which times are modelled.
    data_dir : Path, or None
        Folder of files that the package does not bring.
    """

    seeds: int | None = None
    quick: bool = False
    ranks: tuple[int, ...] = (1, 4, 16, 32)
    data_dir: Path | None = None

    def repetitions(self, default: int) -> range:
        """Seeds of the repetitions; two if it has to be quick."""
        return range(self.seeds or (2 if self.quick else default))

    def readable(self, task: str, shipped: str) -> str:
        """Name of a problem that can be read: without a folder one that is shipped.

        Raises
        ------
        ValueError
            If that is another one, and this is no quick run.
        """
        if self.data_dir is not None:
            return task
        if not self.quick and task != shipped:
            raise ValueError(
                f"this study reads {task}, which is not shipped; give --data-dir "
                f"FOLDER of the original files, or --quick for a little of {shipped}"
            )
        return shipped


class Row(NamedTuple):
    """A case and what was measured; both can be written as JSON."""

    case: Case
    result: dict[str, Any]


class Study(NamedTuple):
    """An experiment.

    Parameters
    ----------
    about : str
        What it asks, in a line.
    cases : callable
        ``cases(request)``: settings of all that is measured, in order.
    measure : callable
        ``measure(case, request)``: a result, which follows from the case alone.
    table : callable
        ``table(rows)``: lines to be printed.
    draw : callable
        ``draw(rows)``: figures by name.
    """

    about: str
    cases: Callable[[Request], list[Case]]
    measure: Callable[[Case, Request], dict[str, Any]]
    table: Callable[[list[Row]], list[str]]
    draw: Callable[[list[Row]], Mapping[str, Any]]

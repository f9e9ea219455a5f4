"""Measure the cases of a study one after another; what is there is not done again."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mgresnet.arrays.files import read_json, write_json
from mgresnet.studies.study import Case, Request, Row, Study
from mgresnet.version import __version__

Watch = Callable[[list[Case]], Iterable[Case]]


def carry_out(
    study: Study, request: Request, path: Path | None, watch: Watch
) -> list[Row]:
    """Rows of all cases; each is written to a file before the next one begins.

    Parameters
    ----------
    study : Study
    request : Request
    path : Path, or None
        JSON of this and of earlier runs.  Cases that it has are taken from it.
    watch : callable
        Hands the cases on, and shows how many are done.

    Raises
    ------
    ValueError
        If the file is none of a study like this.
    """
    known = {} if path is None else read_rows(path, request)
    wanted = study.cases(request)
    for case in watch([case for case in wanted if key_of(case) not in known]):
        known[key_of(case)] = Row(case, study.measure(case, request))
        if path:
            rows = [row._asdict() for row in known.values()]
            about = {"about": study.about, "quick": request.quick}
            about |= {"ranks": request.ranks, "version": __version__}
            write_json(path, about | {"rows": rows})
    return [known[key_of(case)] for case in wanted]


def read_rows(path: Path, request: Request) -> dict[str, Row]:
    """Rows of earlier runs by their cases; none if there is no file."""
    if not path.exists():
        return {}
    try:
        content = read_json(path, "the rows of a study")
        rows = [Row(**row) for row in content["rows"]]
        was_quick, ranks = content["quick"], tuple(content.get("ranks", request.ranks))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no result of mgresnet study ({error}); choose another --output"
        ) from error
    if ranks != request.ranks:
        raise ValueError(
            f"{path} is of --ranks {','.join(map(str, ranks))}; choose these, or "
            "another --output"
        )
    if was_quick != request.quick:
        was, now = ("quick" if each else "full" for each in (was_quick, request.quick))
        raise ValueError(
            f"{path} is of a {was} run, this is a {now} one; choose another --output"
        )
    return {key_of(row.case): row for row in rows}


def key_of(case: dict[str, Any]) -> str:
    """Text that says all about a case."""
    return json.dumps(case, sort_keys=True)

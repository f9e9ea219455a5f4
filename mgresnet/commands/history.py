"""What a training run has done so far, in memory and in its folder."""

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mgresnet.arrays.files import as_json, from_json, replacing, write_json
from mgresnet.commands.folder import RECORDS, ROWS
from mgresnet.learning.evaluation import EpochRow, Evaluation
from mgresnet.learning.ladder import Plan
from mgresnet.learning.oracle import Both
from mgresnet.learning.record import Record
from mgresnet.mgrit.solver import Status

T = TypeVar("T")


class History(NamedTuple):
    """Steps, without their states, and lines of the table."""

    records: list[Record]
    rows: list[EpochRow]

    @property
    def seconds(self) -> float:
        """Until the last line of the table."""
        return self.rows[-1].seconds if self.rows else 0.0


def append_record(folder: Path | None, record: Record) -> None:
    """Add a line to records.jsonl."""
    if folder:
        with (folder / RECORDS).open("a", encoding="utf-8") as file:
            file.write(_line(record))


def write_rows(folder: Path | None, rows: list[EpochRow]) -> None:
    """Write epochs.json."""
    if folder:
        write_json(folder / ROWS, [_row_fields(row) for row in rows])


def read_history(folder: Path, step: int) -> History:
    """What a run had done after some steps."""
    lines = (folder / RECORDS).read_bytes().splitlines()[:step]
    records: list[Record] = _read(folder / RECORDS, _record, map(from_json, lines))
    if [record.step for record in records] != list(range(step)):
        raise ValueError(
            f"{folder / RECORDS} does not have the steps 0 to {step - 1} in order; it "
            "was changed, so the run cannot go on in this folder"
        )
    path = folder / ROWS
    rows = map(from_json, [path.read_bytes()] if path.exists() else [])
    known: list[EpochRow] = _read(path, _row, itertools.chain.from_iterable(rows))
    last = records[-1].epoch if records else -1
    return History(records, [row for row in known if row.epoch <= last + 1])


def _read(path: Path, make: Callable[[Any], T], found: Iterable[Any]) -> list[T]:
    """Entries of a file, or say that there are others."""
    try:
        return [make(fields) for fields in found]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged or was changed ({type(error).__name__}: {error}); put "
            "back what the run has written, or start it anew"
        ) from error


def write_history(folder: Path, history: History) -> None:
    """Let the folder have this history, and nothing later."""
    with replacing(folder / RECORDS) as partial:
        partial.write_text("".join(map(_line, history.records)), encoding="utf-8")
    write_rows(folder, history.rows)


def _line(record: Record) -> str:
    fields = record._asdict()
    del fields["state"]
    fields["status"] = record.status.name
    return as_json(fields) + "\n"


def _record(fields: dict[str, Any]) -> Record:
    known: dict[str, Any] = {"status": Status[fields["status"]], "state": None}
    if fields["plans"] is not None:
        plans = [Plan(tuple(factors), *rest) for factors, *rest in fields["plans"]]
        known["plans"] = Both(*plans)
    if fields.get("relative_residuals") is not None:
        known["relative_residuals"] = Both(*fields["relative_residuals"])
    return Record(**fields | known)


def _row_fields(row: EpochRow) -> dict[str, Any]:
    fields = row._asdict()
    for name, value in fields.items():
        if isinstance(value, Evaluation):
            fields[name] = value._asdict()
    return fields


def _row(fields: dict[str, Any]) -> EpochRow:
    parts = {
        name: Evaluation(**{key: float(number) for key, number in found.items()})
        for name, found in fields.items()
        if isinstance(found, dict)
    }
    return EpochRow(**fields | parts)

"""Jobs of a scaling study put together, and printed as a table."""

import statistics
from collections.abc import Iterable
from typing import Any, NamedTuple

from harness.table import table
from scaling.methods import ALONE, PYTORCH, SERIAL


class Point(NamedTuple):
    """All that was measured for one method on one number of ranks."""

    kind: str
    depth: int
    width: int
    batch_size: int
    clock: str  # wall, or the name of a machine
    ranks: int
    method: str
    coarsening: tuple[int, ...]
    rows: list[dict[str, Any]]  # of the jobs

    @property
    def samples(self) -> list[float]:
        """Seconds of a step, or of one on average, from all jobs."""
        return [value for row in self.rows for value in row["samples"]]

    @property
    def median(self) -> float:
        """Seconds of a step."""
        return statistics.median(self.samples)

    @property
    def alone(self) -> bool:
        """Whether it ran in a process of its own, without MPI."""
        return self.method in ALONE

    @property
    def label(self) -> str:
        """Method and coarsening."""
        name = f"k = {self.method}" if self.method.isdecimal() else self.method
        factors = ", ".join(map(str, self.coarsening))
        return f"{name}, m = {factors}" if factors else name

    def mean(self, name: str) -> float:
        """Mean of a number that every job has."""
        return statistics.fmean(row[name] for row in self.rows)

    def phases(self) -> dict[str, float]:
        """Seconds by phase; what none of them has is "other"."""
        names = self.rows[0]["phases"]
        found = {
            name: statistics.fmean(row["phases"][name] for row in self.rows)
            for name in names
        }
        return {**found, "other": max(0.0, self.median - sum(found.values()))}


Points = list[Point]


def merged(records: Iterable[dict[str, Any]]) -> Points:
    """One point for the rows of all jobs that measured the same."""
    found: dict[Any, Point] = {}
    for record in records:
        clock = record["virtual"]["name"] if record["virtual"] else "wall"
        sizes = (record[name] for name in ("kind", "depth", "width", "batch_size"))
        head = (*sizes, clock, record["ranks"])
        for row in record["rows"]:
            key = (*head, row["method"], tuple(row["coarsening"]))
            found.setdefault(key, Point(*key, rows=[])).rows.append(row)
    return list(found.values())


def serial_seconds(points: Points, point: Point, depth: int) -> float:
    """Best serial step of this package for a network of this depth, same clock."""
    return min(p.median for p in rivals(points, point, depth) if p.method in SERIAL)


def rivals(points: Points, point: Point, depth: int) -> Points:
    """What a single process did for a network of this depth, by the same clock."""
    same = (point.kind, depth, *point[2:5])
    return [p for p in points if p.alone and p[:5] == same]


def speed_up(points: Points, point: Point) -> float:
    """Best serial seconds for the same network over those of a point."""
    return serial_seconds(points, point, point.depth) / point.median


def efficiency(points: Points, point: Point) -> float:
    """Part of P-fold speed; in weak scaling, one rank's serial time over that of P."""
    if point.kind == "strong":
        return speed_up(points, point) / point.ranks
    return serial_seconds(points, point, point.depth // point.ranks) / point.median


def report(records: Iterable[dict[str, Any]]) -> str:
    """Medians, quartiles, minima, and how many times the serial speed that is."""
    points = merged(records)
    head = ["method", "clock", "kind", "N", "w", "batch", "P", "ms", "quartiles"]
    head += ["least", "/ serial", "/ torch", "error", "k", "messages"]
    ordered = sorted(points, key=lambda p: (p.clock, *p[:6]))
    return table(head, (_row(points, point) for point in ordered))


def _row(points: Points, point: Point) -> list[Any]:
    lower, _, upper = statistics.quantiles(point.samples, n=4)
    peers = [p for p in rivals(points, point, point.depth) if p.method == PYTORCH]
    return [
        *(point.label, point.clock, point.kind, *point[1:4], point.ranks),
        f"{1e3 * point.median:.2f}",
        f"{1e3 * lower:.1f}-{1e3 * upper:.1f}",
        f"{1e3 * min(point.samples):.2f}",
        f"{speed_up(points, point):.2f}",
        f"{peers[0].median / point.median:.2f}" if peers else "-",
        f"{point.mean('gradient_error'):.1e}",
        _iterations(point),
        _traffic(point),
    ]


def _iterations(point: Point) -> str:
    """Most frequent forward and adjoint corrections; s is serial."""
    if point.alone:
        return "s"
    pairs = [tuple(pair) for row in point.rows for pair in row["iterations"]]
    return "+".join("s" if k < 0 else str(k) for k in statistics.mode(pairs))


def _traffic(point: Point) -> str:
    """Milliseconds in verbs, or messages and kilobytes, of a rank in a step."""
    if "sent" in point.rows[0]:
        return f"{point.mean('sent'):.0f}, {1e-3 * point.mean('bytes'):.0f} kB"
    return f"{1e3 * point.mean('communicating'):.2f} ms"

"""The tables of docs/kernels.md, from the JSON files of a full run alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.table import Rows, table
from kernels.cases import (
    NAMES,
    Case,
    flop_rates,
    frameworks,
    over_bound,
    per_element,
    ratio,
)

PAGE = Path(__file__).parents[2] / "docs" / "kernels.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def write_page(text: str, page: Path = PAGE) -> None:
    """Replace what stands between the marker lines."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def report(results: dict[str, Any]) -> str:
    """Everything that a run has found."""
    return "\n\n".join(_parts(results))


def _parts(results: dict[str, Any]) -> Iterator[str]:
    cases = results["cases"]
    yield _machine(results["machine"])
    yield _comparison(cases)
    yield "What the processor can do on one thread:"
    yield _ceilings(results["ceilings"])
    yield "Per layer, feature, sample in `solve_forward` and `value_and_gradient`:"
    yield _depths(results["depths"])
    yield "A second thread, whole gradient, by the clock:"
    yield _threads(results["threads"])
    yield "\n".join(_single_numbers(results))


def _machine(machine: dict[str, Any]) -> str:
    names = ("numpy", "numba", "torch", "jax")
    software = ", ".join(f"{n} {machine[n]}" for n in names if machine.get(n))
    return (
        f"{machine['processor']}, {machine['cores']} cores, Python "
        f"{machine['python']}, {software}; commit {machine['commit']}, "
        f"{machine['date']}."
    )


def _comparison(cases: list[Case]) -> str:
    names = [n for n in NAMES if any(n in frameworks(case) for case in cases)]
    head = ["type", "depth", "width", "batch", "forward, ns", "gradient, ns"]
    head += ["forward, GFLOP/s", "backward, GFLOP/s", "forward / bound"]
    return table([*head, *(NAMES[n] for n in names)], (_row(c, names) for c in cases))


def _row(case: Case, names: list[str]) -> list[str]:
    size = [str(case[key]) for key in ("dtype", "depth", "width", "batch")]
    times = [f"{per_element(case, what):.2f}" for what in ("forward", "gradient")]
    rates = [f"{rate:.0f}" for rate in flop_rates(case)]
    present = frameworks(case)
    others = (
        f"{ratio(case, 'gradient', n):.1f}" if n in present else "" for n in names
    )
    return [*size, *times, *rates, f"{over_bound(case):.2f}", *others]


def _ceilings(rows: Rows) -> str:
    head = ["type", "FMA, GFLOP/s", "NumPy's product, GFLOP/s", "tanh, ns", "NumPy's"]
    form = "{dtype} {flops_per_ns:.0f} {gemm_flops_per_ns:.0f} {tanh_ns:.2f} "
    form += "{numpy_tanh_ns:.2f}"
    return table(head, (form.format(**row).split() for row in rows))


def _depths(rows: Rows) -> str:
    head = ["ns at depth", *map(str, rows[0]["depths"]), "largest / smallest"]
    lines = [
        [
            f"{what}, width {row['width']}, batch {row['batch']}",
            *(f"{ns:.2f}" for ns in row[what]),
            f"{max(row[what]) / min(row[what]):.2f}",
        ]
        for row in rows
        for what in ("forward", "gradient")
    ]
    return table(head, lines)


def _threads(rows: Rows) -> str:
    head = ["width", "batch", "depth", "one thread, ms", "two, ms", "gain"]
    lines = [
        [
            *(row[key] for key in ("width", "batch", "depth")),
            *(f"{1e3 * row[key]:.2f}" for key in ("one", "two")),
            f"{row['one'] / row['two']:.2f}",
        ]
        for row in rows
    ]
    return table(head, lines)


def _single_numbers(results: dict[str, Any]) -> Iterator[str]:
    for row in results["backward"]:
        yield (
            "- Backward in cache, width {width}, batch {batch}: {share of the peak:.2f}"
            " of the peak".format(**row)
        )
    names = (f"{name} {x:.2f}" for name, x in results["activations"].items())
    yield f"- Forward with other activations, over tanh: {', '.join(names)}"
    for dtype, error in results["errors"].items():
        yield f"- Relative error of the gradient of 256 layers, {dtype}: {error:.1e}"
    seconds = (f"{name} {s:.1f} s" for name, s in results["first use"].items())
    yield f"- From the import to a layer-parallel gradient: {', '.join(seconds)}"

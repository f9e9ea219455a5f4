"""The tables of docs/kernels.md, from the JSON files of a full run alone.

python benchmarks/_table.py
"""

import json
from pathlib import Path
from typing import Any

from _kernel_cases import Case, flop_rates, frameworks, per_element, ratio

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "kernels.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
NAMES = {"numpy": "NumPy", "torch": "PyTorch", "jax": "JAX"}


def write_table(results: dict[str, Any], page: Path = PAGE) -> None:
    """Replace what stands between the marker lines."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    parts = [_machine(results), _ratios(results["cases"]), _ceilings(results)]
    parts += [_faster(results["cases"]), _depths(results["depths"])]
    parts += [_threads(results["threads"]), _peers(), _missed(results["goals"])]
    body = "\n\n".join(part for part in parts if part)
    page.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")


def _machine(results: dict[str, Any]) -> str:
    machine = results["machine"]
    names = ("numpy", "numba", "torch", "jax")
    software = ", ".join(f"{n} {machine[n]}" for n in names if machine.get(n))
    return (
        f"{machine['processor']}, {machine['cores']} cores, Python "
        f"{machine['python']}, {software}; commit {machine['commit']}, "
        f"{machine['date']}."
    )


def _ratios(cases: list[Case]) -> str:
    names = [n for n in NAMES if any(n in frameworks(case) for case in cases)]
    head = ["type", "depth", "width", "batch", "forward, ns", "gradient, ns"]
    head += ["forward, GFLOP/s", "backward, GFLOP/s", *(NAMES[n] for n in names)]
    rows = [_row(case, names) for case in cases]
    return _markdown(head, rows)


def _row(case: Case, names: list[str]) -> list[str]:
    present = frameworks(case)
    size = [case[key] for key in ("dtype", "depth", "width", "batch")]
    times = [f"{per_element(case, what):.2f}" for what in ("forward", "gradient")]
    rates = [f"{rate:.0f}" for rate in flop_rates(case)]
    others = [
        f"{ratio(case, 'gradient', n):.1f}" if n in present else "" for n in names
    ]
    return [*map(str, size), *times, *rates, *others]


def _ceilings(results: dict[str, Any]) -> str:
    head = ["type", "FMA, GFLOP/s", "NumPy's product, GFLOP/s", "tanh, ns", "NumPy's"]
    keys = ("flops_per_ns", "gemm_flops_per_ns", "tanh_ns", "numpy_tanh_ns")
    forms = (".0f", ".0f", ".2f", ".2f")
    rows = [
        [row["dtype"], *(format(row[k], f) for k, f in zip(keys, forms, strict=True))]
        for row in results["ceilings"]
    ]
    return "What the processor can do on one thread:\n\n" + _markdown(head, rows)


def _faster(cases: list[Case]) -> str:
    """Where another framework needs less time."""
    lines = []
    for name in NAMES:
        found = [
            "w{width} B{batch} N{depth} {dtype}".format(**case)
            for case in cases
            if name in frameworks(case) and ratio(case, "gradient", name) < 1
        ]
        lines.append(f"- {NAMES[name]}: {', '.join(found) or 'nowhere'}")
    title = "Where others are faster for a whole gradient (w width, B batch, N depth):"
    return f"{title}\n\n" + "\n".join(lines)


def _depths(rows: list[dict[str, Any]]) -> str:
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
    return (
        "Per layer, feature and sample through `solve_forward` and "
        "`value_and_gradient`:\n\n" + _markdown(head, lines)
    )


def _threads(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    head = ["width", "batch", "depth", "one thread, ms", "two, ms", "gain"]
    lines = [
        [
            *(str(row[key]) for key in ("width", "batch", "depth")),
            *(f"{1e3 * row[key]:.2f}" for key in ("one", "two")),
            f"{row['one'] / row['two']:.2f}",
        ]
        for row in rows
    ]
    return "A second thread, whole gradient, by the clock:\n\n" + _markdown(head, lines)


def _peers() -> str:
    path = RESULTS / "peers.json"
    if not path.exists():
        return ""
    found = json.loads(path.read_text(encoding="utf-8"))
    head = ["width", "batch", "relaxation", "ours, ms", "PyMGRIT, ms", "ratio"]
    rows = [
        [
            str(row["width"]),
            str(row["batch"]),
            row["relaxation"],
            f"{1e3 * row['ours']:.2f}",
            f"{1e3 * row['pymgrit']:.1f}",
            f"{row['pymgrit'] / row['ours']:.1f}",
        ]
        for row in found["cases"]
    ]
    title = (
        f"One MGRIT iteration, {found['depth']} layers, "
        f"intervals of {found['m']}, PyMGRIT {found['machine']['pymgrit']}:"
    )
    return f"{title}\n\n{_markdown(head, rows)}"


def _missed(goals: list[dict[str, Any]]) -> str:
    missed = [
        f"- {goal['what']}: {goal['got']}, needed {goal['needed']}"
        for goal in goals
        if not goal["hit"]
    ]
    title = f"Goals: {len(goals) - len(missed)} of {len(goals)} are hit."
    return f"{title} Missed:\n\n" + "\n".join(missed) if missed else title


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    write_table(json.loads((RESULTS / "kernels.json").read_text(encoding="utf-8")))

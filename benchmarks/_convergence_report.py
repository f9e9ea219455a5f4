"""Tables and figures of convergence.py, from its JSON file alone."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mgresnet.plotting import draw_factors, draw_histories, draw_iterations

Rows = list[dict[str, Any]]
DOTS = 150  # per inch of a figure


def write(path: Path, results: dict[str, Any]) -> None:
    """JSON with one line per row, so that versions can be compared."""
    studies = []
    for name, study in results.items():
        head = {key: value for key, value in study.items() if key != "rows"}
        rows = ",\n".join(json.dumps(row) for row in study["rows"])
        studies.append(
            f"{json.dumps(name)}: {json.dumps(head)[:-1]}, " + f'"rows": [\n{rows}\n]}}'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(studies) + "\n}\n")


def select(rows: Rows, **wanted: Any) -> Rows:
    """Rows with these entries."""
    return [r for r in rows if all(r[key] == value for key, value in wanted.items())]


def distinct(rows: Rows, key: str) -> list[Any]:
    """Values of an entry, in order of appearance."""
    return list(dict.fromkeys(row[key] for row in rows))


def draw(name: str, study: dict[str, Any], path: Path) -> None:
    """Save the figures of a study beside its JSON file."""
    for suffix, figure in FIGURES.get(name, lambda study: ())(study):
        figure.savefig(path.with_name(f"{path.stem}-{suffix}.png"), dpi=DOTS)


def _draw_histories(study: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    rows = study["rows"]
    for direction in ("forward", "adjoint"):
        panels = {}
        for weights in distinct(rows, "weights"):
            chosen = select(rows, weights=weights, direction=direction, final_time=5.0)
            panels[weights] = {r["operator"]: floats(r["residuals"]) for r in chosen}
        yield f"histories-{direction}", draw_histories(panels)


def _draw_factors(study: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    rows = select(study["rows"], activation="tanh", final_time=5.0, direction="forward")
    middle = len(study["depths"]) // 2 - 1
    panels: dict[str, Any] = {}
    over_depth: dict[str, Any] = {}
    m: list[int] = []
    for weights in distinct(rows, "weights"):
        panels[weights], over_depth[weights] = {}, {}
        for operator in distinct(rows, "operator"):
            chosen = select(rows, weights=weights, operator=operator)
            two = [r for r in chosen if len(r["coarsening"]) == 1]
            m = [r["coarsening"][0] for r in two]
            panels[weights][operator] = [r["mean"][middle] for r in two]
            (at_16,) = [r for r in two if r["coarsening"] == [16]]
            over_depth[weights][operator] = at_16["mean"]
    yield "factors", draw_factors(_filled(panels), m)
    yield (
        "factors-depth",
        draw_factors(_filled(over_depth), study["depths"], "depth N, with m = 16"),
    )


def _draw_depths(study: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    for weights, name in (("smooth", "smooth"), ("trained spline", "trained")):
        rows = select(
            study["rows"], weights=weights, final_time=5.0, direction="forward"
        )
        panels: dict[str, Any] = {}
        for row in rows:
            counts = floats(row["iterations"])
            panels.setdefault(row["coarsening"], {})[row["operator"]] = counts
        figure = draw_iterations(panels, study["long_depths"], 1e-8)
        yield f"depths-{name}", figure


FIGURES = {
    "histories": _draw_histories,
    "factors": _draw_factors,
    "depths": _draw_depths,
}


def print_table(name: str, study: dict[str, Any]) -> None:
    """Print a study as a table of means over the seeds."""
    print(f"\n## {name}\n")
    TABLES[name](study)


def _print_histories(study: dict[str, Any]) -> None:
    print("geometric means; last column: worst residuals[2] / residuals[0]\n")
    for row in study["rows"]:
        runs = np.array(row["residuals"])
        worst = (runs[:, 2] / runs[:, 0]).max()
        head = _head(row, "weights", "final_time", "direction", "operator")
        print(head, *_short(_mean(runs)), "|", *_short([worst]))


def _print_factors(study: dict[str, Any]) -> None:
    print("depths", *study["depths"], "\n")
    for row in study["rows"]:
        keys = ("weights", "activation", "final_time", "direction", "coarsening")
        print(_head(row, *keys, "operator"), *_short(row["mean"]))


def _print_depths(study: dict[str, Any]) -> None:
    print("iterations from the lowest to the highest seed; depths", end=" ")
    print(*study["long_depths"], "\n")
    for row in study["rows"]:
        keys = ("weights", "final_time", "direction", "coarsening", "operator")
        counts = [[21 if c is None else c for c in run] for run in row["iterations"]]
        low, high = np.min(counts, axis=0), np.max(counts, axis=0)
        spans = [
            f"{a}-{b}" if a < b else f"{a}" for a, b in zip(low, high, strict=True)
        ]
        print(_head(row, *keys), *(f"{span:>6}" for span in spans))


def _print_gradients(study: dict[str, Any]) -> None:
    print("mean, worst seed\n")
    for row in study["rows"]:
        head = _head(row, "weights", "final_time", "operator", "corrections")
        print(head, *_short([_mean(row["errors"]), max(row["errors"])]))


def _print_guesses(study: dict[str, Any]) -> None:
    print("relative residual when 0, 1, 2, ... coarse solves have been made\n")
    for row in study["rows"]:
        head = _head(row, "weights", "batch", "step", "guess")
        print(head, *_short(floats(row["residuals"])))


TABLES = {
    "histories": _print_histories,
    "factors": _print_factors,
    "depths": _print_depths,
    "gradients": _print_gradients,
    "guesses": _print_guesses,
}


def floats(values: Any) -> Any:
    """Array in which None is nan."""
    return np.array(values, dtype=np.float64)


def _filled(panels: dict[str, Any]) -> dict[str, Any]:
    return {
        title: {label: floats(values) for label, values in lines.items()}
        for title, lines in panels.items()
    }


def _mean(values: Any) -> Any:
    """Geometric mean over the first axis."""
    return np.exp(np.mean(np.log(np.maximum(values, 1e-300)), axis=0))


def _head(row: dict[str, Any], *keys: str) -> str:
    return " ".join(f"{row[key]!s:<{max(9, len(key))}}" for key in keys)


def _short(values: Iterable[Any]) -> list[str]:
    return [f"{'-':>7}" if v is None or v != v else f"{v:7.1e}" for v in values]

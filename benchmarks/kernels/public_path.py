"""What users call first, with default options, beside NumPy, PyTorch and JAX.

Three calls, `solve_forward`, `solve_adjoint` and `parameter_gradient`; the same with
the gradient found in the adjoint's pass; and `value_and_gradient`.  The others compute
the same gradient in the layout that suits them best, in arrays made before; where they
have several ways the faster one counts.  Some sizes are fixed, others are drawn.  All
take turns in one process, by the processor's seconds; ratios are those of the best
turns, as other processes only ever add to a turn.  Page faults are those of a later
call.  A training step is one of `train` with Adam.  Takes 6 minutes with two rivals.
"""

import resource
from collections.abc import Callable
from typing import Any

import numpy as np
from tqdm import tqdm

import mgresnet as mg
from harness.command import run
from harness.problem import LOSS
from harness.table import Rows, table
from harness.timing import Run, take_turns
from rivals.programs import programs
from rivals.task import draw

DEPTH = 512
FIXED = ((8, 100), (12, 200), (24, 300), (48, 500), (64, 64), (64, 1000), (128, 256))
DRAWN, SEED = 5, 20261128
STEPS = ((256, 8, 256), (1024, 8, 256), (256, 32, 256), (1024, 32, 256))
OURS = ("three calls", "gradient=True", "value_and_gradient")


def sizes() -> list[tuple[int, int]]:
    """Width and batch: those that are fixed, then those drawn, small ones as often."""
    rng = np.random.default_rng(SEED)
    exponents = rng.uniform((2.0, 0.0), (7.0, 10.0), (DRAWN, 2))
    drawn = np.rint(2.0**exponents).astype(int).tolist()
    return [*FIXED, *((width, batch) for width, batch in drawn)]


def calls(width: int, batch: int, dtype: str) -> dict[str, Run]:
    """What a user writes."""
    task = draw(width, batch, DEPTH, dtype)
    net = mg.Network(mg.Dense(width), DEPTH)
    params = mg.Params(None, net.layer.pack(task.weight, task.bias), None)
    x, seed = (np.ascontiguousarray(values.T) for values in (task.u, task.seed))

    def separately(gradient: bool) -> Any:
        forward = mg.solve_forward(net, params, x)
        adjoint = mg.solve_adjoint(net, params, forward, seed, gradient=gradient)
        return mg.parameter_gradient(net, params, forward, adjoint)

    return {
        "three calls": lambda: separately(False),
        "gradient=True": lambda: separately(True),
        "value_and_gradient": lambda: mg.value_and_gradient(
            net, params, x, seed, objective=LOSS
        ),
        "forward": lambda: mg.solve_forward(net, params, x),
        "predict": lambda: mg.predict(net, params, x),
    }


def page_faults(call: Callable[[], object]) -> int:
    """Minor ones of the third call."""
    for _ in range(2):
        call()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    call()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def one_size(width: int, batch: int, dtype: str, budget: float) -> dict[str, Any]:
    """Best seconds of all programs."""
    task, own = draw(width, batch, DEPTH, dtype), calls(width, batch, dtype)
    faults = {name: page_faults(own[name]) for name in OURS}
    rivals = programs(task)
    del rivals["mgresnet"]
    runs = own | {name: program.gradient for name, program in rivals.items()}
    times = take_turns(runs, budget)
    best = {name: found.best for name, found in times.items()}
    size = {"dtype": dtype, "width": width, "batch": batch, "faults": faults}
    return size | {"best": best, "median": {n: t.median for n, t in times.items()}}


def one_step(depth: int, width: int, batch: int, budget: float) -> dict[str, Any]:
    """Seconds of a training step, and of its gradient alone."""
    ends = {"opening": mg.Linear(16, width, "tanh"), "head": mg.Linear(width, 10)}
    net = mg.Network(mg.Dense(width), depth, **ends)
    rng = np.random.default_rng(SEED)
    x, labels = rng.standard_normal((batch, 16)), rng.integers(0, 10, batch)
    objective, params = mg.SoftmaxCrossEntropy(), net.init(1)
    endless = iter(lambda: mg.Batch(x, labels), None)
    given = {"optimiser": mg.adam(1e-3), "objective": objective}
    records = mg.train(net, params, endless, **given)
    runs = {
        "step": lambda: next(records),
        "gradient": lambda: mg.value_and_gradient(
            net, params, x, labels, objective=objective
        ),
    }
    times = take_turns(runs, budget)
    size = {"depth": depth, "width": width, "batch": batch}
    return size | {name: found.best for name, found in times.items()}


def measure(quick: bool) -> dict[str, Any]:
    """All sizes in both dtypes, or a few."""
    budget, some = (1.0, sizes()[:2]) if quick else (1.5, sizes())
    cases = [(*size, dtype) for dtype in ("float64", "float32") for size in some]
    steps = STEPS[:1] if quick else STEPS
    return {
        "depth": DEPTH,
        "sizes": [one_size(*case, budget) for case in tqdm(cases)],
        "steps": [one_step(*step, 2.0 * budget) for step in tqdm(steps)],
    }


def ratios(row: dict[str, Any]) -> dict[str, float | None]:
    """How many times as fast as the others the calls are."""
    best, found = row["best"], {}
    for rival in ("numpy", "torch", "jax"):
        known = [seconds for name, seconds in best.items() if name.startswith(rival)]
        for call in OURS:
            found[f"{rival} / {call}"] = min(known) / best[call] if known else None
    found["forward / predict"] = best["forward"] / best["predict"]
    return found


def report(results: dict[str, Any]) -> str:
    """Tables of sizes and of training steps."""
    parts = []
    for dtype in ("float64", "float32"):
        rows = [row for row in results["sizes"] if row["dtype"] == dtype]
        parts.append(f"{dtype}, {results['depth']} layers, times as fast as\n")
        parts.append(_of_sizes(rows))
    head = ["depth", "width", "batch", "step (ms)", "gradient (ms)", "rest"]
    lines = (
        [
            *(row[key] for key in head[:3]),
            *(f"{1e3 * row[key]:.2f}" for key in ("step", "gradient")),
            f"{100 * (1 - row['gradient'] / row['step']):.0f} %",
        ]
        for row in results["steps"]
    )
    return "\n".join((*parts, "\nTraining steps, float64\n", table(head, lines)))


def _of_sizes(rows: Rows) -> str:
    names = list(ratios(rows[0]))
    known = [name for name in names if ratios(rows[0])[name] is not None]
    lines = (
        [
            *(row["width"], row["batch"]),
            *(f"{ratios(row)[name]:.2f}" for name in known),
            max(row["faults"].values()),
        ]
        for row in rows
    )
    return table(["width", "batch", *known, "page faults"], lines)


def main() -> None:
    """Answer."""
    run("public_path", __doc__, measure, report)

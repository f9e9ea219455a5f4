"""What these kernels are meant to reach, and what they reached."""

from typing import Any, NamedTuple

from _kernel_cases import DEPTH, Case, frameworks, per_element, ratio, select
from _ours import ours
from _rates import Meter, first_and_later_use, gradient_error
from _task import draw
from _timing import take_turns

from mgresnet.kernels.activations import ACTIVATIONS

# (framework, width, batch): a whole gradient takes it at least so many times as long
TORCH = {
    ("torch", 4, 64): 80,
    ("torch", 8, 64): 30,
    ("torch", 16, 64): 12,
    ("torch", 16, 1000): 3,
    ("torch", 32, 1000): 2.2,
    ("torch", 64, 1000): 1.7,
    ("torch", 128, 1000): 1.3,
}
OTHERS = {
    **{("jax", w, b): 4 for w in (4, 8, 16) for b in (64, 1000)},
    **{("jax", w, b): 2.5 for w in (32, 64, 128) for b in (64, 1000)},
    **{("numpy", w, 64): 6 for w in (4, 8, 16)},
    **{("numpy", w, 1000): 3 for w in (4, 8, 16)},
    **{("numpy", 64, b): 1.9 for b in (64, 1000)},
    **{("numpy", 128, b): 1.5 for b in (64, 1000)},
}
GOALS = {"float64": TORCH | OTHERS, "float32": TORCH}
BOUND = 1.2  # forward, times the sum of tanh and products at the peak
IN_CACHE = {32: 0.55, 64: 0.55, 128: 0.7}  # backward, share of the peak, by width
ALIKE = 1.05  # other activations, times tanh
ERRORS = {"float64": 1e-14, "float32": 1e-6}
SECONDS = {"first use: seconds to a gradient": 30, "later process: the same": 1.5}
BY_THREADS = {64: 1.5, 1000: 1.9}  # two threads, by batch


class Goal(NamedTuple):
    """One row of the table of goals."""

    what: str
    needed: str
    got: str
    hit: bool


def at_least(what: str, needed: float, got: float, form: str = ".1f") -> Goal:
    """A goal that is hit from a value up."""
    return Goal(what, f"{needed:g}", format(got, form), got >= needed)


def at_most(what: str, needed: float, got: float, form: str = ".2f") -> Goal:
    """A goal that is hit up to a value."""
    return Goal(what, f"{needed:g}", format(got, form), got <= needed)


def ratios_reached(cases: list[Case]) -> list[Goal]:
    """Whole gradients against the fastest program of every framework."""
    goals = []
    for dtype, needed in GOALS.items():
        for (framework, width, batch), least in needed.items():
            found = select(cases, dtype=dtype, width=width, batch=batch)
            for case in (c for c in found if framework in frameworks(c)):
                name = f"gradient against {framework}, w{width} B{batch} {dtype}"
                got = ratio(case, "gradient", framework)
                goals.append(at_least(name, least, got))
    return goals


def forward_reached(cases: list[Case]) -> list[Goal]:
    """Times forward over tanh plus products at the peak, all the best measured."""
    goals = []
    for case in select(cases):
        bound = case["tanh_ns"] + 2 * case["width"] / case["flops_per_ns"]
        name = f"forward over bound, w{case['width']} B{case['batch']} {case['dtype']}"
        got = per_element(case, "forward", "best") / bound
        goals.append(at_most(name, BOUND, got))
    return goals


def backward_reached(budget: float) -> list[Goal]:
    """Share of the peak of adjoint and gradient in cache, counting 4 w per element."""
    goals = []
    meter, batch, depth = Meter("float64"), 512, 4
    for width, least in IN_CACHE.items():
        rival = ours(draw(width, batch, depth, "float64"))
        peak = meter.flops()
        times = take_turns(rival._asdict(), budget)
        seconds = times["gradient"].best - times["forward"].best
        got = 4e-9 * width * width * batch * depth / seconds / peak
        name = f"backward share of peak, w{width} B{batch} float64"
        goals.append(at_least(name, least, got, ".2f"))
    return goals


def activations_reached(budget: float) -> list[Goal]:
    """Times forward of other activations over that of tanh."""
    task = draw(16, 256, DEPTH, "float64")
    runs = {name: ours(task, k).forward for k, name in enumerate(ACTIVATIONS)}
    times = take_turns(runs, budget)
    tanh = times.pop("tanh").median
    return [at_most(f"{k} over tanh", ALIKE, t.median / tanh) for k, t in times.items()]


def errors_reached() -> list[Goal]:
    """Errors of the gradient against extended precision."""
    return [
        at_most(f"gradient error, 256 layers, {t}", most, gradient_error(t), ".1e")
        for t, most in ERRORS.items()
    ]


def compile_reached() -> list[Goal]:
    """The price of compilation."""
    found = zip(SECONDS.items(), first_and_later_use(), strict=True)
    return [at_most(name, most, got, ".1f") for (name, most), got in found]


def threads_reached(rows: list[dict[str, Any]]) -> list[Goal]:
    """Gain of a second thread."""
    return [
        at_least(
            f"two threads, w{row['width']} B{row['batch']}",
            BY_THREADS[row["batch"]],
            row["one"] / row["two"],
            ".2f",
        )
        for row in rows
    ]


def show_goals(goals: list[Goal]) -> None:
    """Print the table of goals."""
    for goal in goals:
        mark = "hit " if goal.hit else "MISS"
        print(f"{mark} {goal.what:58} needed {goal.needed:>6} got {goal.got:>8}")
    print(f"{sum(goal.hit for goal in goals)} of {len(goals)} goals hit")

"""What outputs cost beside the forward kernel, and maps beside NumPy's product.

Outputs and scores of networks without maps are timed against one call of the kernel
that keeps the last state alone, in turns; openings and heads against the faster of
NumPy's product and activation and of the kernel for the whole batch, whose samples are
to lie side by side.  NumPy has its turns apart in the same process: what comes behind
its tanh has been slower for a while.  Gradients through maps are beside those of NumPy,
of parameters alone for an opening.  The memory of a large prediction is the most that a
process of its own has held, its inputs among them.  Takes 5 minutes.
"""

import subprocess
import sys
from typing import Any

import numpy as np
from tqdm import tqdm

import mgresnet as mg
from harness.command import run
from harness.problem import LOSS
from harness.table import Rows, table
from harness.timing import Run, take_turns
from mgresnet.arrays.layout import absent
from mgresnet.kernels import affine, dense
from rivals.task import Task, draw
from rivals.with_kernels import TANH

BODIES = (  # dtype, width, depth, batch
    ("float64", 8, 128, 20000),
    ("float64", 32, 128, 20000),
    ("float64", 64, 128, 1000),
    ("float64", 64, 128, 20000),
    ("float64", 64, 1024, 2000),
    ("float32", 64, 128, 20000),
)
MAPS = (  # dtype, what, inputs, outputs, activation, batch
    ("float64", "opening", 784, 64, "tanh", 256),
    ("float64", "opening", 784, 64, "tanh", 20000),
    ("float64", "opening", 784, 32, "tanh", 20000),
    ("float64", "opening", 3072, 64, "tanh", 1000),
    ("float64", "opening", 2, 8, "tanh", 20000),
    ("float64", "head", 64, 10, "identity", 256),
    ("float64", "head", 64, 10, "identity", 20000),
    ("float32", "opening", 784, 64, "tanh", 20000),
    ("float32", "head", 64, 10, "identity", 20000),
)
SAMPLES, DEPTH = 60000, 1024  # of the large prediction, 784 -> 64 -> 10
LARGE = """
import resource, sys, numpy as np, mgresnet as mg
samples, depth = map(int, sys.argv[1:])
ends = {"opening": mg.Linear(784, 64, "tanh"), "head": mg.Linear(64, 10)}
net = mg.Network(mg.Dense(64), depth, **ends)
mg.predict(net, net.init(), np.random.default_rng(6577).random((samples, 784)))
print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def numpy_forward(task: Task) -> Run:
    """Keep two arrays."""
    u, z = np.empty_like(task.u), np.empty_like(task.u)
    h = u.dtype.type(task.h)

    def forward() -> None:
        np.copyto(u, task.u)
        for weight, bias in zip(task.weight, task.bias[..., None], strict=True):
            np.matmul(weight, u, out=z)
            np.add(z, bias, out=z)
            np.tanh(z, out=z)
            np.multiply(z, h, out=z)
            np.add(u, z, out=u)

    return forward


def kernel_forward(task: Task, theta: Any) -> Run:
    """One call, with one column."""
    scheme, none = mg.Dense(1).scheme, absent(task.u.dtype)
    u = np.empty((1, 1, *task.u.shape), task.u.dtype)
    arrays = task.u[None], u, none, none, theta[:, None], task.h, *scheme, TANH
    width, batch = task.u.shape
    space = np.empty(dense.workspace(width, 1, batch, task.u.dtype), task.u.dtype)
    return lambda: dense.march(*arrays, 0, batch, space)


def body(dtype: str, width: int, depth: int, batch: int, budget: float) -> Rows:
    """Rows of all programs for one size."""
    task = draw(width, batch, depth, dtype)
    net = mg.Network(mg.Dense(width), depth)
    params = mg.Params(None, net.layer.pack(task.weight, task.bias), None)
    x, y = (np.ascontiguousarray(values.T) for values in (task.u, task.seed))
    every = mg.MGRITOptions.serial((4,))
    runs = {
        "kernel": kernel_forward(task, params.body),
        "predict": lambda: mg.predict(net, params, x),
        "predict, intervals of 4": lambda: mg.predict(net, params, x, options=every),
        "evaluate": lambda: mg.evaluate(net, params, x, y, objective=LOSS),
    }
    times = take_turns(runs, budget)
    times |= take_turns({"NumPy": numpy_forward(task)}, budget / 4)
    size = {"dtype": dtype, "width": width, "depth": depth, "batch": batch}
    least = {"median": times["kernel"].median, "best": times["kernel"].best}
    return [size | row_of(name, times, least) for name in times]


def one_map(
    dtype: str, what: str, n_in: int, n_out: int, name: str, batch: int, budget: float
) -> Rows:
    """Rows of all programs for one map; a head has samples that lie side by side."""
    one, rng = mg.Linear(n_in, n_out, name), np.random.default_rng(6577)
    theta = one.init(rng)[0].astype(dtype)
    weight, bias = one.prepare(theta)
    x = rng.standard_normal((batch, n_in)).astype(dtype)
    given = np.asfortranarray(x) if what == "head" else x
    out = np.empty((n_out, batch), dtype)

    def in_numpy() -> None:
        np.matmul(weight, given.T, out=out)
        np.add(out, bias[:, None], out=out)
        if name == "tanh":
            np.tanh(out, out=out)

    def in_kernel() -> None:
        side_by_side = np.ascontiguousarray(given.T)
        affine.affine(weight, bias, side_by_side, one.kind, out, 0)

    runs = {"kernel": in_kernel, "apply": lambda: one.apply(theta, given)}
    times = take_turns(runs, budget) | take_turns({"NumPy": in_numpy}, budget / 2)
    size = {"dtype": dtype, "map": what, "n_in": n_in, "n_out": n_out, "batch": batch}
    rivals = times["kernel"], times["NumPy"]
    least = {key: min(getattr(t, key) for t in rivals) for key in ("median", "best")}
    return [size | row_of(program, times, least) for program in times]


def back_through(
    dtype: str, what: str, n_in: int, n_out: int, name: str, batch: int, budget: float
) -> Rows:
    """Rows for the gradient of an opening, or for both gradients of a head."""
    one, rng = mg.Linear(n_in, n_out, name), np.random.default_rng(6578)
    theta = one.init(rng)[0].astype(dtype)
    weight, bias = one.unpack(theta)
    x = rng.standard_normal((batch, n_in)).astype(dtype)
    seed = rng.standard_normal((batch, n_out)).astype(dtype)

    def in_numpy() -> Any:
        g = seed
        if name == "tanh":
            g = seed * (1.0 - np.tanh(x @ weight.T + bias) ** 2)
        found = g.T @ x, g.sum(axis=0)
        return found if what == "opening" else (*found, g @ weight)

    ours = one.gradient if what == "opening" else one.pull_back
    times = take_turns({"back": lambda: ours(theta, x, seed)}, budget / 2)
    times |= take_turns({"NumPy, back": in_numpy}, budget / 2)
    size = {"dtype": dtype, "map": what, "n_in": n_in, "n_out": n_out, "batch": batch}
    other = times["NumPy, back"]
    least = {"median": other.median, "best": other.best}
    return [size | row_of(program, times, least) for program in times]


def row_of(name: str, times: dict[str, Any], least: dict[str, float]) -> dict[str, Any]:
    """A program against what it is compared with."""
    found = times[name]
    return {
        "program": name,
        **found._asdict(),
        "ratio": found.median / least["median"],
        "ratio of the best": found.best / least["best"],
    }


def peak(samples: int, depth: int) -> dict[str, Any]:
    """Gigabytes of the large prediction."""
    command = [sys.executable, "-c", LARGE, str(samples), str(depth)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    inputs = samples * 784 * 8 / 1e9
    held = int(done.stdout) / 1e9
    return {"samples": samples, "depth": depth, "inputs": inputs, "peak": held}


def measure(quick: bool) -> dict[str, Any]:
    """All sizes, or the first few."""
    budget, few = (2.0, 2) if quick else (8.0, None)
    bodies = [row for size in tqdm(BODIES[:few]) for row in body(*size, budget)]
    maps = [row for size in tqdm(MAPS[:few]) for row in one_map(*size, budget)]
    maps += [row for size in tqdm(MAPS[:few]) for row in back_through(*size, budget)]
    large = peak(2000, 64) if quick else peak(SAMPLES, DEPTH)
    return {"bodies": bodies, "maps": maps, "large": large}


def report(results: dict[str, Any]) -> str:
    """Tables of networks and of maps, and a line about memory."""
    parts = []
    for rows, size in (
        (results["bodies"], ["dtype", "width", "depth", "batch"]),
        (results["maps"], ["map", "dtype", "n_in", "n_out", "batch"]),
    ):
        lines = (
            [
                *(row[key] for key in (*size, "program")),
                f"{1e3 * row['median']:.3f}",
                f"{row['ratio']:.2f}",
                f"{row['ratio of the best']:.2f}",
            ]
            for row in rows
        )
        parts.append(table([*size, "program", "ms", "ratio", "of the best"], lines))
    large = results["large"]
    parts.append(
        f"predict of {large['samples']} samples through {large['depth']} layers of "
        f"width 64 holds {large['peak']:.2f} GB, of which {large['inputs']:.2f} GB are "
        "its inputs"
    )
    return "\n\n".join(parts)


def main() -> None:
    """Answer."""
    run("inference", __doc__, measure, report)

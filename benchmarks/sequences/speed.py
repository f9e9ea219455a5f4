"""What gated recurrent layers cost beside torch.nn.GRU, forward and whole gradient.

Sequences of 128 steps of 9 features, on one thread, through the public path with its
default options; explicit cells with steps of length 1 are those of PyTorch.  Programs
take turns, seconds are those of the processor.  A ratio is that of the medians, its
spread that of the quartiles: theirs lower over ours upper, and the other way round.
Takes 3 minutes.
"""

from typing import Any

import numpy as np
from tqdm import tqdm

import mgresnet as mg
from harness.command import run
from harness.table import Rows, table
from harness.timing import Run, take_turns

try:
    import torch
except ImportError:
    torch = None
else:
    torch.set_num_threads(1)

STEPS, N_INPUTS = 128, 9
SIZES = ((16, 64), (32, 64), (64, 64), (64, 256), (128, 64))  # hidden, batch


def main() -> None:
    """Answer."""
    run("gru_speed", __doc__, measure, report)


def measure(quick: bool) -> dict[str, Any]:
    """Seconds of every program for all sizes and both types of numbers."""
    if torch is None:
        raise SystemExit("torch cannot be imported; pip install torch")
    sizes, budget = (SIZES[:1], 0.5) if quick else (SIZES, 12.0)
    cases = [(dtype, *size) for dtype in ("float64", "float32") for size in sizes]
    rows = []
    for dtype, n_hidden, batch in tqdm(cases, disable=None):
        times = take_turns(programs(dtype, n_hidden, batch), budget)
        names = {"dtype": dtype, "hidden": n_hidden, "batch": batch}
        rows.append(names | {name: t._asdict() for name, t in times.items()})
    task = {"steps": STEPS, "inputs": N_INPUTS, "torch": torch.__version__}
    return task | {"rows": rows}


def programs(dtype: str, n_hidden: int, batch: int) -> dict[str, Run]:
    """Last states and gradients by both."""
    rng = np.random.default_rng(6593)
    layer = mg.GRU(N_INPUTS, n_hidden, implicit=False)
    net = mg.Network(layer, STEPS, float(STEPS), control=mg.Shared())
    params = net.init(dtype=dtype)
    x = rng.standard_normal((batch, STEPS, N_INPUTS)).astype(dtype)
    targets = rng.standard_normal((batch, n_hidden)).astype(dtype)
    forward, gradient = by_torch(layer, params, x, targets)
    loss = mg.LeastSquares()
    return {
        "forward": lambda: mg.predict(net, params, x),
        "torch forward": forward,
        "gradient": lambda: mg.value_and_gradient(
            net, params, x, targets, objective=loss
        ),
        "torch gradient": gradient,
    }


def by_torch(layer: Any, params: Any, x: Any, targets: Any) -> tuple[Run, Run]:
    """The same with torch.nn.GRU."""
    read, wanted = torch.tensor(x), torch.tensor(targets)
    module = torch.nn.GRU(N_INPUTS, layer.n_hidden, batch_first=True, dtype=read.dtype)
    arrays = layer.unpack(params.body)
    with torch.no_grad():
        for p, value in zip(module.parameters(), arrays, strict=True):
            p.copy_(torch.tensor(value[0]))

    def forward():
        with torch.no_grad():
            return module(read)[1][0]

    def gradient():
        module.zero_grad()
        loss = 0.5 * torch.sum((module(read)[1][0] - wanted) ** 2) / len(read)
        loss.backward()
        return loss

    return forward, gradient


def report(results: dict[str, Any]) -> str:
    """PyTorch's times over ours; how many flops of products a second we make."""
    rows: Rows = []
    for row in results["rows"]:
        w, batch = row["hidden"], row["batch"]
        flops = 6 * w * (w + results["inputs"]) * batch * results["steps"]
        cells: list[Any] = [row["dtype"], w, batch]
        for what, factor in (("forward", 1), ("gradient", 3)):
            ours, theirs = row[what], row[f"torch {what}"]
            ratio, least, most = (
                theirs[a] / ours[b]
                for a, b in (
                    ("median", "median"),
                    ("lower", "upper"),
                    ("upper", "lower"),
                )
            )
            cells += [
                f"{1e3 * ours['median']:.2f}",
                f"{factor * flops / ours['median'] / 1e9:.0f}",
                f"{ratio:.2f} ({least:.2f} to {most:.2f})",
            ]
        rows.append(cells)
    head = ["dtype", "hidden", "batch", "forward ms", "GF/s", "torch/ours"]
    head += ["gradient ms", "GF/s", "torch/ours"]
    return table(head, rows)

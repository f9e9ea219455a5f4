"""What convolutional layers cost beside PyTorch, forward and whole gradient.

Networks of 4 layers of two convolutions each, relu between them, on one thread, through
the public path; PyTorch is eager, with weights and images in its channels-last order.
Programs take turns, seconds are those of the processor.  Takes 5 minutes.
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

DEPTH = 4
SIZES = (  # channels, points across, batch
    (8, 32, 16),
    (16, 32, 32),
    (16, 16, 128),
    (32, 16, 64),
    (32, 8, 256),
    (64, 8, 64),
)


def main() -> None:
    run("image_speed", __doc__, measure, report)


def measure(quick: bool) -> dict[str, Any]:
    """Seconds of every program for all sizes and both types of numbers."""
    if torch is None:
        raise SystemExit("torch cannot be imported; pip install torch")
    sizes, budget = (SIZES[:1], 0.5) if quick else (SIZES, 6.0)
    cases = [(dtype, *size) for dtype in ("float64", "float32") for size in sizes]
    rows = []
    for dtype, channels, points, batch in tqdm(cases, disable=None):
        times = take_turns(programs(dtype, channels, points, batch), budget)
        names = {"dtype": dtype, "channels": channels, "points": points, "batch": batch}
        rows.append(names | {name: t._asdict() for name, t in times.items()})
    return {"depth": DEPTH, "torch": torch.__version__, "rows": rows}


def programs(dtype: str, channels: int, points: int, batch: int) -> dict[str, Run]:
    """Outputs and gradients by both."""
    rng, shape = np.random.default_rng(6583), (channels, points, points)
    layer = mg.Conv2d(shape, activation="relu", kind="double")
    net = mg.Network(layer, DEPTH)
    params = net.init(dtype=dtype)
    x = rng.standard_normal((batch, *shape)).astype(dtype)
    targets = rng.standard_normal((batch, net.n_outputs)).astype(dtype)
    serial, loss = mg.MGRITOptions.serial(), mg.LeastSquares()
    rest = {"objective": loss, "forward": serial, "adjoint": serial}
    forward, gradient = by_torch(net, params, x, targets)
    return {
        "forward": lambda: mg.predict(net, params, x, options=serial),
        "torch forward": forward,
        "gradient": lambda: mg.value_and_gradient(net, params, x, targets, **rest),
        "torch gradient": gradient,
    }


def by_torch(net: Any, params: Any, x: Any, targets: Any) -> tuple[Run, Run]:
    """The same, with a module for every convolution."""
    channels, last = x.shape[1], torch.channels_last
    arrays = [torch.tensor(a) for a in net.layer.unpack(params.body)]
    images = torch.tensor(x).to(memory_format=last)
    wanted = torch.tensor(targets).reshape(x.shape).to(memory_format=last)
    pairs = [
        [torch.nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)]
        for _ in range(net.depth)
    ]
    modules = torch.nn.ModuleList(torch.nn.ModuleList(pair) for pair in pairs)
    modules.to(images.dtype)
    with torch.no_grad():
        for pair, row in zip(modules, zip(*arrays, strict=True), strict=True):
            for one, w, b in zip(pair, row[::2], row[1::2], strict=True):
                one.weight.copy_(w)
                one.bias.copy_(b)
    modules.to(memory_format=last)

    def outputs():
        u = images
        for first, second in modules:
            u = torch.add(u, second(torch.relu(first(u))), alpha=net.step)
        return u

    def forward():
        with torch.no_grad():
            return outputs()

    def gradient():
        modules.zero_grad()
        loss = 0.5 * torch.sum((outputs() - wanted) ** 2) / len(images)
        loss.backward()
        return loss

    return forward, gradient


def report(results: dict[str, Any]) -> str:
    """PyTorch's medians over ours; how many flops of convolutions a second we make."""
    rows: Rows = []
    for row in results["rows"]:
        c, points, batch = row["channels"], row["points"], row["batch"]
        flops = 2 * 2 * 9 * c**2 * points**2 * batch * results["depth"]
        cells: list[Any] = [row["dtype"], f"{c} x {points}^2", batch]
        for what, factor in (("forward", 1), ("gradient", 3)):
            ours, theirs = row[what]["median"], row[f"torch {what}"]["median"]
            cells += [f"{1e3 * ours:.1f}", f"{factor * flops / ours / 1e9:.0f}"]
            cells.append(f"{theirs / ours:.2f}")
        rows.append(cells)
    head = ["dtype", "image", "batch", "forward ms", "GF/s", "torch/ours"]
    head += ["gradient ms", "GF/s", "torch/ours"]
    return table(head, rows)

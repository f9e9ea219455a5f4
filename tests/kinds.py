"""One layer of every kind, networks of them, and the same in complex NumPy.

Hand-written layers are those of docs/write-a-layer.md, whose code blocks are run here.
"""

import contextlib
import io
import math
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import convolutions
import numpy as np
import reference as ref

import mgresnet as mg
from mgresnet.layers.gated_cell import GatedCell

PAGE = Path(__file__).parents[1] / "docs" / "write-a-layer.md"
DEPTH, M, BATCH, N_FEATURES, N_CLASSES = 37, 4, 5, 3, 3


@cache
def page():
    """Names that the code blocks of the page define."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    names = {"__name__": "page"}
    with contextlib.redirect_stdout(io.StringIO()):
        for i, block in enumerate(blocks):
            exec(compile(block, f"{PAGE.name}, block {i}", "exec"), names)
    return SimpleNamespace(**names)


def in_blocks(rate, n):
    """Let a rate see n samples at a time."""
    rate.sample_block = n
    return rate


LAYERS = {
    "dense tanh": mg.Dense(4, "tanh"),
    "dense sigmoid, scalar bias": mg.Dense(4, "sigmoid", "scalar"),
    "dense smooth_relu, no bias": mg.Dense(4, "smooth_relu", "none"),
    "antisymmetric": mg.Explicit(page().Antisymmetric(4)),
    "antisymmetric, in blocks": mg.Explicit(in_blocks(page().Antisymmetric(4), 2)),
    "convolution": mg.Explicit(page().Convolution(2, 5, 5)),
    "images, normalised": mg.Conv2d((2, 3, 5), 3, "gelu", "pre", "layer"),
    "images": mg.Conv2d((2, 5, 2)),
    "gated": mg.Stepwise(page().GRU(2, 3)),
    "gated, composed": mg.Stepwise(page().ComposedGRU(2, 3)),
    "recurrent": mg.GRU(2, 3),
    "recurrent, explicit and stacked": mg.GRU(3, 5, 2, implicit=False),
    "recurrent in NumPy": mg.Stepwise(GatedCell(mg.GRU(2, 3, 2))),
}
OPERATORS = {
    "gated": "injection",
    "gated, composed": "composed",
    "recurrent": "e2",
    "recurrent, explicit and stacked": "e2",
    "recurrent in NumPy": "matched",
}
RATES = [name for name in LAYERS if name not in OPERATORS]


def reads(name):
    """Whether every step takes inputs."""
    return LAYERS[name].input_shape is not None


def network(name, maps=True, depth=DEPTH):
    """With opening and head, but steps that take inputs have them as they are."""
    layer = LAYERS[name]
    size = math.prod(layer.state_shape)
    head = mg.Linear(size, N_CLASSES) if maps else None
    if reads(name):
        return mg.Network(layer, depth, float(depth), None, head, mg.Shared())
    opening = mg.Linear(N_FEATURES, size, "tanh") if maps else None
    return mg.Network(layer, depth, 2.0, opening, head)


def problem(name, maps=True, depth=DEPTH, dtype=np.float64, smooth=None):
    """Network, parameters, inputs and labels."""
    net, rng = network(name, maps, depth), np.random.default_rng(90211)
    params = net.init(seed=90212, dtype=dtype, smooth=smooth)
    shape = (depth, *net.input_shape) if reads(name) else net.input_shape
    inputs = rng.standard_normal((BATCH, *shape)).astype(dtype)
    return net, params, inputs, rng.integers(0, N_CLASSES, BATCH)


def options(name, k=2, coarsening=(M,), tolerance=0.0, **rest):
    """At most k corrections."""
    operator = OPERATORS.get(name, "matched")
    return mg.MGRITOptions(
        coarsening,
        max_iterations=k,
        tolerance=tolerance,
        coarse_operator=operator,
        **rest,
    )


def trajectory(net, body, first, inputs=None):
    """States (depth + 1, batch, *state_shape) in plain NumPy, real or complex."""
    layer, u = net.layer, [first]
    for n in range(net.depth):
        row = body[min(n, len(body) - 1)]
        if isinstance(layer, mg.Stepwise):
            u.append(layer.cell.step(row, u[-1], net.step, inputs[:, n]))
        elif isinstance(layer, mg.GRU):
            u.append(GatedCell(layer).step(row, u[-1], net.step, inputs[:, n]))
        elif isinstance(layer, mg.Explicit):
            u.append(u[-1] + net.step * layer.rate.rate(row, u[-1]))
        elif isinstance(layer, mg.Conv2d):
            rate = convolutions.Convolution(layer).rate(row, u[-1])
            u.append(u[-1] + net.step * rate)
        else:
            weight, bias = ref.unpack(row[None], layer.width, layer.bias)
            u.append(ref.step(layer.activation, weight[0], bias[0], u[-1], net.step))
    return np.array(u)


def first_state(net, params, inputs):
    """What the trajectory starts from."""
    if net.layer.input_shape is not None:
        return np.zeros((len(inputs), *net.layer.state_shape))
    if net.opening is None:
        return inputs
    opened = _linear(net.opening, params.opening, inputs)
    return opened.reshape(len(inputs), *net.layer.state_shape)


def loss(net, params, inputs, labels):
    """Cross-entropy in plain NumPy, for real or complex parameters."""
    first = first_state(net, params, inputs)
    last = trajectory(net, params.body, first, inputs)[-1]
    outputs = _linear(net.head, params.head, last.reshape(len(last), -1))
    return ref.cross_entropy(outputs, labels)


def _linear(record, theta, x):
    weight, bias = np.split(theta, [record.n_inputs * record.n_outputs])
    weight = weight.reshape(record.n_outputs, record.n_inputs)
    return ref.residual(record.activation, weight, bias, x)

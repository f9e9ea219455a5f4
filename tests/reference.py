"""Gold twins in plain NumPy: slow, obvious, and complex-capable for complex steps.

States are samples-first, (batch, width); weights (N, width, width), biases (N, width).
"""

import numpy as np

from mgresnet.layers.scheme import euler

EULER = euler()

CORNER = 0.1


def activate(name, z):
    """sigma(z)."""
    z = np.asarray(z)
    if name == "tanh":
        return np.tanh(z)
    if name == "sigmoid":
        return 0.5 + 0.5 * np.tanh(0.5 * z)
    if name == "relu":
        return np.where(z.real < 0, 0, z)
    if name == "smooth_relu":
        near = abs(z.real) < CORNER
        x = np.where(near, z, 0)
        inner = x**2 / (4 * CORNER) + x / 2 + CORNER / 4
        return np.where(near, inner, activate("relu", z))
    return z


def slope(name, z):
    """sigma'(z)."""
    z = np.asarray(z)
    if name == "tanh":
        return 1 - np.tanh(z) ** 2
    if name == "sigmoid":
        return 0.25 * (1 - np.tanh(0.5 * z) ** 2)
    step = np.where(z < 0, 0.0, 1.0)
    if name == "relu":
        return step
    if name == "smooth_relu":
        return np.where(abs(z) < CORNER, z / (2 * CORNER) + 0.5, step)
    return np.ones_like(z)


def affine(weight, bias, u):
    """W u + b."""
    return u @ weight.T + bias


def residual(name, weight, bias, u):
    """f(u) = sigma(W u + b)."""
    return activate(name, affine(weight, bias, u))


def stages(name, weight, bias, u, h, scheme):
    """Inner states and rates of a Runge-Kutta step; parameters may differ by stage."""
    inner, rates = [], []
    for i, row in enumerate(scheme.a):
        total = sum((a * k for a, k in zip(row, rates, strict=False)), 0 * u)
        inner.append(u + h * total)
        rates.append(residual(name, at(weight, i), at(bias, i, 1), inner[-1]))
    return inner, rates


def at(values, stage, ndim=2):
    """Parameters of a stage, from one set for all or one for each."""
    return values if values.ndim == ndim else values[min(stage, len(values) - 1)]


def step(name, weight, bias, u, h, scheme=EULER):
    """Coarse step u + H sum b_i k_i; the forward Euler step by default."""
    _, rates = stages(name, weight, bias, u, h, scheme)
    return u + h * sum(b * k for b, k in zip(scheme.b, rates, strict=True))


def forward(name, weight, bias, u, h, scheme=EULER):
    """Trajectory (N + 1, batch, width) from u_0."""
    states = [u]
    for w_n, b_n in zip(weight, bias, strict=True):
        states.append(step(name, w_n, b_n, states[-1], h, scheme))
    return np.array(states)


def tangent_step(name, weight, bias, u, v, h, scheme=EULER):
    """Derivative of `step` at u in the direction v."""
    inner, _ = stages(name, weight, bias, u, h, scheme)
    changes = []
    for i, (row, x) in enumerate(zip(scheme.a, inner, strict=True)):
        w_i, b_i = at(weight, i), at(bias, i, 1)
        dx = v + h * sum((a * k for a, k in zip(row, changes, strict=False)), 0 * v)
        changes.append(slope(name, affine(w_i, b_i, x)) * (dx @ w_i.T))
    return v + h * sum(b * k for b, k in zip(scheme.b, changes, strict=True))


def adjoint_step(name, weight, bias, u, w, h, scheme=EULER):
    """Transpose of `tangent_step` applied to w, one direction at a time."""
    result = np.empty_like(w)
    for j in range(w.shape[-1]):
        v = np.zeros_like(w)
        v[..., j] = 1.0
        tangent = tangent_step(name, weight, bias, u, v, h, scheme)
        result[..., j] = np.sum(tangent * w, axis=-1)
    return result


def adjoint(name, weight, bias, states, seed, h):
    """Adjoints (N + 1, batch, width) in layer order: entry n is dJ/du_n."""
    adjoints = [seed]
    for n in reversed(range(len(weight))):
        adjoints.insert(
            0, adjoint_step(name, weight[n], bias[n], states[n], adjoints[0], h)
        )
    return np.array(adjoints)


def gradient(name, weight, bias, states, adjoints, h):
    """dJ/dW (N, width, width) and dJ/db (N, width)."""
    d_weight, d_bias = [], []
    for w_n, b_n, u, w in zip(weight, bias, states[:-1], adjoints[1:], strict=True):
        pulled = slope(name, affine(w_n, b_n, u)) * w
        d_weight.append(h * pulled.T @ u)
        d_bias.append(h * pulled.sum(axis=0))
    return np.array(d_weight), np.array(d_bias)


def unpack(theta, width, bias="vector"):
    """Weights and one bias per feature from the rows of theta."""
    weight = theta[:, : width**2].reshape(-1, width, width)
    if bias == "none":
        return weight, np.zeros((len(theta), width))
    return weight, np.broadcast_to(theta[:, width**2 :], (len(theta), width))


def network(net, params, inputs):
    """Outputs of a whole network with Linear ends, for real or complex parameters."""

    def end(record, theta, x):
        if record is None:
            return x
        weight, rest = np.split(theta, [record.n_inputs * record.n_outputs])
        bias = {"vector": rest, "scalar": rest, "none": 0.0}[record.bias]
        weight = weight.reshape(record.n_outputs, record.n_inputs)
        return residual(record.activation, weight, bias, x)

    layer = net.layer
    weight, bias = unpack(params.body, layer.width, layer.bias)
    first = end(net.opening, params.opening, inputs)
    last = forward(layer.activation, weight, bias, first, net.step)[-1]
    return end(net.head, params.head, last)


def cross_entropy(outputs, labels):
    """Mean of log sum_k exp z_k - z_c."""
    shifted = outputs - outputs.real.max(axis=1, keepdims=True)
    right = shifted[np.arange(len(labels)), labels]
    return np.mean(np.log(np.exp(shifted).sum(axis=1)) - right)


def least_squares(outputs, targets):
    """Mean of half the squared 2-norm."""
    return 0.5 * ((outputs - targets) ** 2).sum() / len(outputs)


def complex_step(function, theta):
    """Gradient of a real function of a real array, without cancellation."""
    gradient = np.empty(theta.shape)
    for index in np.ndindex(theta.shape):
        shifted = theta.astype(complex)
        shifted[index] += 1e-40j
        gradient[index] = function(shifted).imag / 1e-40
    return gradient


class HandWritten:
    """A residual layer as a user would write it: NumPy, tanh, one bias per layer."""

    def __init__(self, width, sigma=np.tanh, d_sigma=lambda z: 1 - np.tanh(z) ** 2):
        self.state_shape = (width,)
        self.n_params = width**2 + 1
        self.sigma, self.d_sigma = sigma, d_sigma

    def init(self, rng, n_layers):
        weight = rng.standard_normal((n_layers, *self.state_shape * 2))
        return self.pack(weight, rng.standard_normal(n_layers))

    def pack(self, weight, bias):
        return np.concatenate([weight.reshape(len(weight), -1), bias[:, None]], axis=1)

    def unpack(self, theta):
        weight = theta[:, :-1].reshape(-1, *self.state_shape * 2)
        return weight, theta[:, -1]

    def prepare(self, theta):
        weight, bias = self.unpack(theta)
        return weight[:, None].copy(), bias[:, None, None, None].copy()

    def march(self, starts, u, forcing, slopes, coefficients, h, scheme):
        n_blocks, k = u.shape[:2]
        per_block = len(coefficients[0]) // n_blocks
        every, now = per_block // max(k, 1), starts.copy()
        for i in range(per_block):
            weight, bias = (c[i::per_block, 0] for c in coefficients)
            rates, inner = [], []
            for row in scheme.a:
                x = now.copy()
                for a, rate in zip(row, rates, strict=False):
                    x += h * a * rate
                inner.append(weight @ x + bias)
                rates.append(self.sigma(inner[-1]))
            for b, rate in zip(scheme.b, rates, strict=True):
                now += h * b * rate
            if forcing.size:
                now += forcing[:, i]
            if slopes.size:
                slopes[i::per_block] = self.d_sigma(np.stack(inner, axis=1))
            if k and (i + 1) % every == 0:
                u[:, i // every] = now

    def march_adjoint(self, starts, w, forcing, slopes, coefficients, h, scheme):
        n_blocks, k = w.shape[:2]
        per_block = len(coefficients[0]) // n_blocks
        every, now = per_block // k, starts.copy()
        for i in range(per_block):
            weight, slope = (
                x[::-1][i::per_block] for x in (coefficients[0][:, 0], slopes)
            )
            transposed, pulled = weight.swapaxes(1, 2), {}
            for s in reversed(range(len(scheme.b))):
                back = h * scheme.b[s] * now
                for later, value in pulled.items():
                    back = back + h * scheme.a[later, s] * value
                pulled[s] = transposed @ (slope[:, s] * back)
            now += sum(pulled.values())
            if forcing.size:
                now += forcing[:, i]
            if (i + 1) % every == 0:
                w[:, i // every] = now

    def pull_back(self, starts, w, u, coefficients, h):
        self._pull_back(starts, w, u, coefficients, h)

    def gradient(self, starts, w, u, slopes, coefficients, h, ends=None):
        return self._pull_back(starts, w, u, coefficients, h, ends)

    def _pull_back(self, starts, w, u, coefficients, h, ends=None):
        weight, bias = (c[:, 0] for c in coefficients)
        n, states, z, now = len(weight) // len(u), [], None, None
        for i in range(len(weight)):
            start = u[i // n] if i % n == 0 else states[-1] + h * self.sigma(z)
            z = weight[i] @ start + bias[i]
            states.append(start)
            if ends is not None and (i + 1) % n == 0:
                ends[i // n] = start + h * self.sigma(z)
        per_block, columns = len(weight) // len(w), w.shape[1]
        every, parts = per_block // max(columns, 1), []
        for i in range(len(weight)):
            layer, (block, step) = len(weight) - 1 - i, divmod(i, per_block)
            now = starts[block].copy() if step == 0 else now
            z = weight[layer] @ states[layer] + bias[layer]
            pulled = h * self.d_sigma(z) * now
            parts.append((pulled @ states[layer].T, pulled.sum()))
            now = now + weight[layer].T @ pulled
            if columns and (step + 1) % every == 0:
                w[block, step // every] = now
        d_weight, d_bias = (np.array(part[::-1]) for part in zip(*parts, strict=True))
        return self.pack(d_weight, d_bias)

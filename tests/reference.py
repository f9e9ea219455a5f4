"""Gold twins in plain NumPy: slow, obvious, and complex-capable for complex steps.

States are samples-first, (batch, width); weights (N, width, width), biases (N, width).
"""

import numpy as np

from mgresnet.arrays.layout import absent
from mgresnet.layers.coarse import COARSE_OPERATORS, coarse_operator
from mgresnet.layers.scheme import euler
from mgresnet.layers.steps import at_stages

EULER = euler()

CORNER, GELU = 0.1, np.sqrt(2 / np.pi)


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
    if name == "gelu":
        return 0.5 * z * (1 + np.tanh(GELU * (z + 0.044715 * z**3)))
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
    if name == "gelu":
        t = np.tanh(GELU * (z + 0.044715 * z**3))
        return 0.5 * (1 + t) + 0.5 * z * (1 - t**2) * GELU * (1 + 3 * 0.044715 * z**2)
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


def d_tanh(z):
    """Derivative of tanh."""
    return 1 - np.tanh(z) ** 2


class Tanh:
    """``tanh(W u + b)`` with one bias for all features: a Rate as a user writes it."""

    def __init__(self, width, sigma=np.tanh, d_sigma=d_tanh):
        self.state_shape, self.n_params = (width,), width**2 + 1
        self.sigma, self.d_sigma = sigma, d_sigma

    def init(self, rng, n_layers):
        return rng.standard_normal((n_layers, self.n_params))

    def rate(self, theta, u):
        weight = theta[:-1].reshape(2 * self.state_shape)
        return self.sigma(u @ weight.T + theta[-1])

    def pull_back(self, theta, u, g):
        weight = theta[:-1].reshape(2 * self.state_shape)
        g = self.d_sigma(u @ weight.T + theta[-1]) * g
        return np.append(g.T @ u, g.sum()), g @ weight


class HandWritten:
    """The same layer with every method that the solver calls, samples last.

    It notes slopes on its tape; with inputs, every step adds its own to ``W u + b``.
    """

    scheme, sample_block = euler(), 1

    def __init__(self, width, sigma=np.tanh, d_sigma=d_tanh, inputs=False):
        self.state_shape, self.n_params = (width,), width**2 + 1
        self.input_shape = (width,) if inputs else None
        self.sigma, self.d_sigma = sigma, d_sigma

    def init(self, rng, n_layers):
        weight = rng.standard_normal((n_layers, *2 * self.state_shape))
        return self.pack(weight, rng.standard_normal(n_layers))

    def pack(self, weight, bias):
        return np.concatenate([weight.reshape(len(weight), -1), bias[:, None]], axis=1)

    def unpack(self, theta):
        return theta[:, :-1].reshape(-1, *2 * self.state_shape), theta[:, -1]

    def coarse(self, name):
        return coarse_operator(name, COARSE_OPERATORS)

    def tape_shape(self, scheme):
        return (len(scheme.b), *self.state_shape)

    def prepare(self, steps):
        both = (at_stages(x, steps.scheme) for x in (steps.theta, steps.inputs))
        return steps._replace(**dict(zip(("theta", "inputs"), both, strict=True)))

    def march(self, steps, starts, u, forcing, tape):
        per_block = steps.n // len(starts)
        for block, now in enumerate(starts):
            for i in range(per_block):
                now = self._step(steps, block * per_block + i, now, tape)
                now = now + forcing[block, i] if forcing.size else now
                _fill(u[block : block + 1], i + 1, per_block, now)

    def march_back(self, steps, starts, w, forcing, states, tape, d_theta, d_inputs):
        per_block = steps.n // len(starts)
        if not tape.size:
            shape = self.tape_shape(steps.scheme)
            tape = np.empty((steps.n, *shape, states.shape[-1]), states.dtype)
            for n, state in enumerate(states):
                self._step(steps, n, state, tape)
        d_theta[:] = 0
        for block, now in enumerate(starts):
            for i in range(per_block):
                n = steps.n - 1 - block * per_block - i
                now, seed = self._step_back(steps, n, now, tape[n])
                now = now + forcing[block, i] if forcing.size else now
                _fill(w[block : block + 1], i + 1, per_block, now)
                if d_theta.size:
                    d = np.append(seed @ states[n].T, seed.sum())
                    d_theta[n * len(d_theta) // steps.n] += d
                if d_inputs.size:
                    d_inputs[n] = seed

    def retrace(self, steps, starts, w, forcing, points, ends, d_theta, d_inputs):
        k, none = steps.n // len(points), absent(points.dtype)
        u = np.empty((len(points), k + 1, *points.shape[1:]), points.dtype)
        u[:, 0] = points
        self.march(steps, points, u[:, 1:], none, none)
        ends[:] = u[:, -1] if ends.size else 0
        states = u[:, :-1].reshape(steps.n, *points.shape[1:])
        wanted = d_theta, d_inputs
        self.march_back(steps, starts, w, forcing, states, none, *wanted)

    def _step(self, steps, n, u, tape):
        rates = []
        for i, row in enumerate(steps.scheme.a.tolist()):
            weight, bias, x = self._stage(steps, n, i)
            changes = (a * k for a, k in zip(row, rates, strict=False))
            inner = u + steps.length * sum(changes, np.zeros_like(u))
            z = (weight[..., None] * inner).sum(axis=1) + bias + x
            rates.append(self.sigma(z))
            if tape.size:
                tape[n, i] = self.d_sigma(z)
        weighted = zip(steps.scheme.b.tolist(), rates, strict=True)
        return u + steps.length * sum(b * k for b, k in weighted)

    def _step_back(self, steps, n, g, slopes):
        """Also what comes back to z of the first stage."""
        a, b, pulled = *map(np.ndarray.tolist, steps.scheme), {}
        for i in reversed(range(len(b))):
            back = b[i] * g + sum(a[j][i] * later for j, later in pulled.items())
            seed = steps.length * slopes[i] * back
            weight, *_ = self._stage(steps, n, i)
            pulled[i] = (weight[..., None] * seed[:, None]).sum(axis=0)
        return g + sum(pulled.values()), seed

    def _stage(self, steps, n, i):
        """Weight, bias and inputs."""
        theta, x = steps.parameters(n), steps.inputs[n] if steps.inputs.size else [0.0]
        weight, bias = self.unpack(theta[min(i, len(theta) - 1)][None])
        return weight[0], bias[0], x[min(i, len(x) - 1)]


def _fill(u, i, per_block, now):
    """Write into the column of a block that is i steps behind its start, if any."""
    if u.size and i * u.shape[1] % per_block == 0:
        u[0, i * u.shape[1] // per_block - 1] = now

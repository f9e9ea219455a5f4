"""The gold twin of `mg.Conv2d` in plain NumPy: a rate, complex-capable.

It is slow and says what the layer is: f = L A1 (K1 * A0 u + b1), where A0 and A1
normalise and activate, or do nothing, and L is one more convolution, or nothing.
"""

import math

import numpy as np
import reference as ref

EPSILON = 1e-5  # added to variances


def correlate(kernel, u):
    """out[b, d, y, x] = sum_{c, i, j} kernel[d, c, i, j] u[b, c, y+i-r, x+j-r]."""
    return np.einsum("bcyxij,dcij->bdyx", patches(u, kernel.shape[-1]), kernel)


def patches(u, size):
    """The size x size points around every point, zero outside the image."""
    r = size // 2
    padded = np.pad(u, ((0, 0), (0, 0), (r, r), (r, r)))
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))


def transposed(kernel):
    """Kernel whose correlation is the transpose of that of another."""
    return kernel.swapaxes(0, 1)[:, :, ::-1, ::-1]


def d_kernel(size, u, g):
    """Gradient of <g, K * u> for the kernel."""
    return np.einsum("bcyxij,bdyx->dcij", patches(u, size), g)


def d_bias(g):
    return g.sum(axis=(0, 2, 3))


class Activation:
    """A(z) = sigma(z), or of z normalised over groups of channels, scaled, shifted."""

    def __init__(self, name, group=0):
        self.name, self.group = name, group

    def apply(self, z, scale, shift):
        if not self.group:
            return ref.activate(self.name, z)
        return ref.activate(self.name, self._normalised(z)[0] * scale + shift)

    def pull_back(self, z, scale, shift, g):
        """Gradients for scale, shift and z."""
        if not self.group:
            return None, None, ref.slope(self.name, z) * g
        normal, deviation = self._normalised(z)
        g = ref.slope(self.name, normal * scale + shift) * g
        d_scale, d_shift = d_bias(g * normal), d_bias(g)
        g = g * scale
        along = self._mean(g * normal)
        return d_scale, d_shift, (g - self._mean(g) - normal * along) / deviation

    def _normalised(self, z):
        centred = z - self._mean(z)
        deviation = np.sqrt(self._mean(centred**2) + EPSILON)
        return centred / deviation, deviation

    def _mean(self, z):
        """Of every sample over groups of channels and all points."""
        b, c = z.shape[:2]
        means = z.reshape(b, c // self.group, -1).mean(axis=2)
        return np.repeat(means, self.group, axis=1)[:, :, None, None]


class Convolution:
    """Right-hand side of every kind of `mg.Conv2d`, with its fields."""

    def __init__(self, layer):
        c = layer.shape[0]
        self.layer, self.state_shape, self.n_params = (
            layer,
            layer.shape,
            layer.n_params,
        )
        group = {None: 0, "layer": c, "group": math.gcd(c, 4)}[layer.norm]
        self.activation = Activation(layer.activation, group)
        self.init = layer.init
        kernel = c, c, layer.kernel, layer.kernel
        pairs = 1 + (layer.kind in ("double", "pre"))
        self.shapes = [kernel, (c, 1, 1)] * pairs
        if layer.norm:
            self.shapes += [(c, 1, 1)] * 2 * (1 + (layer.kind == "pre"))

    def parts(self, theta):
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])
        parts = np.split(theta, ends[:-1])
        return [x.reshape(s) for x, s in zip(parts, self.shapes, strict=True)]

    def _forward(self, theta, u):
        """Arrays on the way, and the parameters."""
        kind, parts = self.layer.kind, self.parts(theta)
        one, two = parts[:2], parts[2:4] if kind in ("double", "pre") else None
        norms = parts[4 if two else 2 :] if self.layer.norm else [None] * 4
        x = self.activation.apply(u, *norms[:2]) if kind == "pre" else u
        z = correlate(one[0], x) + one[1]
        a = self.activation.apply(z, *norms[-2:])
        return x, z, a, one, two, norms

    def rate(self, theta, u):
        *_, a, one, two, _ = self._forward(theta, u)
        if two:
            return correlate(two[0], a) + two[1]
        if self.layer.kind == "symmetric":
            return -correlate(transposed(one[0]), a)
        return a

    def pull_back(self, theta, u, g):
        x, z, a, one, two, norms = self._forward(theta, u)
        kind, size, cotangent = self.layer.kind, self.layer.kernel, g
        if two:
            g = correlate(transposed(two[0]), cotangent)
        if kind == "symmetric":
            g = -correlate(one[0], cotangent)
        *d_inner, g = self.activation.pull_back(z, *norms[-2:], g)
        d_one, d_two, d_outer = [d_kernel(size, x, g), d_bias(g)], [], []
        if kind == "symmetric":
            d_one[0] = d_one[0] - d_kernel(size, cotangent, a)
        if two:
            d_two = [d_kernel(size, a, cotangent), d_bias(cotangent)]
        g = correlate(transposed(one[0]), g)
        if kind == "pre":
            *d_outer, g = self.activation.pull_back(u, *norms[:2], g)
        parts = [*d_one, *d_two]
        if self.layer.norm:
            parts += [*d_outer, *d_inner]
        return np.concatenate([d.ravel() for d in parts]), g

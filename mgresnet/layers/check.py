r"""Contract of a residual layer, checked on random numbers.

The solver never looks inside a layer; it relies on a handful of identities between the
layer's methods.  `check_layer` states them one by one and names the one that fails.
With J the Jacobian of a step and f its residual function they are, apart from bitwise
promises about blocks, samples and dtypes,

.. math::

    G(u) = u + H \sum_i b_i k_i, \quad k_i = f\Bigl(u + H \sum_j a_{ij} k_j\Bigr), \\
    \langle J v, w\rangle = \langle v, J^T w\rangle, \qquad
    \langle w, \partial_\theta \Phi\, d\rangle = \langle \nabla_\theta, d\rangle .

Derivatives are differences of `march` extrapolated twice (Richardson); samples at which
the extrapolation does not settle lie at a kink and are left out.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mgresnet.layers.layout import Array
from mgresnet.layers.scheme import Scheme, euler, second_order, third_order

STEP = 0.6875  # large, so that a wrong term of order h is a large error
SCHEMES = (euler(), second_order(4), third_order(4))
N_LAYERS, N_SAMPLES = 3, 6
SPACING = 2.0**-8  # widest of three difference steps
KINK = 1e-9  # extrapolations that differ by more are at a kink
CLOSE = 1e-7  # relative agreement asked of derivatives


class Probe(NamedTuple):
    """A layer with random numbers to try it on."""

    layer: Any
    theta: Array  # (N_LAYERS, n_params)
    u: Array  # (N_LAYERS + 1, *features, N_SAMPLES), as w, v and g
    w: Array
    v: Array  # unit 2-norm for every sample
    g: Array

    def march(
        self, u: Array, forcing: Array, scheme: Scheme, theta: Array | None = None
    ) -> Array:
        """March blocks u (n_blocks, *features, batch); return (n_blocks, k + 1, ..)."""
        theta = self.theta if theta is None else theta
        points = self.blocks(u)
        coefficients = self.layer.prepare(theta)
        self.layer.march(points, forcing, coefficients, STEP, scheme)
        return points

    def march_adjoint(self, w: Array, forcing: Array, scheme: Scheme) -> Array:
        """March adjoint blocks through the layers linearised at the states u."""
        points = self.blocks(w)
        coefficients = self.layer.prepare(self.theta)
        slopes = self.layer.linearise(self.u[:-1].copy(), coefficients, STEP, scheme)
        self.layer.march_adjoint(points, forcing, coefficients, slopes, STEP, scheme)
        return points

    def blocks(self, first: Array) -> Array:
        """Blocks that start with the given states and wait to be filled."""
        k = len(self.theta) // len(first)
        points = np.full((len(first), k + 1, *first.shape[1:]), np.nan, first.dtype)
        points[:, 0] = first
        return points

    def only(self, n: int) -> "Probe":
        """Keep layer n."""
        return self._replace(theta=self.theta[n : n + 1], u=self.u[n : n + 2])

    def step(self, u: Array, scheme: Scheme, theta: Array | None = None) -> Array:
        """Every layer's step from a state of its own: N_LAYERS blocks of one step."""
        return self.march(u, self.nothing, scheme, theta)[:, 1]

    @property
    def nothing(self) -> Array:
        """No forcing."""
        return np.empty((0, 1, *self.u.shape[1:]), self.u.dtype)


def check_layer(layer: Any, rng: np.random.Generator) -> None:
    """Check that a hand-written layer keeps the identities that the solver relies on.

    Parameters
    ----------
    layer : Dense
        Or any object with `Dense`'s public attributes and marching methods.
    rng : numpy.random.Generator
        Draws parameters, states and directions.

    Raises
    ------
    AssertionError
        The message names the identity that the layer breaks, and by how much.

    Examples
    --------
    >>> check_layer(Dense(width=3), np.random.default_rng(2718))
    """
    _parameters(layer, rng)
    for dtype in (np.float64, np.float32):
        probe = _probe(layer, rng, dtype)
        _dtypes(probe)
        for scheme in SCHEMES:
            _marches(probe, "march", probe.u, scheme)
            _marches(probe, "march_adjoint", probe.w, scheme)
    probe = _probe(layer, rng, np.float64)
    for scheme in SCHEMES:
        _stages(probe, scheme)
        _transposition(probe, scheme)
    _gradient(probe)


def _probe(layer: Any, rng: np.random.Generator, dtype: type) -> Probe:
    shape = (N_LAYERS + 1, *layer.feature_shape, N_SAMPLES)
    theta = layer.init(rng, N_LAYERS)
    theta = theta + 0.3 * rng.standard_normal(theta.shape)
    u, w, v, g = rng.standard_normal((4, *shape))
    v /= np.sqrt(_per_sample(v, v))[:, *(None,) * len(layer.feature_shape)]
    return Probe(layer, *(x.astype(dtype) for x in (theta, u, w, v, g)))


def _require(kept: bool | np.bool_, layer: Any, identity: str, detail: str) -> None:
    """Raise also where Python runs without assert statements."""
    if not kept:
        raise AssertionError(f"{type(layer).__name__} breaks: {identity}; {detail}")


def _parameters(layer: Any, rng: np.random.Generator) -> None:
    theta = layer.init(rng, N_LAYERS)
    needed = (N_LAYERS, layer.n_params)
    _require(
        theta.shape == needed,
        layer,
        "init makes n_params numbers per layer",
        f"got shape {theta.shape}, needed {needed}",
    )
    theta = rng.standard_normal(needed)
    again = layer.pack(*layer.unpack(theta))
    kept, shapes = np.array_equal(again, theta), (np.shape(again), theta.shape)
    _require(kept, layer, "pack(*unpack(theta)) is theta", f"shapes {shapes}")


def _dtypes(probe: Probe) -> None:
    layer, dtype = probe.layer, probe.u.dtype
    coefficients = layer.prepare(probe.theta)
    slopes = layer.linearise(probe.u[:-1].copy(), coefficients, STEP, SCHEMES[1])
    d_theta = layer.gradient(probe.u, probe.w, probe.theta, STEP)
    for name, arrays in (
        ("prepare", coefficients),
        ("linearise", (slopes,)),
        ("gradient", (d_theta,)),
    ):
        got = [str(x.dtype) for x in arrays]
        _require(
            all(x == dtype for x in got),
            layer,
            f"{name} preserves the dtype",
            f"got {', '.join(got)} for {dtype}",
        )
    _require(
        d_theta.shape == probe.theta.shape,
        layer,
        "gradient has the shape of the parameters",
        f"got {d_theta.shape}, needed {probe.theta.shape}",
    )


def _marches(probe: Probe, name: str, start: Array, scheme: Scheme) -> None:
    """What holds bit by bit, and the forcing; the same for states and adjoints."""
    layer, nothing, march = probe.layer, probe.nothing, getattr(probe, name)
    one = march(start[:1], nothing, scheme)
    _require(
        np.array_equal(one[0, 0], start[0]) and np.isfinite(one).all(),
        layer,
        f"{name} fills columns 1..k and leaves column 0 alone",
        f"finite: {np.isfinite(one).all()}",
    )
    singles = march(one[0, :-1], nothing, scheme)[:, 1]
    _require(
        np.array_equal(singles, one[0, 1:]),
        layer,
        f"{name} of k steps in one block is k single steps, bit by bit",
        f"they differ by {np.abs(singles - one[0, 1:]).max():.1e}",
    )
    free = march(start[:-1], nothing, scheme)
    for i, block in enumerate(free):
        n = i if name == "march" else N_LAYERS - 1 - i
        alone = getattr(probe.only(n), name)(start[i : i + 1], nothing, scheme)[0]
        kept = np.array_equal(alone, block)
        _require(kept, layer, f"{name} treats blocks independently", "they mix")
    others = start[:1].copy()
    others[..., 1:] += 1
    kept = np.array_equal(march(others, nothing, scheme)[..., 0], one[..., 0])
    _require(kept, layer, f"{name} treats samples independently", "they mix")
    forcing = probe.g[:-1, None]
    forced = march(start[:-1], forcing, scheme)[:, 1]
    error = _relative(forced - forcing[:, 0], free[:, 1])
    _require(
        error < 100 * np.finfo(start.dtype).eps,
        layer,
        f"{name} adds the forcing after each step",
        f"relative error {error:.1e}",
    )


def _stages(probe: Probe, scheme: Scheme) -> None:
    u = probe.u[:-1]
    rates: list[Array] = []
    for row in scheme.a:
        inner = u + STEP * sum(a * k for a, k in zip(row, rates, strict=False))
        rates.append((probe.step(inner, euler()) - inner) / STEP)
    needed = sum(b * k for b, k in zip(scheme.b, rates, strict=True))
    error = _relative((probe.step(u, scheme) - u) / STEP, np.asarray(needed))
    _require(
        error < 1e-12,
        probe.layer,
        f"a step of {len(scheme.b)} stages is u + H sum b_i k_i",
        f"relative error {error:.1e}",
    )


def _transposition(probe: Probe, scheme: Scheme) -> None:
    u, v, w = probe.u[:-1], probe.v[:-1], probe.w[:-1]
    name = f"step of {len(scheme.b)} stage(s)"
    tangent, smooth = _derivative(lambda t: probe.step(u + t * v, scheme))
    _enough(probe, smooth)
    adjoint = probe.march_adjoint(w[::-1], probe.nothing, scheme)[::-1, 1]
    left, right = _per_sample(tangent, w), _per_sample(v, adjoint)
    error = _relative(left[smooth], right[smooth])
    _require(
        error < CLOSE,
        probe.layer,
        f"<J v, w> = <v, J^T w> on the {name}",
        f"relative error {error:.1e}",
    )


def _gradient(probe: Probe) -> None:
    """Parameter by parameter in all layers at once, summed over the smooth samples."""
    theta, u, w = probe.theta, probe.u, probe.w
    for i, d in enumerate(np.eye(probe.layer.n_params)):
        change, smooth = _derivative(partial(_turned, probe, d))
        _enough(probe, smooth)
        kept = smooth.all(axis=0)
        states, adjoints = (np.ascontiguousarray(x[..., kept]) for x in (u, w))
        got = probe.layer.gradient(states, adjoints, theta, STEP)[:, i]
        products = _per_sample(change, w[1:])[:, kept]
        error = np.abs(got - products.sum(axis=1)).max() / np.abs(products).sum()
        _require(
            error < CLOSE,
            probe.layer,
            "gradient is the derivative of <w, march> with respect to theta",
            f"relative error {error:.1e} for parameter {i} of {theta.shape[1]}",
        )


def _turned(probe: Probe, direction: Array, t: float) -> Array:
    return probe.step(probe.u[:-1], euler(), probe.theta + t * direction)


def _derivative(function: Callable[[float], Array]) -> tuple[Array, Array]:
    """Derivative at 0 of samples (n, *features, batch); where it is smooth (n, batch).

    Central differences of three spacings, each half the one before; a first and a
    second extrapolation remove the errors of second and fourth order.
    """
    wide, middle, fine = (
        (function(t) - function(-t)) / (2 * t)
        for t in (SPACING, SPACING / 2, SPACING / 4)
    )
    coarser, finer = middle + (middle - wide) / 3, fine + (fine - middle) / 3
    change = (finer - coarser) / 15
    size = np.abs(change).max(axis=tuple(range(1, change.ndim - 1)))
    return finer + change, size < KINK


def _enough(probe: Probe, smooth: Array) -> None:
    """Kinks are rare for a layer that can be trained."""
    _require(
        smooth.all(axis=0).sum() >= N_SAMPLES // 2,
        probe.layer,
        "march is differentiable at most states",
        f"differences settle at {smooth.sum()} of {smooth.size}",
    )


def _per_sample(x: Array, y: Array) -> Array:
    """Inner products over the features, (n, batch)."""
    products: Array = (x * y).sum(axis=tuple(range(1, x.ndim - 1)))
    return products


def _relative(got: Array, needed: Array) -> float:
    return float(np.abs(got - needed).max() / np.abs(needed).max())

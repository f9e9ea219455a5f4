"""Activations and their derivatives, on registers.

A new one needs its name in ``ACTIVATIONS`` and a branch each in `activate` and `slope`,
in the words of `vectors`; its twin in plain NumPy is in ``tests/reference.py``.  Which
branch is taken is known before the loop over the samples, which costs next to nothing.
"""

import math

from mgresnet.kernels.compiled import inlined
from mgresnet.kernels.vectors import (
    by_type,
    fma,
    if_less,
    magnitude,
    power_of_two,
    with_sign,
)

ACTIVATIONS = ("tanh", "relu", "smooth_relu", "sigmoid", "identity", "gelu")
IDENTITY = ACTIVATIONS.index("identity")
CORNER = 0.1  # half-width of the parabola that rounds the corner of smooth_relu

_GELU = math.sqrt(2.0 / math.pi)  # gelu is x / 2 (1 + tanh(_GELU (x + _CUBE x^3)))
_CUBE = 0.044715

_LN2_2 = math.log(2.0) / 2.0
_2_LN2 = 2.0 / math.log(2.0)
# Adding it rounds to an integer and leaves that, in the last bits, as an exponent.
_ROUND = 1.5 * 2.0**52 + 1023
_ROUND_SINGLE = 1.5 * 2.0**23 + 127


@inlined
def _tanh(x):
    """Hyperbolic tangent with one division.

    With |x| = k ln(2)/2 + r and tanh(r) = r P(r^2)/Q(r^2), the numerator and the
    denominator of (e^2x - 1)/(e^2x + 1) are formed without cancellation near zero.
    Odd to the last bit, and never beyond 1: for x < 0 rounding would go there.
    """
    largest = by_type(x, 20.0, 10.0)
    y = magnitude(x)
    y = if_less(largest, y, largest, y)
    rounded = fma(y, _2_LN2, by_type(x, _ROUND, _ROUND_SINGLE))
    k = rounded - by_type(x, _ROUND, _ROUND_SINGLE)
    e = power_of_two(rounded)
    r = fma(k, -_LN2_2, y)
    y = r * r
    if by_type(x, 1.0, 0.0):
        p = fma(y, fma(y, 0.0010574180698097924, 0.11109935780430419), 1.0)
        q = fma(y, fma(y, 0.015868315117563685, 0.44443269113763173), 1.0)
    else:
        p = fma(y, 0.06658699314408448, 1.0)
        q = fma(y, 0.3999200796666418, 1.0)
    rp = 2.0 * (r * p)
    n = fma(e - 1.0, fma(rp, 0.5, q), rp)
    return with_sign(n / (fma(q, 2.0, n) - rp), x)


@inlined
def _gate(x):
    """The tanh of gelu."""
    return _tanh(x * fma(x * x, _GELU * _CUBE, _GELU))


@inlined
def activate(activation, z):
    """Sigma(z) of registers."""
    if activation == 0:
        return _tanh(z)
    if activation == 1:
        return if_less(z, 0.0, 0.0, z)
    if activation == 2:
        inner = fma(fma(z, 0.25 / CORNER, 0.5), z, 0.25 * CORNER)
        return if_less(magnitude(z), CORNER, inner, if_less(z, 0.0, 0.0, z))
    if activation == 3:
        return fma(_tanh(0.5 * z), 0.5, 0.5)
    if activation == 5:
        half = 0.5 * z
        return fma(half, _gate(z), half)
    return z


@inlined
def slope(activation, z, value):
    """Sigma'(z) of registers, where value is sigma(z)."""
    if activation == 0:
        return (1.0 - value) * (1.0 + value)
    if activation == 3:
        return value * (1.0 - value)
    one = fma(z, 0.0, 1.0)  # but not a number where z is not finite
    if activation == 1:
        return if_less(z, 0.0, 0.0, one)
    if activation == 2:
        inner = fma(z, 0.5 / CORNER, 0.5)
        return if_less(magnitude(z), CORNER, inner, if_less(z, 0.0, 0.0, one))
    if activation == 5:
        t, inner = _gate(z), z * fma(z * z, 3.0 * _GELU * _CUBE, _GELU)
        return 0.5 * fma((1.0 - t) * (1.0 + t), inner, 1.0 + t)
    return one

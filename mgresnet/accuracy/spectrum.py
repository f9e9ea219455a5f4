"""Eigenvalues of layers, linearised at a state, without forming a matrix."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.layout import Array
from mgresnet.timeline.adjoints import Adjoint
from mgresnet.timeline.propagators import march


def eigenvalues(layers: Adjoint, dimension: int = 24) -> NDArray[Any]:
    """Eigenvalues of h f'(u) for every layer and every sample.

    Parameters
    ----------
    layers : Adjoint
        Fine steps ``w + h f'(u)^T w``, each on its own.
    dimension : int
        At most this many eigenvalues: all of small states, else the Ritz values of a
        Krylov space, which approach the outermost eigenvalues first.

    Returns
    -------
    ndarray, shape (n_layers, batch, n_values)
        Complex, the layers in reverse order.

    Notes
    -----
    Arnoldi's method from a random vector, for all layers and samples at once.
    Orthogonalising twice is enough; where a Krylov space is exhausted, tiny noise
    opens another one.
    """
    layers = layers.linearised()
    n, *features, batch = layers.states.shape
    size = math.prod(features)
    k = min(size, dimension)
    rng = np.random.default_rng(7)
    dtype = layers.states.dtype
    noise = rng.standard_normal((n, size, batch)).astype(dtype)
    basis = np.zeros((n, k, size, batch), dtype)
    basis[:, 0] = noise / np.linalg.norm(noise, axis=1, keepdims=True)
    hessenberg = np.zeros((n, batch, k, k), dtype)
    for j in range(k):
        known, last = basis[:, : j + 1], basis[:, j]
        starts = last.reshape(n, *features, batch)
        w: Array = march(layers, starts, 1)[:, 0].reshape(last.shape) - last
        for _ in range(2):
            w += np.finfo(dtype).eps ** 1.5 * rng.standard_normal(w.shape).astype(dtype)
            share = np.einsum("nisb,nsb->nbi", known, w)
            hessenberg[:, :, : j + 1, j] += share
            w -= np.einsum("nisb,nbi->nsb", known, share)
        if j + 1 < k:
            length = np.linalg.norm(w, axis=1)
            hessenberg[:, :, j + 1, j] = length
            basis[:, j + 1] = w / length[:, None]
    return np.linalg.eigvals(hessenberg)

"""What the solver asks of a layer, and a network of the maps at its two ends.

Arrays have the samples last, ``(..., *state_shape, batch)``.  **An array of size zero
is neither read nor written**: no forcing, no tape, no gradient wanted, no columns to
fill.  Arrays may also be slices along the samples of larger ones, all of one length:
ranks take turns with parts of a batch.  A layer treats samples alone; which parts of a
batch it may be given at a time is its `sample_block`.
"""

from typing import Any, Protocol

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.layers.coarse import CoarseOperator
from mgresnet.layers.steps import Steps


class Layer(Protocol):
    """Marches through many steps at once."""

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of one sample's state."""

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Shape of what every step gets for one sample; None if steps get nothing."""

    @property
    def n_params(self) -> int:
        """Number of parameters of one layer."""

    @property
    def sample_block(self) -> int:
        """Samples that stay together.

        Multiples of it may be treated apart, with the same bits: 1 is any part of a
        batch, 0 only the whole.
        """

    @property
    def scheme(self) -> Any:
        """How a layer itself steps: a Scheme, or a Cell."""

    def init(self, rng: np.random.Generator, n_layers: int) -> Array:
        """Initial parameters, shape (n_layers, n_params)."""

    def tape_shape(self, scheme: Any) -> tuple[int, ...]:
        """Shape of what a step notes for one sample for the way back; (0,) is nothing.

        What the numbers mean is for the layer to know.
        """

    def coarse(self, name: str) -> CoarseOperator:
        """Coarse operator of this name.

        Raises
        ------
        ValueError
            If the layer has none of this name.
        """

    def prepare(self, steps: Steps) -> Steps:
        """What is worth doing once for many marches through the same steps."""

    def march(
        self, steps: Steps, starts: Array, u: Array, forcing: Array, tape: Array
    ) -> None:
        """Fill every block with what follows its start.

        Parameters
        ----------
        steps : Steps
            Prepared.
        starts : ndarray, shape (n_blocks, *state_shape, batch)
        u : ndarray, shape (n_blocks, k, *state_shape, batch)
            Filled; a column is ``n_steps / (n_blocks * k)`` steps behind the last one.
        forcing : ndarray, shape (n_blocks, n_steps / n_blocks, *state_shape, batch)
            Added after each step.
        tape : ndarray, shape (n_steps, *tape_shape, batch)
            Filled.
        """

    def march_back(
        self,
        steps: Steps,
        starts: Array,
        w: Array,
        forcing: Array,
        states: Array,
        tape: Array,
        d_theta: Array,
        d_inputs: Array,
    ) -> None:
        """Fill every block of adjoints, from the last step to the first.

        Parameters
        ----------
        steps : Steps
            Prepared; in layer order.
        starts : ndarray, shape (n_blocks, *state_shape, batch)
            Adjoints behind the last step of every block.
        w : ndarray, shape (n_blocks, k, *state_shape, batch)
            Filled in pseudo-time: the last block of steps comes first.
        forcing : ndarray, shape (n_blocks, n_steps / n_blocks, *state_shape, batch)
            In pseudo-time; added after each step.
        states : ndarray, shape (n_steps, *state_shape, batch)
            At the start of every step, in layer order.
        tape : ndarray, shape (n_steps, *tape_shape, batch)
            As `march` has noted it from these states; a layer of one stage can do
            without where it is to fill `d_theta`.
        d_theta : ndarray, shape (n_groups, n_params)
            Filled with the gradient summed over equal groups of steps, in layer order.
        d_inputs : ndarray, shape of the inputs
            Filled.
        """

    def retrace(
        self,
        steps: Steps,
        starts: Array,
        w: Array,
        forcing: Array,
        points: Array,
        ends: Array,
        d_theta: Array,
        d_inputs: Array,
    ) -> None:
        """Do what `march_back` does where only some states are known.

        Parameters
        ----------
        points : ndarray, shape (n_points, *state_shape, batch)
            States at the start of every ``n_steps / n_points`` steps, in layer order.
        ends : ndarray, shape (n_points, *state_shape, batch)
            Filled with the states behind these steps.
        """


class Map(Protocol):
    """An opening or a head: a function of features with flat parameters.

    It may have ``gradient(theta, x, seed)``, too: the first of what `pull_back`
    returns, if that alone takes less.
    """

    @property
    def n_inputs(self) -> int:
        """Number of features before."""

    @property
    def n_outputs(self) -> int:
        """Number of features after."""

    @property
    def n_params(self) -> int:
        """Number of parameters."""

    def init(self, rng: np.random.Generator, n_maps: int = 1) -> Array:
        """Initial parameters, shape (n_maps, n_params)."""

    def apply(self, theta: Array, x: Array) -> Array:
        """Outputs (batch, n_outputs) for inputs (batch, n_inputs)."""

    def pull_back(self, theta: Array, x: Array, seed: Array) -> tuple[Array, Array]:
        """Gradients with respect to theta and x."""

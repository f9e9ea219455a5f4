"""Networks one after another: stages of other shapes.

Every stage is solved by all ranks.  They snake: even stages have the ranks in order,
odd ones in reverse, so that the last state of a stage lies on the rank where
the next begins, and the way from one to the other costs no message; nor does the way
back.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mgresnet.arrays.checks import integer
from mgresnet.network import Network, Params, check_network


@dataclass(frozen=True)
class Chain:
    """Networks in turn; holds no weights.

    Parameters
    ----------
    networks : sequence of Network
        Each opening is the bridge from the stage before; only the last network may
        have a head.  Parameters of a chain are a tuple with the `Params` of each.

    Examples
    --------
    >>> from mgresnet.layers import Dense, Linear
    >>> first, second = Network(Dense(5), 8), Network(Dense(3), 4, opening=Linear(5, 3))
    >>> Chain([first, second]).n_outputs
    3
    """

    networks: tuple[Network, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "networks", _in_turn(self.networks))
        if not self.networks or not all(isinstance(n, Network) for n in self.networks):
            raise TypeError(
                f"a chain needs networks, got {self.networks!r}; give at least one "
                "mg.Network"
            )
        for i, (a, b) in enumerate(zip(self.networks, self.networks[1:], strict=False)):
            made, taken = math.prod(a.layer.state_shape), math.prod(b.input_shape)
            if a.head is not None:
                raise ValueError(
                    f"network {i} of {len(self.networks)} has a head; only the last "
                    "one may, the others hand on their last state"
                )
            if a.read != "last":
                raise ValueError(
                    f"network {i} of {len(self.networks)} reads {a.read!r} state; only "
                    'the last one may, the others hand on their last state: read="last"'
                )
            if made != taken or b.layer.input_shape is not None:
                raise ValueError(
                    f"network {i} hands on {made} features, network {i + 1} takes "
                    f"{taken}; give it an opening from {made} features"
                )

    @property
    def n_params(self) -> int:
        """Number of parameters of all networks."""
        return sum(net.n_params for net in self.networks)

    @property
    def n_outputs(self) -> int:
        """Number of features that come out."""
        return self.networks[-1].n_outputs

    def init(self, seed: int = 7, dtype: Any = float) -> tuple[Params, ...]:
        """Draw initial parameters, the same on every rank; see `Network.init`."""
        integer("seed", seed, 0)
        return tuple(
            net.draw(np.random.default_rng((seed, i)), dtype=dtype)
            for i, net in enumerate(self.networks)
        )


def _in_turn(networks: Any) -> tuple[Any, ...]:
    """Tuple of a sequence, or what to give."""
    if isinstance(networks, Iterable):
        return tuple(networks)
    one = isinstance(networks, Network)
    raise TypeError(
        "Chain takes a sequence of networks, got "
        f"{'one Network' if one else repr(networks)}; try "
        f"{'Chain([net])' if one else 'Chain([a, b])'}"
    )


def networks_of(net: Network | Chain) -> tuple[Network, ...]:
    """Stages: those of a chain, or the only one."""
    if isinstance(net, Chain):
        return net.networks
    check_network(net)
    return (net,)

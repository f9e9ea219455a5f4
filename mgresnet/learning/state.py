"""All that a training run needs to go on, after any step."""

from collections.abc import Callable
from typing import Any, NamedTuple

from mgresnet.chain import Chain, networks_of
from mgresnet.learning.points import Points, cut
from mgresnet.network import Network, Params
from mgresnet.parallel.describe import texts_of
from mgresnet.solve.slab import Slab, span
from mgresnet.solve.stages import own_parts


class TrainState(NamedTuple):
    """A training run between two steps; nothing in it is ever modified.

    Together with the batches still to come it decides all that follows, to the last
    bit.  There are no streams of random numbers in it: whatever is drawn follows from a
    seed and the number of an epoch, a step or a sample.

    Parameters
    ----------
    step : int
        Steps done.
    params : Params, or a tuple of them
        What this rank owns.
    optimiser : Any
        State of the optimiser.
    memory : Any
        Memory of the oracle, as the plans for the next gradient; of this data rank.
    ranks : int
        Number of ranks that the plans are for.
    depth : tuple of int
        Layers of every network.
    layers : tuple of range
        Those of this rank.
    network : dict
        What the network is, by name; as far as texts can tell.
    """

    step: int
    params: Any
    optimiser: Any
    memory: Any
    ranks: int
    depth: tuple[int, ...]
    layers: tuple[range, ...]
    network: dict[str, str]

    def __repr__(self) -> str:
        names = (
            f"{span(own)} of {n}"
            for own, n in zip(self.layers, self.depth, strict=True)
        )
        return f"TrainState after {self.step} step(s), layers {', '.join(names)}"


def own_state(net: Network | Chain, slabs: list[Slab], state: Any) -> TrainState:
    """What this rank owns of a state of a whole network, or the rank's own state.

    Raises
    ------
    TypeError
        If it is no state.
    ValueError
        If it is one of another network, or of another part of it.
    """
    if not isinstance(state, TrainState):
        raise TypeError(
            f"state is a {type(state).__name__}, needed a TrainState: `state` of a "
            "record of train, or what load_checkpoint returns"
        )
    depth = tuple(one.depth for one in networks_of(net))
    layers = tuple(slab.layers for slab in slabs)
    if state.depth != depth or state.layers not in (layers, tuple(map(range, depth))):
        raise ValueError(
            f"state is a {state!r}, this rank has {_spans(layers)} of "
            f"{', '.join(map(str, depth))}; give a state of the whole network, or save "
            "a checkpoint, which can be loaded on any number of ranks"
        )
    check_same_network(net, state.network)

    def own(part: Any) -> Any:
        if isinstance(part, Points):
            i = part.stage
            return cut(part, state.layers[i], layers[i])
        return own_parts(net, tuple(slabs), part)

    params, optimiser, memory = (
        map_trees(own, part, len(depth) if isinstance(net, Chain) else None)
        for part in (state.params, state.optimiser, state.memory)
    )
    kept = {"params": params, "optimiser": optimiser, "memory": memory}
    return state._replace(layers=layers, **kept)


def texts_about(net: Network | Chain) -> dict[str, str]:
    """What a network is: names and settings of its parts, without their arrays."""
    return dict(texts_of("network", net))


def difference(one: Network | Chain, other: Network | Chain) -> str:
    """First thing in which two networks differ."""
    texts, others = texts_about(one), texts_about(other)
    for name in {**texts, **others}:
        pair = texts.get(name, "absent"), others.get(name, "absent")
        if pair[0] != pair[1]:
            return f"{name} is {pair[0]}, not {pair[1]}"
    return f"{one!r}, not {other!r}"


def check_same_network(net: Network | Chain, network: dict[str, str]) -> None:
    """Refuse a state of another network.

    Raises
    ------
    ValueError
        The message names the first difference.
    """
    here = texts_about(net)
    for name in {**network, **here}:
        was, now = network.get(name, "absent"), here.get(name, "absent")
        if was != now:
            raise ValueError(
                f"{name} was {was} where the state comes from, and is {now} here; give "
                "the network of that training"
            )


def kind_of(value: Any) -> Any:
    """Names of the records that a state of an optimiser, or a memory, is made of."""
    if hasattr(value, "_fields") and not isinstance(value, Params):
        return type(value).__name__
    if type(value) is tuple:
        kinds = tuple(map(kind_of, value))
        return kinds if any(kinds) else None
    return None


def map_trees(function: Callable[[Any], Any], value: Any, stages: int | None) -> Any:
    """Apply a function to all trees and `Points` within nested tuples and lists.

    Parameters
    ----------
    function : callable
    value : Any
        What is neither a tree nor a tuple or list stays as it is.
    stages : int, or None
        Length of a tuple of Params that is a tree, for a chain; None for a network.
    """
    if is_tree(value, stages) or isinstance(value, Points):
        return function(value)
    if not isinstance(value, tuple | list):
        return value
    return like(value, [map_trees(function, part, stages) for part in value])


def like(value: Any, parts: list[Any]) -> Any:
    """A tuple, list or NamedTuple as `value` is one, of other parts."""
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)


def is_tree(value: Any, stages: int | None) -> bool:
    """Whether a value is Params, or a tuple of them for every stage of a chain."""
    if stages is None:
        return isinstance(value, Params)
    of_stages = type(value) is tuple and len(value) == stages
    return of_stages and all(isinstance(part, Params) for part in value)


def _spans(layers: tuple[range, ...]) -> str:
    return "layers " + ", ".join(map(span, layers))

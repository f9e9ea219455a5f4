"""Solutions that are asked for: of this network and slab, and of one another."""

import zlib
from typing import Any

import numpy as np

from mgresnet.arrays.checks import Sizes, floats, provides
from mgresnet.network import Network, Params, check_network
from mgresnet.parallel.describe import texts_of
from mgresnet.solve.slab import span
from mgresnet.solve.solution import Solution, Trajectory

KNOWN = {"forward": "layers", "adjoint": "forcing"}  # what only this solve knows


def check_solution(
    name: str, solution: Any, net: Network, params: Params, slab: range | None = None
) -> None:
    """Refuse what is no solution, or one of another network, slab or dtype."""
    check_network(net)
    _check_layers(name, solution, net, slab)
    _check_net(name, solution, net)
    _check_states(name, solution, net, net.own(params, solution.slab).body.dtype)


def _check_layers(name: str, solution: Any, net: Network, slab: range | None) -> None:
    """Refuse what is no solution, or one of another network or slab."""
    maker, other = f"solve_{name}", {"forward": "adjoint", "adjoint": "forward"}[name]
    provides(name, solution, ("states", "kept", "slab"), f"what {maker} returns")
    if isinstance(solution, Solution) and getattr(solution, KNOWN[name]) is None:
        raise TypeError(
            f"{name} is a Solution of solve_{other}, needed one of {maker}; the order "
            "is forward, adjoint"
        )
    provides(f"{name}.states", solution.states, ("shape", "dtype"), "an array")
    own = solution.slab
    if own.stop > net.depth or slab not in (own, None):
        needed = f"this rank has {span(slab or range(net.depth))}"
        raise ValueError(
            f"{name} holds layers {span(own)}, {needed}; use one network, one "
            "communicator and one coarsening for both solves"
        )


def _check_net(name: str, solution: Any, net: Network) -> None:
    """Refuse a solution of another network; one that was pickled has a copy of it."""
    known = getattr(solution, "net", None)
    if known in (None, net):
        return
    was, now = (dict(texts_of("net", each)) for each in (known, net))
    for part in {**was, **now}:
        if was.get(part) != now.get(part):
            raise ValueError(
                f"{name} is of another network: {part} was {was.get(part)}, now it is "
                f"{now.get(part)}; solve forward with the network that is given here"
            )


def checksum(solution: Trajectory) -> int:
    """Short name of the last state of a solution, here."""
    return zlib.crc32(np.ascontiguousarray(solution.states[-1]).data)


def _check_states(name: str, solution: Any, net: Network, dtype: Any) -> None:
    """Refuse states of another dtype or shape."""
    shape: Sizes = (len(solution.kept), "batch", *net.layer.state_shape)
    floats(f"{name}.states", solution.states, shape, dtype)


def check_solutions(
    forward: Any, adjoint: Any, net: Network, params: Params, slab: range | None = None
) -> None:
    """Refuse two solutions that do not belong together, either."""
    check_solution("forward", forward, net, params, slab)
    _check_layers("adjoint", adjoint, net, slab)
    _check_states("adjoint", adjoint, net, forward.states.dtype)
    if forward.slab != adjoint.slab or forward.final.shape != adjoint.final.shape:
        raise ValueError(
            f"forward states have shape {forward.states.shape}, adjoints "
            f"{adjoint.states.shape}; both must come from one batch and one rank"
        )
    if getattr(adjoint, "along", None) not in (None, checksum(forward)):
        raise ValueError(
            "adjoint was solved along another forward solution; give solve_adjoint and "
            "this call the same one"
        )

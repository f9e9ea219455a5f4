"""A layer whose marches are observed, whoever does them, or nobody."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from mgresnet.arrays.layout import Array
from mgresnet.layers.protocol import Layer
from mgresnet.layers.steps import Steps

# Arrays behind the starts that the marches of a `Layer` take, and some of those fill.
ARRAYS = {
    "march": ("u", "forcing", "tape"),
    "march_back": ("w", "forcing", "states", "tape", "d_theta", "d_inputs"),
    "retrace": ("w", "forcing", "points", "ends", "d_theta", "d_inputs"),
}
FILLED = {"march": (0,), "march_back": (0, 4, 5), "retrace": (0, 3, 4, 5)}


class March(NamedTuple):
    """Consecutive steps that a rank marches through, or prepares, in one go."""

    kind: str  # what tells it from marches whose steps cost something else
    steps: int
    samples: int

    @property
    def level(self) -> str:
        """Fine or coarse."""
        return self.kind.partition(" ")[0]


Act = Callable[[March, Callable[[], None], list[Array]], None]


class Observed:
    """A layer whose marches are handed to somebody else.

    Parameters
    ----------
    layer : Layer
    act : callable
        ``act(march, run, outputs)``: `run` marches, and fills the outputs.
    """

    def __init__(self, layer: Layer, act: Act) -> None:
        self._layer, self._act = layer, act

    def __getattr__(self, name: str) -> Any:
        if name in ARRAYS:
            return partial(self._observe, name)
        return getattr(self._layer, name)

    def prepare(self, steps: Steps) -> Steps:
        """Prepare steps, as if that were a march of one sample; or leave it."""
        prepared: list[Steps] = []
        march = March(f"{_level(steps)} prepare", steps.n, 1)
        self._act(march, lambda: prepared.append(self._layer.prepare(steps)), [])
        return prepared[0] if prepared else steps

    def _observe(self, name: str, steps: Steps, starts: Array, *arrays: Array) -> None:
        march = March(_kind(name, steps, arrays), steps.n, starts.shape[-1])
        run = partial(getattr(self._layer, name), steps, starts, *arrays)
        self._act(march, run, [arrays[i] for i in FILLED[name]])


def _kind(name: str, steps: Steps, arrays: tuple[Array, ...]) -> str:
    """Level and name of a march, and which arrays are there; forcing costs nothing."""
    first = arrays[0]
    there = [n for n, a in zip(ARRAYS[name], arrays, strict=True) if a.size]
    if first.size and first.shape[0] * first.shape[1] == steps.n:
        there.insert(0, "every")
    return " ".join((_level(steps), name, *(n for n in there if n != "forcing")))


def _level(steps: Steps) -> str:
    return "coarse" if steps.span > 1 else "fine"


def pretend(march: March, number: float, outputs: list[Array]) -> None:
    """Fill outputs with a number, but for states that only the next march reads."""
    between = march.level == "fine" and " every " in march.kind
    for i, array in enumerate(outputs):
        (array[:, -1:] if between and i == 0 else array)[:] = number

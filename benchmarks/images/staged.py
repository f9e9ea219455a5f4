"""A network of images in three stages, and ways to propagate through it."""

from typing import Any

import mgresnet as mg

SHAPE, CHANNELS, M = (3, 16, 16), (4, 8, 16), 4  # channels, height, width; an interval
OBJECTIVE = mg.SoftmaxCrossEntropy()
EXACT = mg.MGRITOptions.serial((M,))


def network(depth: int, channels: tuple[int, ...] = CHANNELS) -> mg.Chain:
    """Layers of two convolutions, weights from a spline over depth, in every stage."""
    form: dict[str, Any] = {"activation": "relu", "spline": 8, "final_time": 2.0}
    return mg.resnet(SHAPE, 4, channels=channels, depth=depth, **form)


def corrected(k: int, operator: str = "third_order") -> mg.MGRITOptions:
    """So many corrections."""
    return mg.MGRITOptions(
        (M,), max_iterations=k, tolerance=0.0, coarse_operator=operator
    )


def solver(method: str) -> mg.MGRITOptions:
    """Of a method: a number of corrections, or exact propagation in turns."""
    return EXACT if method == "exact" else corrected(int(method))

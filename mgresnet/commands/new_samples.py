"""How a run has scaled its samples, so that new ones are treated alike."""

from pathlib import Path
from typing import Any

import numpy as np

from mgresnet.arrays.files import read_json
from mgresnet.arrays.layout import Array
from mgresnet.chain import Chain, networks_of
from mgresnet.commands.folder import CONFIG
from mgresnet.commands.saved import read_table
from mgresnet.data.columns import read_named
from mgresnet.data.own_sequences import lengths_of, scaled_sequences
from mgresnet.data.scaling import Scale, Scales
from mgresnet.network import Network


def as_config(scales: Scales | None) -> dict[str, Any] | None:
    """What the configuration of a run says of its scales."""
    if scales is None:
        return None
    return {
        name: scale and scale.as_lists() for name, scale in scales._asdict().items()
    }


def scales_of(saved: Path) -> Scales | None:
    """Scales of the run in a folder, if it has any; a file of a network has none."""
    if not saved.is_dir() or not (saved / CONFIG).is_file():
        return None
    config = read_json(saved / CONFIG, "the options of the run; undo what was edited")
    known = config.get("scales")
    if known is None:
        return None
    return Scales(*(known[name] and Scale.read(known[name]) for name in Scales._fields))


def read_inputs(path: Path, net: Network | Chain, scales: Scales | None) -> Array:
    """Inputs of a file, as the network has learned from such.

    Sequences for a network with a mask get one: with the ``lengths`` of the file, or
    where there are none all steps count.

    Raises
    ------
    ValueError
        If they have other features than those that were scaled.
    """
    values = read_table("inputs", path)
    if scales is None:
        return values
    scale, first = scales.inputs, networks_of(net)[0]
    if values.shape[-1:] != scale.mean.shape:
        raise ValueError(
            f"inputs in {path} have shape {values.shape}, needed {len(scale.mean)} "
            "features in the last axis, those that the run has learned from, without "
            "targets"
        )
    if not getattr(first.layer, "masked", False):
        return scale.apply(values)
    found = read_named(path, ()) if path.suffix == ".npz" else {}
    lengths = lengths_of(path, found, values)
    if lengths is None:
        lengths = np.full(len(values), values.shape[1])
    return scaled_sequences(scale, values, lengths, first.depth)

"""New samples for a network, treated as those that a run has learned from."""

from pathlib import Path

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.commands.saved import read_table
from mgresnet.data.columns import read_named
from mgresnet.data.own_sequences import lengths_of, scaled_sequences
from mgresnet.data.scaling import Scale
from mgresnet.network import Network


def read_inputs(path: Path, net: Network, scale: Scale | None) -> Array:
    """Inputs of a file, as the network has learned from such.

    Sequences for a network with a mask get one: with the ``lengths`` of the file, or
    where there are none all steps count.

    Raises
    ------
    ValueError
        If they have other features than those that were scaled.
    """
    if scale is None or not getattr(net.layer, "masked", False):
        return read_table("inputs", path, scale)
    values = read_table("inputs", path)
    found = read_named(path, ()) if path.suffix == ".npz" else {}
    lengths = lengths_of(path, found, values)
    if lengths is None:
        lengths = np.full(len(values), values.shape[1])
    return scaled_sequences(scale, values, lengths, net.depth)

"""Reader of the idx format, in which MNIST and Fashion-MNIST are published.

Layout (big endian)::

    0  0  type  d | size_1 .. size_d, 4 bytes each | size_1 * .. * size_d values

Type 8 means unsigned bytes, the only one used by those sets. Files may be gzipped.
"""

import gzip
import math
import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mgresnet.data.compressed import PLENTY, read_at_most, unzipping

UNSIGNED_BYTE = 8
RELOAD = "download the file again"


def read_idx(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes, gzipped or plain.

    Whether to unzip is decided by the first two bytes, not by the name.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    array (size_1, .., size_d) of uint8
        A fresh, writable array.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not idx, not of bytes, too short, too long or damaged.
    """
    path = Path(path)
    name = repr(str(path))
    if not path.exists():
        raise FileNotFoundError(
            f"{name} does not exist; check the folder, or put the original idx file "
            "there under this name"
        )
    with unzipping(path) as stream:
        return _parse(stream, name)


def _parse(stream: BinaryIO | gzip.GzipFile, name: str) -> NDArray[np.uint8]:
    """Read header and values from an open stream; `name` is for messages."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[3] == 0:
        found = magic.hex(" ") or "nothing"
        raise ValueError(
            f"{name}: found {found} as first bytes, expected 00 00 08 and the number "
            f"of dimensions; this is no idx file, perhaps a saved web page; {RELOAD}"
        )
    if magic[2] != UNSIGNED_BYTE:
        raise ValueError(
            f"{name}: found values of idx type 0x{magic[2]:02x}, expected 0x08 "
            "(unsigned bytes); convert the values to bytes, or check the file name"
        )
    n_dims = magic[3]
    header = stream.read(4 * n_dims)
    if len(header) < 4 * n_dims:
        raise ValueError(
            f"{name}: found {len(header)} bytes of sizes, expected {4 * n_dims} for "
            f"{n_dims} dimensions; the file is cut short, {RELOAD}"
        )
    shape: tuple[int, ...] = struct.unpack(f">{n_dims}I", header)
    expected = math.prod(shape)
    if expected > PLENTY:
        raise ValueError(
            f"{name}: found a header of {expected} values, expected at most {PLENTY}; "
            f"it is damaged, {RELOAD}"
        )
    values = read_at_most(stream, expected + 1)
    if len(values) != expected:
        found = "more" if len(values) > expected else str(len(values))
        sizes = " x ".join(map(str, shape))
        raise ValueError(
            f"{name}: found {found} values, expected {expected} as the header says "
            f"({sizes}); header and content disagree, {RELOAD}"
        )
    return np.frombuffer(values, dtype=np.uint8).reshape(shape)

"""Files that may be compressed, read up to a size that their content can have.

A few bytes can stand for a thousand times as many, so that neither what a file claims
nor what comes out of it is taken for granted.
"""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

GZIP_MAGIC = b"\x1f\x8b"
CHUNK = 1 << 20
PLENTY = 1 << 30  # bytes that no file is refused for
RATIO = 100  # by which data of use may be compressed


@contextmanager
def unzipping(path: Path) -> Iterator[BinaryIO | gzip.GzipFile]:
    """Open a file, and unzip it if it begins as gzip files do, whatever its name.

    Raises
    ------
    ValueError
        If the gzip data are damaged, when they are read.
    """
    with path.open("rb") as raw:
        zipped = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        if not zipped:
            yield raw
            return
        try:
            with gzip.GzipFile(fileobj=raw, mode="rb") as unzipped:
                yield unzipped
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{str(path)!r}: found damaged gzip data ({reason}), expected a whole "
                "gzip file; download the file again"
            ) from error


def read_at_most(stream: BinaryIO | gzip.GzipFile, limit: int) -> bytearray:
    """Read up to `limit` bytes without trusting `limit` enough to allocate it.

    Asking for one byte more than wanted reaches the end of a gzip stream, where its
    checksum is compared.
    """
    values = bytearray()
    while len(values) < limit:
        chunk = stream.read(min(CHUNK, limit - len(values)))
        if not chunk:
            break
        values += chunk
    return values


def content_of(path: Path, most: int) -> bytearray:
    """Whole content of a file, unzipped.

    Raises
    ------
    ValueError
        If it is more than `most` bytes, or damaged.
    """
    with unzipping(path) as stream:
        content = read_at_most(stream, most + 1)
    if len(content) > most:
        raise ValueError(
            f"{str(path)!r}: found more than {most} bytes, expected at most these; "
            "check that this is the right file"
        )
    return content

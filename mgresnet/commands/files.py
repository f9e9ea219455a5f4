"""Output files that are whole or absent, also when a run is ended while it writes."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the path of a hidden file to write, which then takes the place of `path`.

    It has the suffix of `path`.  An exception removes it.
    """
    partial = path.with_name(f".partial-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: Any, indent: int = 2) -> None:
    """Write a readable JSON file."""
    text = json.dumps(content, indent=indent) + "\n"
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")

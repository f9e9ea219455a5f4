"""Code of the pages: README and docs."""

import contextlib
import io
import re
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def blocks(name, head="python"):
    """Blocks of code of a page, those with this word behind their first three ticks."""
    text = (ROOT / name).read_text()
    found = re.findall(r"^```(.*?)\n(.*?)^```", text, re.M | re.S)
    return [code for word, code in found if word == head]


def run(name, head="python", but=()):
    """Names that the blocks of a page define, but for those with one of some words."""
    names = {"__name__": "page"}
    with contextlib.redirect_stdout(io.StringIO()):
        for i, block in enumerate(blocks(name, head)):
            if not any(word in block for word in but):
                exec(compile(block, f"{name}, block {i}", "exec"), names)
    return SimpleNamespace(**names)

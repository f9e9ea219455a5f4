"""All code of the pages runs; every command line of the package is one."""

import re
import shlex

import pytest
from pages import PAGES, ROOT, blocks, run

from mgresnet.__main__ import COMMANDS, parser

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
SHOWN = "import torch", "MPI.COMM_WORLD, "  # needs what is not there: torch, ranks


def commands(name):
    """Command lines of a page, as lists of words behind ``mgresnet``."""
    text = "\n".join(blocks(name, "")).replace("\\\n", " ")
    for line in re.findall(rf"\bmgresnet ((?:{'|'.join(COMMANDS)})\b.*)", text):
        yield shlex.split(line, comments=True)


@pytest.mark.parametrize("name", [name for name in NAMES if blocks(name)])
def test_code_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(name, but=SHOWN)


@pytest.mark.parametrize("name", [name for name in NAMES if [*commands(name)]])
def test_command_lines_are_understood(name):
    for words in commands(name):
        if "--help" not in words:
            parser().parse_args(words)

"""The blocks of docs/auxiliary-variables.md."""

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[1] / "docs" / "auxiliary-variables.md"


@pytest.fixture(scope="module")
def page():
    names = {"__name__": "page"}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S):
        exec(block, names)
    return names


def test_the_page_s_training_has_defects_and_variables_of_all_samples(page):
    record, oracle = page["record"], page["oracle"]
    assert record.step == 11
    assert record.forward_residual > 0.0
    assert record.state.memory.met.all()
    kept = sum(points.states.nbytes for points in record.state.memory.variables)
    assert kept == oracle.bytes_kept == 200 * oracle.bytes_sent


def test_the_page_s_filter_keeps_an_eighth(page):
    whole = 1000 * 3 * np.prod(page["shape"]) * 8
    assert 8 * page["small"].bytes_kept == whole

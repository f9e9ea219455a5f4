"""The code of docs/sequences.md runs, and says what its words say."""

import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import mgresnet as mg

PAGE = (Path(__file__).parents[1] / "docs" / "sequences.md").read_text()


@cache
def page():
    names = {}
    for code in re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S):
        exec(compile(code, "sequences.md", "exec"), names)
    return SimpleNamespace(**names)


def test_two_corrections_find_the_gradient():
    p, exact = page(), mg.MGRITOptions.serial()
    way = {"objective": mg.SoftmaxCrossEntropy(), "forward": exact, "adjoint": exact}
    needed = mg.value_and_gradient(p.net, p.params, p.x, p.labels, **way)[1]
    error = np.linalg.norm(p.gradient.body - needed.body)
    assert error < 1e-4 * np.linalg.norm(needed.body)


def test_the_last_state_is_that_behind_the_own_end():
    p = page()
    serial = mg.solve_forward(p.reader, p.reader.init(seed=7), p.filled)
    for i, length in enumerate(p.lengths):
        own = serial.states[length, i]
        np.testing.assert_array_equal(serial.final[i], own)
        np.testing.assert_allclose(p.last[i], own, rtol=0, atol=1e-4)


def test_defaults_know_the_operator():
    assert mg.default_options(page().net).coarse_operator == "e2"
    assert mg.default_options(mg.Network(mg.GRU(2, 3), 64)).coarse_operator == "e2"

"""The code of docs/sequences-data.md runs, and says what its words say."""

import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import mgresnet as mg

PAGE = Path(__file__).parents[1] / "docs" / "sequences-data.md"
LOSS = mg.SoftmaxCrossEntropy()


@cache
def page():
    """Names that the code blocks of the page define."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    names = {"__name__": "page"}
    for i, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {i}", "exec"), names)
    return SimpleNamespace(**names)


def test_padding_does_not_change_the_numbers():
    p = page()
    params, longer = p.net.init(seed=7), mg.padded(p.sequences, steps=40)
    deep = mg.Network(p.net.layer, 40, 40.0, head=p.net.head, control=p.net.control)
    value, gradient, _ = mg.value_and_gradient(
        p.net, params, p.inputs, p.signs, objective=LOSS
    )
    other, again, _ = mg.value_and_gradient(
        deep, params, longer, p.signs, objective=LOSS
    )
    np.testing.assert_allclose(other, value, rtol=1e-15)
    np.testing.assert_allclose(again.body, gradient.body, rtol=0, atol=1e-15)


def test_states_are_those_of_every_sequence_alone():
    p = page()
    params = p.net.init(seed=7)
    together = mg.predict(p.net, params, p.inputs)
    for i, sequence in enumerate(p.sequences):
        n = len(sequence)
        net = mg.Network(p.net.layer, n, n, head=p.net.head, control=p.net.control)
        alone = mg.predict(net, params, mg.padded([sequence]))
        np.testing.assert_allclose(together[i], alone[0], rtol=0, atol=1e-14)


def test_one_correction_is_near_the_exact_gradient():
    p = page()
    _, exact, _ = mg.value_and_gradient(
        p.net, p.net.init(seed=7), p.inputs, p.signs, objective=LOSS
    )
    error = np.linalg.norm(p.gradient.body - exact.body) / np.linalg.norm(exact.body)
    assert error < 0.05


def test_shapes_are_those_in_the_comments():
    p = page()
    assert p.inputs.shape == (6, 32, 4)
    assert p.outputs.shape == (6, 32, 2)
    assert p.seen.shape == (12, 128, 16)
    assert p.record.step == 4

"""JSON is strict wherever it is written, and its numbers come back."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_command_line import QUICK

from mgresnet.__main__ import main
from mgresnet.arrays.files import as_json, from_json, read_json, write_json
from mgresnet.commands.history import read_history
from mgresnet.perfmodel.cost import Rates

ENTRIES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
TREES = st.recursive(
    ENTRIES, lambda t: st.lists(t) | st.dictionaries(st.text(), t), max_leaves=20
)
WORDS = ("NaN", "Infinity", "-Infinity")


def strict(text):
    """JSON as strict readers take it."""

    def refuse(name):
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


def numbers(tree):
    """Words that stand for numbers are these."""
    if isinstance(tree, dict):
        return {key: numbers(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [numbers(value) for value in tree]
    return float(tree) if tree in WORDS else tree


@given(TREES)
def test_whatever_is_written_is_json_and_comes_back(tree):
    text = as_json(tree)
    strict(text)
    assert repr(from_json(text)) == repr(numbers(tree))


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "", b"\xff", "1" * 10_000])
def test_what_is_no_json_is_refused_with_the_name_of_the_file(text, tmp_path):
    path = tmp_path / "some.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"some.json is no JSON .*; needed a list"):
        read_json(path, "a list")


def test_a_run_whose_score_is_infinite_writes_json_and_reads_it(tmp_path):
    """R2 of one sample is minus infinity."""
    sizes = ["--n-train", "4", "--n-validation", "1", "--batch-size", "4"]
    folder = tmp_path / "run"
    assert main(["train", "sine", *QUICK, *sizes, "--output", str(folder)]) == 0
    (row,) = strict((folder / "epochs.json").read_text())[-1:]
    assert row["validation"]["score"] == "-Infinity"
    history = read_history(folder, 1)
    assert history.rows[-1].validation.score == -math.inf


GOOD = [{}, {"relax 0": [[1], [[[1, 2], [0.5, 1.0]]]]}, {"step": [[0, 1], [0, 1]]}]


@pytest.mark.parametrize(
    ("place", "wrong", "named"),
    [
        ((1, "relax 0"), [[1], [[[1, 2], [0.5, "fast"]]]], "relax 0"),
        ((1, "relax 0"), [[1], [[[2, 1], [0.5, 1.0]]]], "relax 0"),
        ((1, "relax 0"), [[1, 2], [[[1, 2], [0.5, 1.0]]]], "relax 0"),
        ((2, "step"), [[0, 1], [0, math.nan]], "step"),
        ((2, "step"), [[0], [1]], "step"),
    ],
)
def test_costs_that_are_none_are_named(place, wrong, named):
    found = json.loads(json.dumps([*GOOD, 0.0, 0.0]))
    Rates.read(found)
    found[place[0]][place[1]] = wrong
    with pytest.raises((ValueError, TypeError), match=named):
        Rates.read(found)


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ({"latency": 1e-6, "bandwidth": 1e9, "source": "x"}, "lacks name"),
        ({"name": "a", "latency": "fast", "bandwidth": 1e9, "source": "x"}, "latency"),
        ({"name": "a", "latency": -1.0, "bandwidth": 1e9, "source": "x"}, "latency"),
        ([], "needed an object"),
    ],
)
def test_a_machine_that_is_none_is_named(machine, said, tmp_path, capsys):
    path = tmp_path / "machine.json"
    write_json(path, machine)
    assert main(["model", "--machine", str(path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "machine.json" in error
    assert len(error.splitlines()) == 1

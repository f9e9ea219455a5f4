"""The blocks of docs/checkpoints.md."""

from itertools import islice

import numpy as np
import pytest
from fakes import run_ranks
from pages import run
from test_oracles import bits

import mgresnet as mg


@pytest.fixture(scope="module")
def page():
    return run("docs/checkpoints.md")


def test_a_run_goes_on_from_a_state(page):
    found, needed = page.again, page.records[8:]
    assert [record.value for record in found] == [record.value for record in needed]
    assert bits(found[-1].state) == bits(needed[-1].state)


def test_a_folder_goes_on_where_it_ended_on_other_ranks(page, tmp_path):
    values = [record.value for record in page.records]

    def first(comm):
        records = islice(page.learn(tmp_path, comm), 13)
        return [record.value for record in records]

    def second(comm):
        *_, last = records = list(page.learn(tmp_path, comm))
        rest = {"options": page.options, "comm": comm}
        whole = mg.whole_params(page.net, last.params, **rest)
        return [record.value for record in records], whole

    assert run_ranks(first, 2) == [values[:13]] * 2
    for found, whole in run_ranks(second, 3):
        assert found == values[10:]
        np.testing.assert_array_equal(whole.body, page.records[-1].params.body)

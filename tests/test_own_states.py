"""What people's own optimisers and oracles remember goes on, on any number of ranks."""

import json
from typing import Any, NamedTuple

import numpy as np
import pytest
from fakes import run_ranks
from test_oracles import HOW
from test_resume import numbers

import mgresnet as mg
from mgresnet.arrays.packed import pack, unpack
from mgresnet.learning.checkpoint import RECORDS

NET = mg.Network(mg.Dense(3), 32, 2.0)  # without maps, and slabs of 2 ranks are equal
INPUTS = np.random.default_rng(5).standard_normal((24, 3))
DATA = INPUTS, INPUTS[:, ::-1]


def combine(gradient, past):
    """Gradients of all steps, the older the less."""
    return gradient._replace(body=gradient.body + 0.9 * past.body)


def start(params):
    """A list in which a rank's layers are."""
    return [params._replace(body=0.0 * params.body)]


class Smoothed(NamedTuple):
    """Oracle that remembers the gradients before."""

    inner: Any

    @property
    def options(self):
        return self.inner.options

    def init(self, params):
        return start(params)

    def check(self, params, batch):
        return self.inner.check(params, batch)

    def evaluate(self, params, batch, memory):
        found = self.inner.evaluate(params, batch, ())
        mean = combine(found.gradient, memory[0])
        return found._replace(gradient=mean, memory=[mean])

    def value(self, params, batch, memory):
        return self.inner.value(params, batch, ())


def update(gradient, state, params, *, space=None, value=None):
    """Step along this gradient and the one before."""
    step = combine(gradient, state[0])
    return step._replace(body=-0.1 * step.body), [gradient]


def grid_of(comm, data):
    return mg.ProcessGrid.split(comm, layer=comm.size // data, data=data)


def train(grid, state=None):
    """Records of a run, or of what comes after a state."""
    ways = {"forward": HOW, "adjoint": HOW, "comm": grid.layer}
    oracle = mg.layer_parallel(NET, mg.LeastSquares(), **ways)
    if grid.data.size > 1:
        oracle = mg.over_data(oracle, grid.data)
    given = {"oracle": Smoothed(oracle), "optimiser": mg.Transform(start, update)}
    done = 0 if state is None else state.step
    batches = mg.batches(DATA, 8, epochs=2, start=done)
    return list(mg.train(NET, NET.init(3), batches, **given, comm=grid, state=state))


@pytest.mark.parametrize("data", [1, 2])
@pytest.mark.parametrize("before", [1, 2, 3])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_rank_has_its_own_layers_from_a_checkpoint(before, after, data, tmp_path):
    def first(comm):
        grid = grid_of(comm, data)
        records = train(grid)
        mg.save_checkpoint(tmp_path, records[2].state, grid)
        return numbers(records)

    def second(comm):
        grid = grid_of(comm, data)
        state = mg.load_checkpoint(tmp_path, NET, options=HOW, comm=grid)
        return numbers(train(grid, state))

    whole = run_ranks(first, before * data)[0]
    assert run_ranks(second, after * data) == [whole[3:]] * (after * data)


@pytest.mark.parametrize("size", [2, 3])
def test_a_rank_has_its_own_layers_from_a_whole_state(size):
    whole = train(grid_of(mg.SerialComm(), 1))

    def rest(comm):
        return numbers(train(grid_of(comm, 1), whole[2].state))

    assert run_ranks(rest, size) == [numbers(whole[3:])] * size


def test_a_state_is_saved_by_the_ranks_that_share_it(tmp_path):
    def last(comm):
        return train(grid_of(comm, 1))[-1].state

    (whole,), (part, _) = run_ranks(last, 1), run_ranks(last, 2)
    with pytest.raises(ValueError, match=r"layers 0\.\.31 of 32, comm has 2 rank"):
        run_ranks(lambda comm: mg.save_checkpoint(tmp_path, whole, comm), 2)
    with pytest.raises(ValueError, match=r"0\.\.15 of 32, comm has 1 rank.* give the"):
        mg.save_checkpoint(tmp_path, part)
    assert not list(tmp_path.iterdir())


class AdamState(NamedTuple):
    """Not that of the package."""

    slow: float


def through_json(value):
    arrays = {}
    packed = json.loads(json.dumps(pack(value, arrays)))
    return unpack(packed, arrays, RECORDS)


def test_records_of_the_same_name_with_other_fields_come_back():
    assert through_json(AdamState(0.1)) == AdamState(0.1)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int32, np.bool_, np.str_])
def test_scalars_of_numpy_stay_what_they_are(kind):
    """A float64 of NumPy makes float32 arrays wider, a float does not."""
    found = through_json(kind(1))
    assert type(found) is kind
    assert found == kind(1)

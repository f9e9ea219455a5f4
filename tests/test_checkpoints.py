"""Checkpoints: whole or absent, for any number of ranks, and bitwise what was saved."""

import json
import os
from collections import Counter
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from fakes import run_ranks
from test_oracles import HOW, NETS, bits
from test_resume import RUNS, each_run, numbers, train, whole_run

import mgresnet as mg
from mgresnet.arrays.packed import pack, unpack
from mgresnet.learning.manifest import steps_saved


@cache
def serial_run(name):
    return whole_run(name)


def net_of(name):
    return NETS[RUNS[name][0]]


def load(name, folder, comm=None, **given):
    return mg.load_checkpoint(folder, net_of(name), options=HOW, comm=comm, **given)


def save(name, folder, size, steps=(3,)):
    """Let some ranks train, and save what they have after some steps."""

    def work(comm):
        for record in whole_run(name, comm):
            if record.state.step in steps:
                mg.save_checkpoint(folder, record.state, comm)

    run_ranks(work, size)


def go_on(name, folder, comm):
    """Records of the rest of a run."""
    state = load(name, folder, comm)
    assert state.step == 3
    found = train(name, state=state, comm=comm)
    needed = serial_run(name)
    own = mg.local_slab(net_of(name), needed[-1].params, options=HOW, comm=comm)
    assert bits(found[-1].params) == bits(own)
    return numbers(found) == numbers(needed[3:])


# --- any number of ranks ---------------------------------------------------


@each_run
@pytest.mark.parametrize("before", [1, 2, 3])
def test_a_run_goes_on_with_any_number_of_ranks(name, before, tmp_path):
    save(name, tmp_path, before)
    for after in (1, 2, 3):
        assert run_ranks(partial(go_on, name, tmp_path), after) == [True] * after


def test_ranks_may_divide_the_layers_in_another_way(tmp_path):
    """Slabs end where the coarsest intervals of the new options do."""
    name, other = "free", mg.MGRITOptions((9,))
    save(name, tmp_path, 3)

    def work(comm):
        state = mg.load_checkpoint(tmp_path, net_of(name), options=other, comm=comm)
        whole = serial_run(name)[2].state
        for part, desired in (
            (state.params, whole.params),
            (state.optimiser[0].trace, whole.optimiser[0].trace),
        ):
            own = mg.local_slab(net_of(name), desired, options=other, comm=comm)
            assert bits(part) == bits(own)
        return state.layers

    assert run_ranks(work, 2) == [(range(18),), (range(18, 37),)]


def test_data_ranks_have_memories_of_their_own(tmp_path):
    name = "free, controlled"

    def first(comm):
        grid = mg.ProcessGrid.split(comm, layer=2, data=2)
        records = whole_run(name, grid)
        mg.save_checkpoint(tmp_path, records[2].state, grid)
        return numbers(records), records[2].state.memory

    def second(comm):
        grid = mg.ProcessGrid.split(comm, layer=3, data=2)
        state = load(name, tmp_path, grid)
        return numbers(train(name, state=state, comm=grid)), state.memory

    before, after = run_ranks(first, 4), run_ranks(second, 6)
    assert all(found == before[0][0][3:] for found, _ in after)
    assert [m for _, m in after] == [m for i in (0, 2) for m in [before[i][1]] * 3]
    assert before[0][1] != before[2][1]
    with pytest.raises(ValueError, match=r"on 2 data rank\(s\), the network .* on 1"):
        load(name, tmp_path)


class Own(NamedTuple):
    """State of somebody's optimiser."""

    seen: list[float]
    inner: tuple[mg.Params, np.ndarray]
    count: np.int64


def test_states_of_own_optimisers_come_back(tmp_path):
    name = "chain, controlled"
    state = serial_run(name)[1].state
    own = Own([0.1, float("inf")], (state.params, np.arange(3)), np.int64(4))
    mg.save_checkpoint(tmp_path, state._replace(optimiser=own))
    found = load(name, tmp_path)
    assert type(found.optimiser).__name__ == "Own"
    assert found.optimiser.seen == own.seen
    assert bits(found.optimiser.inner) == bits(own.inner)
    assert bits(found.params) == bits(state.params)
    assert found.memory == state.memory
    assert type(found.memory) is type(state.memory)


@pytest.mark.parametrize("value", [{1: 2}, lambda: 0, np.array([None])])
def test_what_no_file_can_hold_is_named(value, tmp_path):
    state = serial_run("free")[1].state
    with pytest.raises(TypeError, match=r"state\.1\.0 is a .*, which no file can hold"):
        mg.save_checkpoint(tmp_path, state._replace(optimiser=(value, 1)))
    assert not list(tmp_path.iterdir())


def test_numbers_come_back_to_the_bit():
    values = (0.1, -0.0, 5e-324, float("nan"), 2**80, True, None, "ä", [1, ()])
    arrays = {}
    found = unpack(json.loads(json.dumps(pack(values, arrays))), arrays, {})
    assert repr(found) == repr(values)


def test_a_record_that_has_come_to_have_more_has_the_defaults():
    class Old(NamedTuple):
        a: int

    class New(NamedTuple):
        a: int
        b: float = 0.5

    class Other(NamedTuple):
        b: float
        a: int = 0

    packed = json.loads(json.dumps(pack(Old(3), {})))
    assert unpack(packed, {}, {"Old": New}) == New(3)
    assert type(unpack(packed, {}, {"Old": New})) is New
    found = unpack(packed, {}, {"Old": Other})
    assert found._fields == ("a",)
    assert found == (3,)


# --- one after the other ---------------------------------------------------


def test_the_last_ones_are_kept(tmp_path):
    for record in serial_run("free"):
        path = mg.save_checkpoint(tmp_path, record.state, keep=3)
    assert path == tmp_path / "step-00000006.json"
    assert steps_saved(tmp_path) == [4, 5, 6]
    assert Counter(p.suffix for p in tmp_path.iterdir()) == {".json": 3, ".npz": 3}
    for step in (4, 5, 6):
        state = serial_run("free")[step - 1].state
        assert bits(load("free", tmp_path, step=step)) == bits(state)
    with pytest.raises(
        FileNotFoundError, match=r"of step 3 in .*, there are .* 4, 5, 6"
    ):
        load("free", tmp_path, step=3)
    with pytest.raises(
        ValueError, match=r"a checkpoint of step 6, this state is of .* 2"
    ):
        mg.save_checkpoint(tmp_path, serial_run("free")[1].state)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"checkpoint": {}}'])
def test_a_damaged_manifest_is_no_reason_not_to_save(text, tmp_path):
    one, other = (serial_run("free")[k].state for k in (1, 2))
    mg.save_checkpoint(tmp_path, one).write_text(text)
    mg.save_checkpoint(tmp_path, other)
    assert bits(load("free", tmp_path)) == bits(other)
    assert Counter(p.suffix for p in tmp_path.iterdir()) == {".json": 2, ".npz": 2}


def test_a_step_may_be_saved_again(tmp_path):
    one, other = (
        serial_run("free")[2].state,
        serial_run("free")[3].state._replace(step=3),
    )
    mg.save_checkpoint(tmp_path, one)
    mg.save_checkpoint(tmp_path, other)
    assert bits(load("free", tmp_path)) == bits(other)
    assert len(list(tmp_path.iterdir())) == 2


# --- faults ----------------------------------------------------------------


class Faults:
    """Calls of the system that write, counted; one of them fails."""

    def __init__(self, monkeypatch, fatal=None):
        self.n, self.fatal = 0, fatal
        opened = Path.open

        def opens(path, mode="r", *rest, **others):
            file = opened(path, mode, *rest, **others)
            return Watched(file, self) if "w" in mode else file

        monkeypatch.setattr(Path, "open", opens)
        for name in ("fsync", "replace"):
            monkeypatch.setattr(os, name, self.counted(getattr(os, name)))

    def counted(self, function):
        def call(*given):
            self.count()
            return function(*given)

        return call

    def count(self):
        self.n += 1
        if self.n - 1 == self.fatal:
            raise OSError(28, "No space left on device")


class Watched:
    """An open file whose writes are counted."""

    def __init__(self, file, faults):
        self._file, self._faults = file, faults

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def write(self, data):
        self._faults.count()
        return self._file.write(data)


def test_a_fault_at_any_write_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    name = "spline, controlled"
    before, after = (serial_run(name)[k].state for k in (1, 2))
    mg.save_checkpoint(tmp_path, before)
    with monkeypatch.context() as patch:
        counted = Faults(patch)
        mg.save_checkpoint(tmp_path / "counted", after)
    assert counted.n > 30
    for i in range(counted.n):
        with monkeypatch.context() as patch:
            Faults(patch, i)
            with pytest.raises(OSError, match="No space left"):
                mg.save_checkpoint(tmp_path, after)
        if steps_saved(tmp_path) == [2, 3]:  # its name alone may be lost with power
            assert i == counted.n - 1
            assert bits(load(name, tmp_path)) == bits(after)
        assert bits(load(name, tmp_path, step=2)) == bits(before)
    mg.save_checkpoint(tmp_path, after)
    assert bits(load(name, tmp_path)) == bits(after)
    assert Counter(p.suffix for p in tmp_path.glob("*.*"))[".npz"] == 2


@pytest.mark.parametrize("odd", [0, 1])
def test_a_fault_on_one_rank_is_an_error_on_all(odd, tmp_path):
    """Nobody waits, and no file is left."""
    name = "free"

    def work(comm):
        records = whole_run(name, comm)
        mg.save_checkpoint(tmp_path, records[0].state, comm)
        state = records[1].state
        if comm.rank == odd:
            state = state._replace(optimiser=object())
        with pytest.raises(
            (ValueError, TypeError), match=r"no file can hold|some ranks"
        ):
            mg.save_checkpoint(tmp_path, state, comm)

    run_ranks(work, 2)
    assert steps_saved(tmp_path) == [1]
    assert Counter(p.suffix for p in tmp_path.iterdir()) == {".json": 1, ".npz": 2}
    assert run_ranks(lambda comm: load(name, tmp_path, comm).step, 3) == [1] * 3


def damaged(path):
    """Contents of a file that is cut or has a wrong bit, many times."""
    content = path.read_bytes()
    rng = np.random.default_rng(len(content))
    for n in {0, 1, len(content) - 1, *rng.integers(0, len(content), 30).tolist()}:
        yield content[:n]
    for bit in rng.integers(0, 8 * len(content), 60).tolist():
        wrong = bytearray(content)
        wrong[bit // 8] ^= 1 << bit % 8
        yield bytes(wrong)


def says_the_same(content, whole):
    """Whether two texts are the same JSON."""
    try:
        return json.loads(content) == json.loads(whole)
    except ValueError:
        return False


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_damaged_files_are_refused_and_the_one_before_loads(suffix, tmp_path):
    for record in serial_run("free")[1:3]:
        mg.save_checkpoint(tmp_path, record.state)
    (path,) = tmp_path.glob(f"step-00000003*{suffix}")
    whole = path.read_bytes()
    for content in damaged(path):
        path.write_bytes(content)
        if suffix == ".json" and says_the_same(content, whole):  # other white space
            assert bits(load("free", tmp_path)) == bits(serial_run("free")[2].state)
            continue
        with pytest.raises(ValueError, match=r"before, step=2$") as caught:
            load("free", tmp_path)
        assert path.name in str(caught.value)
        assert load("free", tmp_path, step=2).step == 2
    path.write_bytes(whole)
    assert load("free", tmp_path).step == 3


def test_a_damaged_file_of_one_rank_is_an_error_on_all(tmp_path):
    save("free", tmp_path, 3)
    (path,) = tmp_path.glob("*rank-2-0-*.npz")
    path.write_bytes(path.read_bytes()[:-1])

    def work(comm):
        with pytest.raises(ValueError, match=r"rank-2-0.*damaged"):
            load("free", tmp_path, comm)

    run_ranks(work, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda content: content | {"format": 2},
            r"has format 2, this version reads 1",
        ),
        (lambda content: content | {"depth": [38]}, r"of \[38\] layers .* has \[37\]"),
    ],
)
def test_other_manifests_are_refused(make, message, tmp_path, monkeypatch):
    path = mg.save_checkpoint(tmp_path, serial_run("free")[0].state)
    content = make(json.loads(path.read_text())["checkpoint"])
    from mgresnet.learning import manifest

    found = {"checksum": manifest._checksum(content), "checkpoint": content}
    path.write_text(json.dumps(found))
    with pytest.raises(ValueError, match=message):
        load("free", tmp_path)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    mg.save_checkpoint(tmp_path, serial_run("free")[0].state)
    wider = mg.Network(mg.Dense(6), 37, opening=mg.Linear(3, 6), head=mg.Linear(6, 2))
    with pytest.raises(ValueError, match=r"layer\.width was 5 .* is 6 here"):
        mg.load_checkpoint(tmp_path, wider)


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint in .*save_checkpoint"):
        load("free", tmp_path / "nowhere")


def test_only_states_are_saved(tmp_path):
    with pytest.raises(TypeError, match=r"state is a Record, needed a TrainState"):
        mg.save_checkpoint(tmp_path, serial_run("free")[0])
    assert not list(tmp_path.iterdir())


def test_later_ones_go_if_that_is_said(tmp_path):
    states = [record.state for record in serial_run("free")]
    for state in (states[1], states[4], states[5]):
        mg.save_checkpoint(tmp_path, state)
    mg.save_checkpoint(tmp_path, states[2], overwrite=True)
    assert steps_saved(tmp_path) == [3]
    assert bits(load("free", tmp_path)) == bits(states[2])
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_whole_parameters_come_back_from_all_ranks(name, size):
    net = NETS[name]
    params = net.init(3)

    def work(comm):
        own = mg.local_slab(net, params, options=HOW, comm=comm)
        return bits(mg.whole_params(net, own, options=HOW, comm=comm))

    assert run_ranks(work, size) == [bits(params)] * size

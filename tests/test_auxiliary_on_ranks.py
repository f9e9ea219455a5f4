"""Auxiliary variables on several ranks, in checkpoints, through filters; errors."""

import math
import re
import resource

import numpy as np
import pytest
from fakes import run_ranks
from test_auxiliary import BATCH, CUTS, NETS, SAMPLES, oracle_of, somewhere
from test_oracles import bits
from test_sequences import Driven

import mgresnet as mg
from mgresnet.learning.filters import filter_of
from mgresnet.learning.modules import beginnings
from mgresnet.studies.rank_costs import Ranks
from mgresnet.timeline.grid import TimeGrid

RNG = np.random.default_rng(5127)
DATA = RNG.standard_normal((SAMPLES, 3)), RNG.integers(0, 2, SAMPLES)
SIZES = {"free": (2, 4), "spline": (3,), "shared": (2,), "chain": (2,)}
MODULES = {"free": 4, "spline": 3, "shared": 2, "chain": 6}
each_size = pytest.mark.parametrize(
    ("name", "size"), [(name, size) for name in NETS for size in SIZES[name]]
)


class Halves:
    """Averages of neighbouring features, by hand: a filter of a user's own."""

    n_params = 0

    def __init__(self, n):
        self.n_inputs, self.n_outputs = n, n // 2

    def apply(self, theta, x):
        return 0.5 * (x[:, 0::2][:, : self.n_outputs] + x[:, 1::2])

    def pull_back(self, theta, x, seed):
        back = np.zeros_like(x)
        back[:, : 2 * self.n_outputs] = 0.5 * np.repeat(seed, 2, axis=1)
        return theta, back


def trained(name, comm=None, state=None, epochs=4, **options):
    given = {"modules": MODULES[name], "beta": mg.joined([1.0, 2.0], [4])} | options
    oracle = oracle_of(name, comm, **given)
    batches = mg.batches(DATA, 4, epochs, seed=3, start=getattr(state, "step", 0))
    how = {"oracle": oracle, "comm": comm, "state": state}
    net = NETS[name]
    return list(mg.train(net, net.init(7), batches, optimiser=mg.adam(0.02), **how))


def numbers(records):
    return [record._replace(seconds=None, state=None) for record in records]


@each_size
@pytest.mark.parametrize(
    "options",
    [{}, {"pace": 0.0, "sweeps": 2}, {"dtype": np.float32}],
    ids=["multipliers", "penalty", "float32"],
)
def test_any_number_of_ranks_has_the_same_bits(name, size, options):
    records = trained(name, **options)

    def work(comm):
        found = trained(name, comm, **options)
        own = mg.local_slab(NETS[name], records[-1].params, options=None, comm=comm)
        assert bits(found[-1].params) == bits(own)
        return numbers(found)

    assert run_ranks(work, size) == [numbers(records)] * size
    assert records[-1].forward_residual > 0.0


@each_size
def test_checkpoints_go_on_on_another_number_of_ranks(name, size, tmp_path):
    """With the variables of all samples, to the bit, there and back again."""
    records = trained(name)

    def first(comm):
        found = trained(name, comm, epochs=2)
        mg.save_checkpoint(tmp_path, found[-1].state, comm)

    run_ranks(first, size)
    state = mg.load_checkpoint(tmp_path, NETS[name])
    mg.save_checkpoint(tmp_path, state, overwrite=True)

    def rest(comm):
        state = mg.load_checkpoint(tmp_path, NETS[name], comm=comm)
        assert state.step == 6
        return numbers(trained(name, comm, state=state))

    assert run_ranks(rest, 1)[0] == numbers(records[6:])
    assert run_ranks(rest, size) == [numbers(records[6:])] * size


def test_a_state_of_one_rank_goes_on_on_several():
    records = trained("free")

    def work(comm):
        return numbers(trained("free", comm, state=records[4].state))

    assert run_ranks(work, 2) == [numbers(records[5:])] * 2


def test_states_are_never_written_again():
    seen = []
    oracle, net = oracle_of("free"), NETS["free"]
    batches = mg.batches(DATA, 4, 3, seed=3)
    records = []
    for record in mg.train(
        net, net.init(7), batches, optimiser=mg.adam(0.02), oracle=oracle
    ):
        records.append(record)
        seen.append(bits(record.state.memory))
    assert [bits(record.state.memory) for record in records] == seen


# --- filters and bytes -----------------------------------------------------

MAPS = {"whole": None, "pool": mg.Pool((2, 4, 4), 2), "own": Halves(32)}


@pytest.mark.parametrize("name", MAPS)
def test_filters_and_their_transposes(name):
    """Duality both ways; what was kept is kept again."""
    rng, one = np.random.default_rng(9), filter_of(MAPS[name], (2, 4, 4), np.float64)
    u, w = rng.standard_normal((2, 2, 4, 4, 5))
    z, y = rng.standard_normal((2, 5, one.size))
    dtype = np.dtype(np.float64)
    np.testing.assert_allclose(
        np.vdot(one.keep(u), z), np.vdot(u, one.seed(z, dtype)), rtol=1e-12
    )
    np.testing.assert_allclose(
        np.vdot(one.expand(z, dtype), w), np.vdot(z, one.gradient(w)), rtol=1e-12
    )
    np.testing.assert_allclose(one.keep(one.expand(y, dtype)), y, rtol=1e-13)
    assert one.bytes == 8 * one.size == (256 if name == "whole" else 8 * one.size)


@pytest.mark.parametrize("filtered", [False, True])
def test_gradients_through_filters_are_those_of_differences(filtered):
    """Of the oracle's own value; fourth order, with the variables held."""
    name, net = "free", NETS["free"]
    options = {"filters": Halves(4) if filtered else None}
    oracle, params = oracle_of(name, **options), net.init(3)
    memory, rng = somewhere(oracle, params), np.random.default_rng(8)
    found = oracle.evaluate(params, BATCH, memory)
    body = rng.standard_normal(params.body.shape)
    (points,) = memory.variables
    starts = np.zeros(points.states.shape)
    starts[:, :, 0] = rng.standard_normal(starts.shape[:2] + starts.shape[3:])

    def value(t):
        there = params._replace(body=params.body + t * body)
        moved = (points._replace(states=points.states + t * starts),)
        return oracle.value(there, BATCH, memory._replace(variables=moved))

    h = 1e-3
    slope = (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h)
    step = found.memory.variables[0].states - points.states
    d_starts = -step * 3.0 / 0.25 / len(BATCH.inputs)
    along = np.vdot(found.gradient.body, body) + np.vdot(d_starts, starts)
    assert along == pytest.approx(slope, rel=1e-10)


class Counting:
    """Ranks that note what goes to neighbours."""

    def __init__(self, comm, sent):
        self.comm, self.sent = comm, sent

    def __getattr__(self, name):
        return getattr(self.comm, name)

    def shift(self, values, first):
        if self.rank < self.size - 1:
            self.sent.append(values.nbytes)
        return self.comm.shift(values, first)

    def send_right(self, values):
        if self.rank < self.size - 1:
            self.sent.append(values.nbytes)
        self.comm.send_right(values)

    def reversed(self):
        return Counting(self.comm.reversed(), self.sent)


@pytest.mark.parametrize(
    "options", [{}, {"filters": Halves(4)}, {"dtype": np.float32, "pace": 0.0}]
)
def test_bytes_are_those_that_are_sent_and_kept(options):
    """On as many ranks as modules, each of which sends an end and a gradient.

    Exact starts of new samples are whole states, once.
    """

    def work(comm):
        comm = Counting(comm, [])
        oracle = oracle_of("free", comm, modules=4, sweeps=2, **options)
        params, counts = NETS["free"].init(3), []
        memory = oracle.init(params)
        for _ in range(2):
            memory = oracle.evaluate(params, BATCH, memory).memory
            counts.append(sum(comm.sent))
        kept = sum(points.states.nbytes for points in memory.variables)
        return counts[0], counts[1] - counts[0], kept

    first, second, kept = np.sum(run_ranks(work, 4), axis=0)
    oracle, n = oracle_of("free", modules=4, sweeps=2, **options), len(BATCH.inputs)
    assert second == 2 * oracle.bytes_sent * n
    assert first == second + 3 * n * 4 * 8
    assert kept == oracle.bytes_kept
    ranks = Ranks(NETS["free"], n, mg.MGRITOptions((4,)), 4)
    assert [ranks.apart(oracle, new).bytes for new in (True, False)] == [first, second]


# --- layers that take an input at every step -------------------------------


def of_sequences(comm=None, opening=None):
    """Oracle, weights and a batch; samples with variables that mean nothing."""
    rng = np.random.default_rng(77)
    head = mg.Linear(4, 2)
    net = mg.Network(mg.Explicit(Driven()), 12, 2.0, opening, head)
    oracle = mg.augmented_lagrangian(
        net, mg.SoftmaxCrossEntropy(), 4, SAMPLES, comm=comm, beta=3.0
    )
    inputs = rng.standard_normal((6, 12, *net.input_shape))
    return oracle, net.init(3), BATCH._replace(inputs=inputs)


def test_gradients_with_an_opening_in_front_of_every_step():
    oracle, params, batch = of_sequences(opening=mg.Linear(5, 3, "tanh"))
    memory, rng = somewhere(oracle, params), np.random.default_rng(6)
    way = type(params)(*(rng.standard_normal(part.shape) for part in params))
    found = oracle.evaluate(params, batch, memory)

    def value(t):
        there = type(params)(*(a + t * b for a, b in zip(params, way, strict=True)))
        return oracle.value(there, batch, memory)

    h = 2e-4
    slope = (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h)
    pairs = zip(found.gradient, way, strict=True)
    assert sum(np.vdot(*pair) for pair in pairs) == pytest.approx(slope, rel=1e-10)


def test_sequences_on_ranks_have_the_same_bits():
    def work(comm):
        oracle, params, batch = of_sequences(comm)
        memory, values = oracle.init(params), []
        for _ in range(3):
            found = oracle.evaluate(params, batch, memory)
            values.append(found.value)
            memory = found.memory
        return values, bits(found.gradient.head)

    (values, _), *_ = run_ranks(work, 1)
    assert values[1] != values[0]
    for size in (2, 4):
        found = run_ranks(work, size)
        assert [v for v, _ in found] == [values] * size
        assert found[-1] == run_ranks(work, 1)[0]


# --- what is refused -------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"modules": 14}, r"14 modules for 13 layer\(s\).*at most 13"),
        ({"modules": (3, 3)}, r"modules begin at layers \[3, 3\], needed growing"),
        ({"modules": (13,)}, r"needed growing numbers below 13"),
        ({"modules": 0}, r"modules"),
        ({"beta": -1.0}, r"beta = -1.0: need a finite number > 0"),
        ({"step": 0.0}, r"step = 0.0: need"),
        ({"pace": math.inf}, r"pace = inf: need"),
        ({"sweeps": 0}, r"sweeps"),
        ({"filters": mg.Linear(4, 2)}, r"10 parameter\(s\), needed one .*without any"),
        ({"filters": Halves(8)}, r"takes 8 features"),
        ({"filters": 3}, r"filter is 3, .*None, for whole states"),
        ({"dtype": np.int32}, r"dtype is .*int32.*float64 or np.float32"),
        ({"dtype": "x"}, r"dtype is 'x'; needed np.float64 or np.float32"),
        ({"folder": ""}, r"folder='' is no name, needed a folder"),
        ({"folder": __file__}, r"is a file, needed a folder"),
        ({"folder": 3}, r"folder is 3, needed a name"),
    ],
)
def test_bad_arguments(given, message):
    with pytest.raises((ValueError, TypeError), match=message):
        oracle_of("free", **given)


def test_modules_may_begin_at_an_array_of_layers():
    assert beginnings(NETS["free"], np.array([3, 6])) == ((3, 6),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"apply": lambda _, x: x[:, ::2].astype("f4")}, r"apply .*float32 \(2, 2\)"),
        ({"apply": lambda _, x: x[:1, ::2]}, r"apply .* makes float64 \(1, 2\) of two"),
        (
            {"pull_back": lambda _, x, s: (_, np.repeat(s, 3, axis=1))},
            r"pull_back .* makes float64 \(2, 6\) of .*needed float64 \(2, 4\)",
        ),
        (
            {"pull_back": lambda _, x, s: (_, np.repeat(s, 2, axis=1))},
            r"pull_back of .* is not the transpose of apply",
        ),
    ],
)
def test_what_is_wrong_with_a_filter_is_said(changes, message):
    one = Halves(4)
    for name, function in changes.items():
        setattr(one, name, function)
    with pytest.raises(ValueError, match=message):
        filter_of(one, (4,), np.float64)


def test_a_filter_needs_orthogonal_rows():
    class Odd(Halves):
        def apply(self, theta, x):
            return 0.5 * x[:, 0::2] + 0.25 * x[:, 1::2] + 0.1 * x[:, :1]

        def pull_back(self, theta, x, seed):
            back = np.zeros_like(x)
            back[:, 0::2], back[:, 1::2] = 0.5 * seed, 0.25 * seed
            back[:, 0] += 0.1 * seed.sum(axis=1)
            return theta, back

    with pytest.raises(ValueError, match=r"no multiple of the identity"):
        filter_of(Odd(4), (4,), np.float64)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, r"got a batch without rows; try mg.batches"),
        (np.arange(6) + 6, r"from 6 to 11, needed numbers of samples below 11"),
        (np.arange(5), r"int64, shape \(5,\), needed integers, shape \(6,\)"),
        (np.arange(6.0), r"float64, shape \(6,\), needed integers, shape \(6,\)"),
        (np.ones(6, bool), r"dtype bool, shape \(6,\), needed integers"),
        ([4, 1, 4, 2, 0, 4], r"number 4 3 times, needed another one for each"),
        (["a"] * 6, r"rows is .*needed integers, shape \(6,\)"),
    ],
)
def test_batches_need_the_numbers_of_their_samples(rows, message):
    oracle, params = oracle_of("free"), NETS["free"].init(3)
    with pytest.raises((ValueError, TypeError), match=message):
        oracle.evaluate(params, BATCH._replace(rows=rows), oracle.init(params))


def test_numbers_of_samples_may_be_a_list():
    oracle, params = oracle_of("free"), NETS["free"].init(3)
    values = [
        oracle.value(params, BATCH._replace(rows=rows), oracle.init(params))
        for rows in (BATCH.rows, BATCH.rows.tolist())
    ]
    assert values[0] == values[1]


def test_ranks_have_the_same_samples():
    def work(comm):
        oracle, params = oracle_of("free", comm, modules=4), NETS["free"].init(3)
        batch = BATCH._replace(rows=np.arange(6) + comm.rank)
        how = {"optimiser": mg.adam(0.02), "oracle": oracle, "comm": comm}
        differ = r"rows: \[0, 1, 2\].* on rank 0, \[1, 2"
        with pytest.raises(ValueError, match=differ):
            oracle.evaluate(params, batch, oracle.init(params))
        with pytest.raises(ValueError, match=differ):
            next(mg.train(NETS["free"], params, [batch], **how))

    run_ranks(work, 2)


@pytest.mark.parametrize("through_files", [False, True], ids=["state", "checkpoint"])
@pytest.mark.parametrize(
    ("changes", "has"),
    [
        ({"modules": (2, 3, 4)}, r"at layers \(2, 3, 4\), kept"),
        ({"modules": 2}, r"at layers \(6,\), kept"),
        ({"modules": 8}, r"at layers \(1, 3, 4, "),
        ({"pace": 0.0}, r"the oracle needs starts of 11 samples"),
        ({"dtype": np.float32}, r"Whole of 4 float32"),
        ({"filters": Halves(4)}, r"Halves of 2 float64"),
    ],
)
def test_variables_of_other_modules_are_refused(changes, has, through_files, tmp_path):
    """Whose numbers would be taken for those of the oracle's own."""
    state = trained("free", epochs=1)[-1].state
    if through_files:
        mg.save_checkpoint(tmp_path, state)
        state = mg.load_checkpoint(tmp_path, NETS["free"])
    with pytest.raises(
        ValueError, match=r"the state has starts and multipliers.*"
    ) as e:
        trained("free", state=state, **changes)
    assert re.search(has, str(e.value))


@pytest.mark.parametrize("depth", [5, 12, 37])
def test_modules_of_a_network_are_slabs_of_as_many_ranks(depth):
    net = mg.Network(mg.Dense(3), depth)
    for k in range(1, depth + 1):
        grid = TimeGrid(depth, 1.0)
        starts = tuple(grid.slab(rank, k).start for rank in range(1, k))
        assert beginnings(net, k) == (starts,)


def test_modules_of_a_chain_share_its_operations():
    """Stages of a residual network of images take as long as each other."""
    chain = mg.resnet((3, 16, 16), 4, channels=(4, 8, 16), depth=8)
    assert beginnings(chain, 6) == ((4, 8), (4, 8), (4,))
    assert beginnings(chain, 2) == ((), (4,), ())


def test_ranks_have_to_begin_with_modules():
    def work(comm):
        with pytest.raises(
            ValueError, match=r"begin at layers \[0, 3, 6, 9\].*\[0, 4, 8\]"
        ):
            oracle_of("free", comm, modules=CUTS["free"])

    run_ranks(work, 3)


def test_a_beta_that_goes_wrong_says_when():
    net, oracle = (
        NETS["free"],
        oracle_of("free", beta=lambda k: 2.0 if k < 2 else math.nan),
    )
    batches = mg.batches(DATA, 4, 2, seed=3)
    records = mg.train(
        net, net.init(7), batches, optimiser=mg.adam(0.02), oracle=oracle
    )
    kept = []
    with pytest.raises(ValueError, match=r"beta of evaluation 2 = nan: need a finite"):
        kept.extend(record.state for record in records)
    assert len(kept) == 2


def test_a_beta_is_the_same_on_all_ranks():
    def work(comm):
        beta = [1.0, 1.0 + comm.rank]
        with pytest.raises(ValueError, match=r"beta: 1.0 on rank 0, 2.0 on rank 1"):
            trained("free", comm, beta=lambda k: beta[k > 3])

    run_ranks(work, 2)


def test_variables_that_diverge_end_the_training_with_the_state_before():
    net = mg.Network(mg.Dense(3, "relu"), 8, 20.0)
    oracle = mg.penalty(net, mg.LeastSquares(), 8, 3, beta=1.0, step=50.0)
    batch = mg.Batch(np.ones((3, 3)), np.zeros((3, 3)), 0, np.arange(3))
    how = {"optimiser": mg.sgd(1e-9), "oracle": oracle}
    *_, before, last = mg.train(net, net.init(1), [batch] * 600, **how)
    assert last.status is mg.Status.NON_FINITE
    assert "not finite" in repr(last)
    assert before.status is mg.Status.MAX_ITERATIONS
    assert np.isfinite(before.state.params.body).all()


def test_a_value_that_is_not_finite_has_no_finite_loss():
    oracle, params = oracle_of("free"), NETS["free"].init(3)
    memory = somewhere(oracle, params)
    variables = tuple(p._replace(states=1e200 * p.states) for p in memory.variables)
    found = oracle.evaluate(params, BATCH, memory._replace(variables=variables))
    assert found.info.forward.status is mg.Status.NON_FINITE
    assert not math.isfinite(found.value)
    assert not math.isfinite(found.info.loss)


@pytest.mark.parametrize("in_files", [False, True])
def test_samples_have_the_same_inputs_whenever_they_come(in_files, tmp_path):
    """Also after a checkpoint."""
    options = {"folder": tmp_path / "variables"} if in_files else {}
    net, batches = NETS["free"], list(mg.batches(DATA, 4, 1, seed=3))
    mg.save_checkpoint(tmp_path / "c", trained("free", epochs=1, **options)[-1].state)
    state = mg.load_checkpoint(tmp_path / "c", net)
    oracle = oracle_of("free", modules=MODULES["free"], **options)
    moved = batches[1].inputs.copy()
    moved[2, 1] += 1e-12
    row = batches[1].rows[2]
    with pytest.raises(ValueError, match=rf"1 sample\(s\), such as {row}, have other"):
        oracle.evaluate(state.params, batches[1]._replace(inputs=moved), state.memory)


# --- variables in files ----------------------------------------------------


@each_size
def test_files_change_no_number(name, size, tmp_path):
    records = trained(name)
    assert numbers(trained(name, folder=tmp_path / "one")) == numbers(records)

    def work(comm):
        return numbers(trained(name, comm, folder=tmp_path / "many"))

    assert run_ranks(work, size) == [numbers(records)] * size
    some, others = (sorted((tmp_path / n).iterdir()) for n in ("one", "many"))
    assert [path.read_bytes() for path in some] == [p.read_bytes() for p in others]
    assert len(some) == sum(map(len, oracle_of(name, modules=MODULES[name]).points))


def test_a_run_goes_on_from_a_checkpoint_that_its_files_have_left(tmp_path):
    """Up to a pass back, to the bit, on other ranks; further back is an error."""
    files, kept = tmp_path / "variables", tmp_path / "checkpoints"
    every = []
    for record in trained("free", folder=files, epochs=5):
        every.append(record)
        if record.step == 11:
            mg.save_checkpoint(kept, record.state)

    def rest(comm):
        state = mg.load_checkpoint(kept, NETS["free"], comm=comm)
        return numbers(trained("free", comm, state, epochs=5, folder=files))

    assert run_ranks(rest, 4) == [numbers(every[12:])] * 4
    with pytest.raises(ValueError, match=r"another run has gone on.*oracle.init"):
        trained("free", state=every[2].state, folder=files)


def test_an_entry_that_was_lost_is_an_error(tmp_path):
    records = trained("free", folder=tmp_path)
    path = sorted(tmp_path.iterdir())[1]
    log = np.load(path, mmap_mode="r+")
    log[log[:, 0, 0] != 0.0] += 1e-9
    with pytest.raises(ValueError, match=path.name):
        trained("free", state=records[-1].state, epochs=5, folder=tmp_path)


def test_samples_that_do_not_come_for_three_passes_start_anew(tmp_path):
    net, oracle = NETS["free"], oracle_of("free", folder=tmp_path)
    params = net.init(3)
    memory = oracle.evaluate(params, BATCH, oracle.init(params)).memory
    other = BATCH._replace(
        inputs=BATCH.inputs[::-1].copy(), rows=np.array([1, 3, 6, 8, 10, 9])
    )
    for _ in range(6):
        memory = oracle.evaluate(params, other, memory).memory
    for k, row in enumerate(BATCH.rows):  # 9 has come in between
        one = BATCH.inputs[k : k + 1], BATCH.targets[k : k + 1], 0, np.array([row])
        found = oracle.evaluate(params, mg.Batch(*one), memory)
        assert (found.info.forward.final_residual > 1e-3) == (row == 9)


def test_the_room_is_taken_before_the_run(tmp_path):
    """All of it, and a disk that has less is an error that leaves no file."""
    oracle = oracle_of("free", folder=tmp_path / "some")
    oracle.init(NETS["free"].init(3))
    sizes = [path.stat().st_size for path in (tmp_path / "some").iterdir()]
    assert sum(sizes) == oracle.bytes_kept + 128 * len(sizes)

    other = oracle_of("free", folder=tmp_path / "other")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=r"interface-0-000003.npy"):
            other.init(NETS["free"].init(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "other").iterdir())


@pytest.mark.parametrize("length", [0, 50, 200])
def test_a_damaged_file_is_named(length, tmp_path):
    records = trained("free", folder=tmp_path, epochs=1)
    path = sorted(tmp_path.iterdir())[1]
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=rf"{path.name} is damaged"):
        trained("free", state=records[-1].state, folder=tmp_path)


def test_files_that_were_removed_are_missed(tmp_path):
    folder = tmp_path / "variables"
    records = trained("free", folder=folder, epochs=1)
    for path in folder.iterdir():
        path.unlink()
    state, oracle = records[-1].state, oracle_of("free", modules=4, folder=folder)
    batch = next(mg.batches(DATA, 4, seed=3))
    with pytest.raises(FileNotFoundError, match=r"there is no .*interface-0-000003"):
        oracle.evaluate(state.params, batch, state.memory)
    with pytest.raises(ValueError, match=r"nothing there.* moved or removed; put them"):
        trained("free", state=state, folder=folder)


def test_files_of_something_else_are_refused(tmp_path):
    trained("free", folder=tmp_path, epochs=1)
    with pytest.raises(ValueError, match=r"has float64 \(33, 2, 4\), needed float32"):
        trained("free", folder=tmp_path, dtype=np.float32)


# --- in turns with exact propagation ---------------------------------------


def in_turns(comm=None, state=None, epochs=6, **options):
    net = NETS["free"]
    exact = mg.layer_parallel(net, mg.SoftmaxCrossEntropy(), comm=comm)
    oracle = mg.hybrid(oracle_of("free", comm, modules=4, **options), exact, (2, 1))
    batches = mg.batches(DATA, 4, epochs, seed=3, start=getattr(state, "step", 0))
    how = {"oracle": oracle, "comm": comm, "state": state, "optimiser": mg.adam(0.02)}
    return list(mg.train(net, net.init(7), batches, **how))


def test_every_third_epoch_is_exact_and_leaves_the_variables():
    records = in_turns()
    before = NETS["free"].init(7)
    batches = list(mg.batches(DATA, 4, 6, seed=3))
    for batch, record in zip(batches, records, strict=True):
        exact = mg.layer_parallel(NETS["free"], mg.SoftmaxCrossEntropy())
        found = exact.evaluate(before, batch, ())
        assert (record.value == found.value) == (batch.epoch in (0, 2, 5))
        if batch.epoch not in (2, 5):
            memory = bits(record.state.memory.parallel)
        assert bits(record.state.memory.parallel) == memory
        before = record.params


def test_turns_have_the_same_bits_on_ranks_and_go_on(tmp_path):
    records = in_turns()

    def work(comm):
        found = in_turns(comm)
        mg.save_checkpoint(tmp_path / str(comm.size), found[7].state, comm)
        return numbers(found)

    for size in (1, 2):
        assert run_ranks(work, size) == [numbers(records)] * size
        state = mg.load_checkpoint(tmp_path / str(size), NETS["free"])
        assert numbers(in_turns(state=state)) == numbers(records[8:])


def test_oracles_in_turns_have_one_network_and_the_same_layers():
    loss, net = mg.SoftmaxCrossEntropy(), NETS["free"]
    other = mg.layer_parallel(NETS["spline"], loss)
    with pytest.raises(ValueError, match=r"network: network.depth is 12, not 13"):
        mg.hybrid(oracle_of("free"), other)
    with pytest.raises(TypeError, match="layer_parallel"):
        mg.hybrid(oracle_of("free"), 3)

    def work(comm):
        coarse = mg.layer_parallel(net, loss, forward=mg.MGRITOptions((4,)), comm=comm)
        with pytest.raises(ValueError, match=r"layers \[range.*another coarsening"):
            mg.hybrid(oracle_of("free", comm, modules=4), coarse)

    run_ranks(work, 2)


def test_oracles_in_turns_are_one_of_each_kind_for_the_same_objective():
    net, apart, loss = NETS["free"], oracle_of("free"), mg.SoftmaxCrossEntropy()
    exact = mg.layer_parallel(net, loss)
    both = mg.hybrid(apart, exact)
    for pair in ((exact, apart), (both, exact), (exact, exact)):
        with pytest.raises(TypeError, match=r"first oracle is a .*needed one of mg"):
            mg.hybrid(*pair)
    for other in (apart, both):
        with pytest.raises(TypeError, match=r"second oracle is a .*mg.layer_parallel"):
            mg.hybrid(apart, other)
    squares = mg.accurate(mg.layer_parallel(net, mg.LeastSquares()), 0.1)
    with pytest.raises(ValueError, match=r"objective .*SoftmaxCross.*LeastSquares"):
        mg.hybrid(apart, squares)
    weights = mg.layer_parallel(net, loss, regularisation=mg.Regularisation(0.1))
    with pytest.raises(ValueError, match=r"regularisation .* is None, of the correct"):
        mg.hybrid(apart, weights)
    for epochs in (3, (2,), (1, 1, 1), None):
        with pytest.raises(ValueError, match=r"needed two numbers; try \(2, 1\)"):
            mg.hybrid(apart, exact, epochs)
    with pytest.raises(TypeError, match=r"has no epoch; needed .* mg.Batch"):
        both.corrects(DATA)


def test_an_oracle_needs_the_ranks_of_the_training():
    def work(comm):
        how = {"optimiser": mg.adam(0.02)}
        params = NETS["free"].init(7)
        for one, other in ((None, comm), (comm, None)):
            oracle = oracle_of("free", one, modules=4)
            with pytest.raises(ValueError, match=r"the oracle's comm has .*same comm="):
                mg.train(NETS["free"], params, [], oracle=oracle, comm=other, **how)

    run_ranks(work, 2)

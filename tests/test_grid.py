"""Layers and data: a divided batch gives the numbers of the whole, to rounding."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import run_ranks
from hypothesis import given, settings
from hypothesis import strategies as st
from launch import launch
from mpi_program import (
    CASES,
    SHAPES,
    Case,
    as_bits,
    nesterov,
    network,
    problem,
    training,
)

import mgresnet as mg
from mgresnet.learning.over_data import portion_of
from mgresnet.solve.slab import Slab

NAMES = ("two levels", "three levels", "single precision", "control over depth")


def without_tolerance(case):
    """The same number of iterations for every batch."""
    forward, adjoint = (replace(o, tolerance=0.0) for o in (case.forward, case.adjoint))
    return case._replace(forward=forward, adjoint=adjoint, gradient_tolerance=None)


def on_grid(case, layer, data):
    """Training on layer x data ranks, by place in the grid."""

    def work(comm):
        grid = mg.ProcessGrid.split(comm, layer=layer, data=data)
        place = grid.data.rank, grid.layer.rank
        return place, list(training(case, grid))

    return dict(run_ranks(work, layer * data))


def whole_body(case, results, portion):
    """Rows of all layers after every step, as the ranks of one portion hold them."""
    ranks = sorted(place for place in results if place[0] == portion)
    steps = zip(*(results[place] for place in ranks), strict=True)
    bodies = [[record.params.body for record in step] for step in steps]
    if case.net.control.shared:
        return [parts[0] for parts in bodies]
    return [np.concatenate(parts) for parts in bodies]


def numbers(record):
    """All but what depends on the rank."""
    fields = record._asdict()
    del fields["seconds"], fields["state"]
    return fields


@pytest.mark.parametrize(("layer", "data"), [(1, 2), (2, 2), (3, 2), (1, 3), (2, 5)])
@pytest.mark.parametrize("name", NAMES)
def test_training_equals_that_of_an_undivided_batch(name, layer, data):
    case = without_tolerance(CASES[name])
    rounding = 1e-12 if case.dtype == "float64" else 2e-5
    serial = list(training(case))
    results = on_grid(case, layer, data)
    for records in results.values():
        for found, wanted in zip(records, serial, strict=True):
            assert found.loss == pytest.approx(wanted.loss, rel=rounding)
            assert found.value == pytest.approx(wanted.value, rel=rounding)
            assert found.gradient_norm == pytest.approx(
                wanted.gradient_norm, rel=100 * rounding
            )
    for found, wanted in zip(whole_body(case, results, 0), serial, strict=True):
        body = wanted.params.body
        np.testing.assert_allclose(found, body, rtol=0.0, atol=1e4 * rounding)


@pytest.mark.parametrize("data", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_bits_depend_on_the_data_ranks_only(name, data):
    case = CASES[name]
    alone = on_grid(case, 1, data)
    records = alone[0, 0]
    bodies = [as_bits(body) for body in whole_body(case, alone, 0)]
    for layer in (1, 3):
        results = on_grid(case, layer, data)
        for portion in range(data):
            found = whole_body(case, results, portion)
            assert [as_bits(body) for body in found] == bodies
        for others in results.values():
            assert list(map(numbers, others)) == list(map(numbers, records))


def test_one_data_rank_has_the_bits_of_serial_training():
    case = CASES["two levels"]
    serial = list(map(numbers, training(case)))
    for records in on_grid(case, 3, 1).values():
        assert list(map(numbers, records)) == serial


def test_penalties_count_once():
    case = CASES["two levels"]
    free = case._replace(regularisation=None)
    (with_it, *_), (without, *_) = (on_grid(c, 1, 3)[0, 0] for c in (case, free))
    params, _ = problem(case)
    penalty, _ = case.regularisation.of_slab(Slab.of(case.net, None, None), params)
    assert with_it.value - with_it.loss == pytest.approx(penalty, rel=1e-10)
    assert without.value == without.loss == with_it.loss


def test_estimated_error_is_that_of_the_batch_or_larger():
    """The portions' errors add by the triangle inequality."""
    case = CASES["two levels"]
    for data in (2, 5):
        serial = next(iter(training(case)))
        divided = on_grid(case, 1, data)[0, 0][0]
        assert divided.gradient_error >= (1 - 1e-10) * serial.gradient_error > 0.0
        assert divided.gradient_error < 5 * serial.gradient_error


def test_controller_keeps_the_error_of_divided_batches():
    case = CASES["control over depth"]
    for records in on_grid(case, 2, 2).values():
        errors = [record.gradient_error for record in records]
        assert 0.0 < max(errors) <= case.gradient_tolerance


def test_shards_that_stop_at_different_iterations_go_on_together():
    """One half stays at zero; a batch's residual is that of both halves together."""
    options = mg.MGRITOptions((4,), 0, max_iterations=9, tolerance=1e-6)
    net = network(37, mg.Dense(3, bias="none"))
    case = Case(net, options, options, nesterov(), n_samples=8)
    params, (inputs, targets) = problem(case)
    inputs[:4] = 0.0

    def work(comm):
        grid = mg.ProcessGrid.split(comm, layer=2, data=2)
        records = mg.train(
            case.net,
            params,
            [(inputs, targets)] * 3,
            optimiser=case.optimiser,
            objective=mg.SoftmaxCrossEntropy(),
            forward=options,
            adjoint=options,
            comm=grid,
        )
        return list(map(numbers, records))

    quiet, lively = (
        mg.solve_forward(case.net, params, half, options=options)
        for half in (inputs[:4], inputs[4:])
    )
    assert quiet.iterations != lively.iterations
    records, *others = run_ranks(work, 4)
    assert all(other == records for other in others)
    most = max(quiet.iterations, lively.iterations)
    together = np.hypot(quiet.final_residual, lively.final_residual)
    assert records[0]["forward_iterations"] == most
    assert records[0]["forward_residual"] == pytest.approx(together)


def test_divergence_on_one_shard_ends_training_on_all():
    case = CASES["single precision"]
    params, (inputs, targets) = problem(case)
    inputs = inputs.copy()
    inputs[-1] = 3e38
    batch = [(inputs, targets)] * 3

    def work(comm):
        grid = mg.ProcessGrid.split(comm, layer=1, data=2)
        records = mg.train(
            case.net,
            params,
            batch,
            optimiser=mg.sgd(1.0),
            objective=mg.LeastSquares(),
            forward=case.forward,
            comm=grid,
        )
        return [record.status for record in records]

    assert run_ranks(work, 2) == [[mg.Status.NON_FINITE]] * 2


@given(st.integers(1, 500), st.integers(1, 40))
@settings(deadline=None, derandomize=True)
def test_shards_are_equal_shares_of_all_samples(n, size):
    size = min(n, size)

    class Place(mg.SerialComm):
        def __init__(self, rank):
            self.rank, self.size = rank, size

    rows = np.arange(float(n))
    shares = [portion_of(rows, rows, Place(rank)) for rank in range(size)]
    portions, weights = zip(*shares, strict=True)
    together = np.concatenate([rows[portion] for portion in portions])
    assert together.tolist() == rows.tolist()
    lengths = [len(rows[portion]) for portion in portions]
    assert 1 <= min(lengths) <= max(lengths) <= min(lengths) + 1
    assert sum(weights) == pytest.approx(1.0)


def test_ranks_of_one_shard_are_neighbours():
    def work(comm):
        grid = mg.ProcessGrid.split(comm, layer=3, data=2)
        rank = np.array([comm.rank])
        return grid.layer.gather(rank).tolist(), grid.data.gather(rank).tolist()

    for rank, (layer, data) in enumerate(run_ranks(work, 6)):
        first = rank // 3 * 3
        assert layer == [first, first + 1, first + 2]
        assert data == [rank % 3, rank % 3 + 3]


def test_a_grid_keeps_virtual_time():
    machine = mg.Machine("any", 1e-3, 1e6, "made up")

    def work(comm):
        comm = mg.VirtualTimeComm(comm, machine)
        grid = mg.ProcessGrid.split(comm, layer=1, data=2)
        grid.data.sum(np.zeros(125))
        return comm.account

    for books in run_ranks(work, 2):
        # the split is outside the model; the sum moves 1000 bytes in one round
        assert books.messages == 1
        assert books.bytes == 1000
        assert books.waited >= 2e-3


@pytest.mark.parametrize(
    ("layer", "data"), [(1, 1), (2, 2), (0, 3), (3, 0), (-1, -3), (4, 1)]
)
def test_shapes_that_do_not_fit(layer, data):
    def attempt(comm):
        with pytest.raises(ValueError, match=rf"data={data} for 3 rank.*product is 3"):
            mg.ProcessGrid.split(comm, layer=layer, data=data)

    run_ranks(attempt, 3)


def test_one_rank_is_a_grid():
    grid = mg.ProcessGrid.split(None, layer=1, data=1)
    assert grid.layer.size == grid.data.size == 1


def test_communicators_that_cannot_be_divided_say_so():
    class Plain:
        def __getattr__(self, name):
            if name == "split":
                raise AttributeError(name)
            return getattr(mg.SerialComm(), name)

    with pytest.raises(TypeError, match=r"Plain cannot be divided.*split\(colour\)"):
        mg.ProcessGrid.split(Plain(), layer=1, data=1)


def test_too_few_samples_for_the_data_ranks():
    case = CASES["two levels"]

    def attempt(comm):
        grid = mg.ProcessGrid.split(comm, layer=1, data=3)
        with pytest.raises(ValueError, match=r"a batch of 2 sample.* 3 data rank"):
            list(training(case._replace(n_samples=2), grid))

    run_ranks(attempt, 3)


def test_inputs_and_targets_of_different_length():
    inputs, targets = np.zeros((4, 2)), np.zeros(5, int)
    with pytest.raises(ValueError, match=r"targets have shape \(5,\), needed 4 rows"):
        portion_of(inputs, targets, mg.SerialComm())


@pytest.mark.mpi
@pytest.mark.parametrize("shape", SHAPES)
def test_grids_under_mpi_train_like_one_process(shape):
    job = launch(int(np.prod(SHAPES[shape])), "grid", shape)
    assert job.returncode == 0, job.stderr
    found = np.array(job.stdout.split(), float)
    serial = [record.loss for record in training(CASES["two levels"])]
    np.testing.assert_allclose(found, serial, rtol=1e-12)


@pytest.mark.mpi
@pytest.mark.parametrize("rank", [0, 2])
def test_an_exception_on_one_rank_of_a_grid_ends_the_job(rank):
    job = launch(3, "fail", "grid", str(rank))
    assert job.returncode != 0
    assert f"RuntimeError: mishap grid on rank {rank}" in job.stderr
    assert "the mishap did not happen" not in job.stderr

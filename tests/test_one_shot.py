"""One-shot optimisation: solves that start from those of the step before."""

import numpy as np
import pytest
from fakes import run_ranks
from test_oracles import DATA, LOSS, NETS, bits

import mgresnet as mg

FEW = mg.MGRITOptions((4,), max_iterations=1, tolerance=0.0)
each_net = pytest.mark.parametrize("name", ["free", "spline", "chain"])


def oracle_of(net, options=FEW, comm=None, keep="auto"):
    ways = {"forward": options, "adjoint": options, "comm": comm, "keep": keep}
    return mg.one_shot(mg.layer_parallel(net, LOSS, **ways))


def trained(net, batches, comm=None, state=None, keep="auto"):
    how = {"oracle": oracle_of(net, comm=comm, keep=keep), "comm": comm}
    how["optimiser"] = mg.adam(1e-3)
    return list(mg.train(net, net.init(7), batches, state=state, **how))


@each_net
@pytest.mark.parametrize("keep", ["all", "c-points"])
def test_repeated_steps_of_one_correction_are_a_solve_of_many(name, keep):
    """At fixed parameters the states converge first, and then the adjoints."""
    net = NETS[name]
    params, oracle = net.init(7), oracle_of(net, keep=keep)
    memory, errors = oracle.init(params), []
    exact = mg.layer_parallel(net, LOSS).evaluate(params, DATA, ())
    space = mg.space(net)
    for _ in range(14):
        found = oracle.evaluate(params, DATA, memory)
        memory = found.memory
        difference = mg.apply_updates(found.gradient, minus(exact.gradient))
        errors.append(space.norm(difference) / space.norm(exact.gradient))
    assert errors[0] > 1e-9
    assert errors[-1] < 1e-13
    assert oracle.value(params, DATA, memory) == pytest.approx(exact.value, rel=1e-14)


def minus(tree):
    if isinstance(tree, np.ndarray):
        return -tree
    parts = [None if part is None else minus(part) for part in tree]
    return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)


@each_net
def test_a_step_goes_on_from_the_solution_before_to_the_bit(name):
    """It is the second of two solves, the first handed over as a guess."""
    net, batch = NETS[name], DATA
    params, other = net.init(7), net.init(8)
    oracle = oracle_of(net)
    found = oracle.evaluate(params, batch, oracle.init(params))
    again = oracle.evaluate(other, batch, found.memory)
    how = {"objective": LOSS, "forward": FEW, "adjoint": FEW}
    _, _, info = mg.value_and_gradient(net, params, *batch, **how)
    value, gradient, _ = mg.value_and_gradient(net, other, *batch, guess=info, **how)
    assert again.value == value
    assert bits(again.gradient) == bits(gradient)
    assert oracle.value(other, batch, found.memory) == value


def test_following_parameters_is_more_accurate_than_starting_anew():
    net = NETS["free"]
    records = trained(net, [DATA] * 12)
    plain = mg.layer_parallel(net, LOSS, forward=FEW, adjoint=FEW)
    cold = list(
        mg.train(net, net.init(7), [DATA] * 12, oracle=plain, optimiser=mg.adam(1e-3))
    )
    for warm, anew in zip(records[3:], cold[3:], strict=True):
        assert warm.forward_residual < 0.1 * anew.forward_residual
        assert warm.adjoint_residual < 0.1 * anew.adjoint_residual


def test_other_samples_are_no_start():
    """Batches of other rows are solved as if nothing were remembered."""
    net = NETS["free"]
    batches = [*mg.batches(DATA, 12, epochs=1, seed=3)]
    params, oracle = net.init(7), oracle_of(net)
    first = oracle.evaluate(params, batches[0], oracle.init(params))
    second = oracle.evaluate(params, batches[1], first.memory)
    anew = oracle.evaluate(params, batches[1], oracle.init(params))
    assert second.value == anew.value
    assert bits(second.gradient) == bits(anew.gradient)


@each_net
@pytest.mark.parametrize("size", [2, 3])
def test_training_has_the_same_bits_on_any_number_of_ranks(name, size):
    net = NETS[name]

    def losses(comm):
        return [(r.value, r.gradient_norm) for r in trained(net, [DATA] * 5, comm)]

    assert run_ranks(losses, size) == [losses(None)] * size


@each_net
@pytest.mark.parametrize("keep", ["all", "c-points"])
@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 2), (2, 1)])
def test_memory_is_saved_and_cut_for_other_ranks(name, keep, before, after, tmp_path):
    net = NETS[name]
    whole = [r.value for r in trained(net, [DATA] * 7, keep=keep)]

    def begin(comm):
        record = trained(net, [DATA] * 4, comm, keep=keep)[-1]
        mg.save_checkpoint(tmp_path, record.state, comm)

    def go_on(comm):
        state = mg.load_checkpoint(tmp_path, net, options=FEW, comm=comm)
        return [r.value for r in trained(net, [DATA] * 3, comm, state, keep)]

    run_ranks(begin, before)
    assert run_ranks(go_on, after) == [whole[4:]] * after


def test_a_whole_state_is_cut_for_several_ranks():
    net = NETS["free"]
    state = trained(net, [DATA] * 4)[-1].state
    rest = [r.value for r in trained(net, [DATA] * 3, None, state)]

    def go_on(comm):
        return [r.value for r in trained(net, [DATA] * 3, comm, state)]

    assert run_ranks(go_on, 3) == [rest] * 3


def test_data_ranks_remember_their_portions():
    net = NETS["free"]

    def losses(comm):
        grid = mg.ProcessGrid.split(comm, layer=1, data=comm.size)
        ways = {"forward": FEW, "adjoint": FEW, "comm": grid.layer}
        inner = mg.over_data(mg.layer_parallel(net, LOSS, **ways), grid.data)
        how = {"oracle": mg.one_shot(inner), "optimiser": mg.adam(1e-3), "comm": grid}
        return [r.value for r in mg.train(net, net.init(7), [DATA] * 5, **how)]

    alone = [r.value for r in trained(net, [DATA] * 5)]
    for found in run_ranks(losses, 2):
        np.testing.assert_allclose(found, alone, rtol=1e-12)


def test_memory_of_another_oracle_is_refused():
    oracle, params = oracle_of(NETS["free"]), NETS["free"].init(7)
    with pytest.raises(
        TypeError, match=r"needed something like oracle\.init\(params\)"
    ):
        oracle.evaluate(params, DATA, ())


def test_what_cannot_be_adjusted_is_refused():
    inner = mg.accurate(mg.layer_parallel(NETS["free"], LOSS), 1e-2)
    with pytest.raises(TypeError, match=r"which has no .*solve.*; needed something"):
        mg.one_shot(inner)

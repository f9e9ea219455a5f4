"""Auxiliary variables: the Lagrangian and its gradients, and where they converge to."""

import numpy as np
import pytest
import reference
from test_oracles import bits

import mgresnet as mg
from mgresnet.arrays.trees import tree_map
from mgresnet.learning.interfaces import checksums

N = 6
RNG = np.random.default_rng(40817)
LOSS = mg.SoftmaxCrossEntropy()
BATCH = mg.Batch(
    RNG.standard_normal((N, 3)), RNG.integers(0, 2, N), 0, np.array([9, 2, 7, 0, 4, 5])
)
SAMPLES = 11
ENDS = {"opening": mg.Linear(3, 4, "tanh"), "head": mg.Linear(4, 2)}
NETS = {
    "free": mg.Network(mg.Dense(4), 13, 2.0, **ENDS),
    "spline": mg.Network(mg.Dense(4), 12, 2.0, control=mg.BSpline(5), **ENDS),
    "shared": mg.Network(mg.Dense(4), 12, 2.0, control=mg.Shared(), **ENDS),
    "chain": mg.Chain(
        [
            mg.Network(mg.Dense(4), 6, 2.0, opening=mg.Linear(3, 4)),
            mg.Network(mg.Dense(3), 6, 1.0, mg.Linear(4, 3), mg.Linear(3, 2)),
        ]
    ),
}
CUTS = {"free": (3, 6, 9), "spline": (4, 8), "shared": (6,), "chain": (2, 6, 9)}
each_net = pytest.mark.parametrize("name", NETS)


def stages_of(name):
    return NETS[name].networks if name == "chain" else (NETS[name],)


def trees_of(name, params):
    return params if name == "chain" else (params,)


# --- the Lagrangian, written down once more in NumPy -----------------------


def affine(record, theta, x):
    if record is None:
        return x
    weight, bias = np.split(theta, [record.n_inputs * record.n_outputs])
    weight = weight.reshape(record.n_outputs, -1)
    return reference.residual(record.activation, weight, bias, x)


def modules_ends(name, params, starts, inputs=BATCH.inputs):
    """Ends of all modules but the last one, and what comes out of that."""
    ends, done, u = [], 0, inputs
    swap = dict(zip(CUTS[name], starts, strict=True))
    for one, tree in zip(stages_of(name), trees_of(name, params), strict=True):
        rows = one.control.basis(one.depth) @ tree.body
        weight, bias = reference.unpack(rows, one.layer.width)
        for n in range(one.depth):
            if done in swap:
                ends.append(u)
                u = swap[done]
            u = affine(one.opening, tree.opening, u) if n == 0 else u
            u = reference.step("tanh", weight[n], bias[n], u, one.step)
            done += 1
    return ends, affine(one.head, tree.head, u)


def lagrangian(name, params, starts, multipliers, beta):
    """What the oracle's value has to be, for real or complex arguments."""
    ends, outputs = modules_ends(name, params, starts)
    value = reference.cross_entropy(outputs, BATCH.targets)
    for end, start, multiplier in zip(ends, starts, multipliers, strict=True):
        d = end - start
        value += ((multiplier * d).sum() + 0.5 * beta * (d * d).sum()) / N
    return value


def oracle_of(name, comm=None, **options):
    given = {"beta": 3.0, "pace": 0.2} | options
    modules = given.pop("modules", CUTS[name])
    if given["pace"] == 0.0:
        del given["pace"]
        return mg.penalty(NETS[name], LOSS, modules, SAMPLES, comm=comm, **given)
    return mg.augmented_lagrangian(
        NETS[name], LOSS, modules, SAMPLES, comm=comm, **given
    )


def somewhere(oracle, params, seed=71):
    """Memory of which all samples are met, with variables that mean nothing."""
    memory, rng = oracle.init(params), np.random.default_rng(seed)

    def drawn(points):
        return points._replace(states=rng.standard_normal(points.states.shape))

    variables = tuple(map(drawn, memory.variables))
    memory.inputs[BATCH.rows] = checksums(BATCH.inputs)
    return memory._replace(met=np.ones(SAMPLES, bool), variables=variables)


def of_batch(memory, kind):
    """Starts (0) or multipliers (1) of the batch, interface by interface."""
    return [
        row[BATCH.rows, kind] for points in memory.variables for row in points.states
    ]


@each_net
def test_value_and_gradients_are_those_of_the_lagrangian(name):
    """Weights and variables by the complex step, multipliers by their defects."""
    oracle, params = oracle_of(name), NETS[name].init(3)
    memory = somewhere(oracle, params)
    starts, multipliers = of_batch(memory, 0), of_batch(memory, 1)
    found = oracle.evaluate(params, BATCH, memory)
    value = lagrangian(name, params, starts, multipliers, 3.0)
    assert found.value == pytest.approx(value, rel=1e-14)
    trees, gradients = trees_of(name, params), trees_of(name, found.gradient)
    for i, (tree, gradient) in enumerate(zip(trees, gradients, strict=True)):
        for field, theta in tree._asdict().items():
            if theta is None:
                assert getattr(gradient, field) is None
                continue

            def at(values, i=i, tree=tree, field=field):
                whole = list(trees)
                whole[i] = tree._replace(**{field: values})
                given = tuple(whole) if name == "chain" else whole[0]
                return lagrangian(name, given, starts, multipliers, 3.0)

            desired = reference.complex_step(at, theta)
            np.testing.assert_allclose(
                getattr(gradient, field), desired, rtol=1e-11, atol=1e-13
            )
    stepped = of_batch(found.memory, 0)
    for k, start in enumerate(starts):

        def there(values, k=k):
            some = [*starts[:k], values, *starts[k + 1 :]]
            return lagrangian(name, params, some, multipliers, 3.0)

        slope = N * reference.complex_step(there, start)
        moved = -slope * 0.25 / 3.0
        np.testing.assert_allclose(stepped[k] - start, moved, rtol=1e-11, atol=1e-13)
    ends, _ = modules_ends(name, params, starts)
    ascended = of_batch(found.memory, 1)
    for end, start, old, new in zip(ends, starts, multipliers, ascended, strict=True):
        np.testing.assert_allclose(new, old + 0.6 * (end - start), atol=1e-14)


@each_net
def test_one_module_is_the_network_to_the_bit(name):
    net, params = NETS[name], NETS[name].init(3)
    oracle = oracle_of(name, modules=1, pace=0.0)
    found = oracle.evaluate(params, BATCH, oracle.init(params))
    value, gradient, _ = mg.value_and_gradient(net, params, *BATCH[:2], objective=LOSS)
    assert found.value == value
    assert bits(found.gradient) == bits(gradient)


@each_net
def test_samples_that_are_new_start_from_exact_propagation(name):
    """So there are no defects, the value is the loss, and the last module learns."""
    oracle, params = oracle_of(name), NETS[name].init(3)
    found = oracle.evaluate(params, BATCH, oracle.init(params))
    outputs = mg.predict(NETS[name], params, BATCH.inputs)
    loss = LOSS.value_and_seed(outputs, BATCH.targets)[0]
    assert found.info.forward.final_residual < 1e-14
    assert found.value == pytest.approx(loss, rel=1e-14)
    assert found.memory.met.tolist() == [i in BATCH.rows for i in range(SAMPLES)]
    other = BATCH._replace(
        inputs=BATCH.inputs[::-1].copy(), rows=np.array([1, 3, 6, 8, 10, 9])
    )
    again = oracle.evaluate(params, other, found.memory)
    assert again.info.forward.final_residual > 0.0  # of sample 9, which was met
    assert again.memory.met.sum() == SAMPLES


def test_regularisation_is_that_of_all_layers():
    name, weights = "spline", mg.Regularisation(1e-2, 1e-3, 1e-3)
    net, params = NETS[name], NETS[name].init(3)
    plain, penalised = oracle_of(name), oracle_of(name, regularisation=weights)
    memory = somewhere(plain, params)
    one, two = (o.evaluate(params, BATCH, memory) for o in (plain, penalised))
    how = {"objective": LOSS, "regularisation": weights}
    three, gradient, info = mg.value_and_gradient(net, params, *BATCH[:2], **how)
    assert two.value - one.value == pytest.approx(three - info.loss, rel=1e-11)
    _, alone, _ = mg.value_and_gradient(net, params, *BATCH[:2], objective=LOSS)
    pairs = (one.gradient, two.gradient, alone, gradient)
    for a, b, c, d in zip(*pairs, strict=True):
        np.testing.assert_allclose(b - a, d - c, atol=1e-14)


# --- at frozen weights -----------------------------------------------------


def exact_adjoints(name, params):
    """n dJ/du where modules begin; it is where the next one's start is, too."""
    *_, info = mg.value_and_gradient(
        NETS[name], params, *BATCH[:2], objective=LOSS, keep="all"
    )
    if name != "chain":
        return [N * info.adjoint.states[n] for n in CUTS[name]]
    first, second = (way.states for way in info.adjoint)
    return [N * first[2], N * first[6], N * second[3]]


def repeated(oracle, params, times):
    """The same batch again and again, at the same weights."""
    memory = oracle.init(params)
    for _ in range(times):
        found = oracle.evaluate(params, BATCH, memory)
        memory = found.memory
    return found


@each_net
def test_multipliers_become_the_adjoints(name):
    """And starts the states, the value the loss, the gradient that of the network."""
    net, params = NETS[name], NETS[name].init(3)
    oracle = oracle_of(name, beta=10.0, sweeps=10, pace=0.5, step=0.2)
    found = repeated(oracle, params, 400 if name == "chain" else 200)
    value, gradient, _ = mg.value_and_gradient(net, params, *BATCH[:2], objective=LOSS)
    for got, desired in zip(
        of_batch(found.memory, 1), exact_adjoints(name, params), strict=True
    ):
        np.testing.assert_allclose(got, desired, atol=1e-9)
    assert found.value == pytest.approx(value, rel=1e-11)
    assert found.info.forward.final_residual < 1e-9
    difference = tree_map(np.subtract, found.gradient, gradient)
    assert mg.space(net).norm(difference) < 1e-9 * mg.space(net).norm(gradient)


@pytest.mark.parametrize("name", ["free", "chain"])
def test_a_penalty_s_errors_fall_as_beta_grows(name):
    """Defects, and the errors of beta d as adjoints, are O(1 / beta)."""
    params, betas = NETS[name].init(3), 10.0 ** np.array([2, 3, 4])
    adjoints, sizes, errors = exact_adjoints(name, params), [], []
    for beta in betas:
        oracle = oracle_of(name, beta=beta, pace=0.0, step=0.2, sweeps=50)
        found = repeated(oracle, params, 30)
        starts = of_batch(found.memory, 0)
        ends, _ = modules_ends(name, params, starts)
        defects = [end - start for end, start in zip(ends, starts, strict=True)]
        sizes.append(norm(defects))
        pairs = zip(defects, adjoints, strict=True)
        errors.append(norm([beta * d - w for d, w in pairs]))
        assert found.info.forward.final_residual == pytest.approx(sizes[-1], rel=1e-6)
    for measured in (sizes, errors):
        slope = np.polyfit(np.log(betas), np.log(measured), 1)[0]
        assert slope == pytest.approx(-1.0, abs=0.02)


def norm(arrays):
    return np.linalg.norm(np.concatenate([array.ravel() for array in arrays]))

"""A scalar linear problem: errors and contraction have closed forms."""

import numpy as np
import pytest
from cases import Scalar

import mgresnet as mg
from mgresnet.mgrit.solver import iterate

# Errors at the C-points of u' = -u / 20 with step 1 and intervals of 4 steps, from unit
# errors everywhere but at the start.
# After k corrections, with a = (phi^m - psi) phi^(m r) and r FC-sweeps, they are
# a^k sum_{i < n - (r + 1) k} binomial(i + k - 1, i) psi^i.
PHI, PSI, M, INTERVALS = 0.95, 0.8, 4, 16
GOLDEN = {
    0: (
        6.997928351e-02,
        4.381569960e-03,
        2.296969528e-04,
        9.737405653e-06,
        3.296766217e-07,
        8.888875245e-09,
    ),
    1: (
        5.647891563e-02,
        2.674659305e-03,
        9.106283470e-05,
        1.962815760e-06,
        2.359856829e-08,
        1.303592262e-10,
    ),
}


def errors(relaxations, k, start, n_intervals=INTERVALS, phi=PHI, psi=PSI):
    """C-point values after k corrections of the problem whose solution is zero."""
    n_steps = M * n_intervals
    guess = np.zeros((n_steps + 1, 1))
    guess[::M, 0] = start
    options = mg.MGRITOptions((M,), relaxations, max_iterations=k, tolerance=0.0)
    result = iterate(
        Scalar(phi, psi, n_steps),
        np.zeros(1),
        (M,),
        options,
        mg.SerialComm(),
        guess=guess,
    )
    return result.points[:, 0]


@pytest.mark.parametrize("relaxations", GOLDEN)
def test_scalar_errors_are_the_golden_numbers(relaxations):
    unit = np.ones(INTERVALS + 1)
    unit[0] = 0.0
    for k, golden in enumerate(GOLDEN[relaxations], start=1):
        assert errors(relaxations, k, unit).max() == pytest.approx(
            golden, rel=5e-10, abs=0
        )
    exact_after = INTERVALS // (relaxations + 1)
    assert abs(errors(relaxations, exact_after - 1, unit)).max() > 0.0
    assert (errors(relaxations, exact_after, unit) == 0.0).all()


@pytest.mark.parametrize("relaxations", [0, 1])
@pytest.mark.parametrize("n_intervals", [8, 32])
@pytest.mark.parametrize(("phi", "psi"), [(0.95, 0.8), (0.7, -0.2), (0.99, 0.96)])
def test_one_correction_contracts_as_the_theory_says(
    relaxations, n_intervals, phi, psi
):
    unit = np.eye(n_intervals + 1)[1:]
    columns = [errors(relaxations, 1, e, n_intervals, phi, psi)[1:] for e in unit]
    propagator = np.array(columns).T
    g = abs(phi**M - psi) * abs(phi) ** (M * relaxations)
    size = abs(psi)
    exact = g * (1 - size ** (n_intervals - 1 - relaxations)) / (1 - size)
    assert np.linalg.norm(propagator, np.inf) == pytest.approx(exact, rel=1e-12)
    two = np.linalg.norm(propagator, 2)
    curve = np.pi**2 * size / (n_intervals - relaxations) ** 2
    assert g / np.sqrt((1 - size) ** 2 + curve) <= two
    assert two <= g / np.sqrt((1 - size) ** 2 + curve / 6)
    assert two <= g / (1 - size)

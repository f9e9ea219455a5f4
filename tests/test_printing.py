"""What results print: a few short lines that say what one wants to know."""

import numpy as np
import pytest

import mgresnet as mg

NET = mg.Network(mg.Dense(16), 256, 4.0, mg.Linear(3, 16), mg.Linear(16, 2))
PARAMS = NET.init(smooth=5)
INPUTS = np.random.default_rng(4801).standard_normal((32, 3))
LABELS = np.arange(32) % 2
OPTIONS = mg.MGRITOptions((4, 4), 0, max_iterations=3, tolerance=0.0)
LEARN = {"objective": mg.SoftmaxCrossEntropy(), "forward": OPTIONS}


def assert_short(result, lines, width=88):
    """The same text wherever it is printed, of so many lines at most."""
    text = str(result)
    assert repr(result) == f"{result}" == text
    assert 1 <= len(text.splitlines()) <= lines
    assert max(map(len, text.splitlines())) <= width
    return text


@pytest.mark.parametrize("options", [OPTIONS, mg.MGRITOptions.serial()])
def test_a_solution_is_a_table(options):
    solution = mg.solve_forward(NET, PARAMS, INPUTS, options=options)
    rows = dict(
        line.split(maxsplit=1) for line in assert_short(solution, 7).splitlines()
    )
    assert rows["states"] == "(257, 32, 16) float64"
    assert rows["layers"] == "0..255"
    assert rows["status"] == solution.status.name
    assert rows["iterations"] == str(solution.iterations)
    history = " ".join(f"{r:.1e}" for r in solution.residuals)
    assert rows["residuals"] == (history or "none")
    work = sum(n for (level, _), n in solution.work.items() if level == 0)
    assert rows["steps"].startswith(f"level 0: {work}")


def test_long_histories_are_cut():
    options = mg.MGRITOptions((4,), 0, max_iterations=60, tolerance=0.0)
    solution = mg.solve_forward(NET, PARAMS, INPUTS, options=options)
    row = assert_short(solution, 7).splitlines()[4]
    first, last = solution.residuals[[0, -1]]
    assert row.startswith(f"residuals   {first:.1e} ")
    assert row.endswith(f" .. {last:.1e}")


def test_an_info_is_two_tables():
    _, _, info = mg.value_and_gradient(NET, PARAMS, INPUTS, LABELS, **LEARN)
    text = assert_short(info, 18, width=100)
    assert text.splitlines()[0] == f"loss  {info.loss:.4e}"
    for solution in (info.forward, info.adjoint):
        assert all(f"  {line}\n" in f"{text}\n" for line in str(solution).splitlines())


def test_a_record_and_an_evaluation_are_lines():
    batches = [(INPUTS, LABELS)]
    record = next(
        mg.train(NET, PARAMS, batches, optimiser=mg.sgd(0.1), check_every=1, **LEARN)
    )
    assert assert_short(record, 1, width=120) == (
        f"step 0  epoch 0  loss {record.loss:.3e}  gradient {record.gradient_norm:.1e}"
        f"  error {record.gradient_error:.1e}  iterations 3 + 0  MAX_ITERATIONS"
    )
    found = mg.evaluate(NET, PARAMS, INPUTS, LABELS, objective=mg.SoftmaxCrossEntropy())
    assert_short(found, 1)

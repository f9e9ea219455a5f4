"""Non-linear regression, serial against parallel over layers, beside scikit-learn.

Sine and Peaks are computed; airfoil, concrete, power-plant and california are read
from --data-dir, if it is given.  Both ways have the same splits, first weights and
batches for a seed.  MLPRegressor and HistGradientBoostingRegressor of scikit-learn, by
default settings, learn from the same splits, if it is installed.

References
----------
.. [1] R. Datar, H. Köstler, ECCOMAS 2022: two regression tasks, which ones is not known
   here; these are documented ones.
"""

from importlib.util import find_spec
from typing import Any

import numpy as np

from mgresnet.control import BSpline
from mgresnet.data import Problem, load_problem
from mgresnet.data.measured import MEASUREMENTS
from mgresnet.layers import Dense, Linear
from mgresnet.learning import schedules
from mgresnet.learning.optimisers import adam
from mgresnet.network import Network
from mgresnet.solve.regression import LeastSquares
from mgresnet.studies import comparison
from mgresnet.studies.against_serial import WAYS, run
from mgresnet.studies.statistics import estimate
from mgresnet.studies.study import Case, Request, Row, Study

COMPUTED = ("sine", "peaks-regression")
PERCEPTRON, BOOSTING = "MLPRegressor", "gradient boosting"
RIVALS = (PERCEPTRON, BOOSTING)


def cases(request: Request) -> list[Case]:
    """Both ways for every task and seed, and rivals if they are there."""
    size = {"depth": 32, "steps": 8, "batch": 16} if request.quick else {}
    rest = {"depth": 256, "steps": 600, "batch": 128} | size
    measured = MEASUREMENTS if request.data_dir else ()
    for task in measured:
        load_problem(task, data_dir=request.data_dir)  # refuses other files
    tasks = [*COMPUTED, *measured]
    rivals = RIVALS if find_spec("sklearn") and not request.quick else ()
    return [
        {"task": task, "way": way, "seed": seed, **rest}
        for seed in request.repetitions(10)
        for task in tasks
        for way in (*WAYS, *rivals)
    ]


def load(case: Case, request: Request) -> Problem:
    """Samples of a task, split by the seed."""
    task = case["task"]
    folder = request.data_dir if task in MEASUREMENTS else None
    return load_problem(task, seed=case["seed"], data_dir=folder)


def measure(case: Case, request: Request) -> dict[str, Any]:
    """Curves and the error on new data, in the units of the measurement."""
    problem, seed = load(case, request), case["seed"]
    unit = 1.0 if problem.units is None else problem.units[0]
    if case["way"] in RIVALS:
        return {"rmse": unit * _rival(case["way"], problem, seed)}
    ends = Linear(problem.n_features, 8, "tanh"), Linear(8, 1)
    net = Network(Dense(8), case["depth"], 5.0, *ends, BSpline(8))
    optimiser = adam(schedules.cosine(0.01, case["steps"]))
    sizes = {name: case[name] for name in ("steps", "batch", "seed")}
    loss = LeastSquares()
    found = run(case["way"], net, problem, request, loss, optimiser, **sizes)
    return found | {"rmse": unit * float(np.sqrt(2.0 * found["validation_loss"]))}


def _rival(name: str, problem: Problem, seed: int) -> float:
    """Error on new data of a regressor of scikit-learn."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.neural_network import MLPRegressor

    kind = MLPRegressor if name == PERCEPTRON else HistGradientBoostingRegressor
    inputs, targets = problem.train
    fitted = kind(random_state=seed).fit(inputs, targets.ravel())
    rest = problem.validation
    errors = fitted.predict(rest.inputs) - rest.targets.ravel()
    return float(np.sqrt(np.mean(errors**2)))


def table(rows: list[Row]) -> list[str]:
    """Errors of all ways, and what parallel propagation costs."""
    ways = [*dict.fromkeys(row.case["way"] for row in rows)]
    lines = ["root mean square error on new data, in units of the measurement"]
    lines.append(f"{'':17s} " + " ".join(f"{way:28s}" for way in ways))
    for task in comparison.tasks_of(rows):
        found = (estimate(comparison.results(rows, task, way, "rmse")) for way in ways)
        lines.append(f"{task:17s} " + " ".join(f"{each!s:28s}" for each in found))
    if set(RIVALS) - set(ways):
        lines.append("scikit-learn is not installed, or the run is a quick one")
    return [*lines, "", *comparison.compared(rows, "R2")]


STUDY = Study(
    "regression, serial against parallel over layers",
    cases,
    measure,
    table,
    comparison.curves,
)

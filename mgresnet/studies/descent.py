"""Fashion-MNIST by gradient descent with momentum, serial and parallel over layers.

In full with --data-dir, the folder of the four original files; else the 500 samples
that are shipped.  Dense layers, weights from a spline over depth.

References
----------
.. [1] E. C. Cyr, "Adapting Multi-Grid-in-Time to Train Deep Neural Networks", slides:
   no loss of accuracy against serial training; numbers are not known here.
"""

from typing import Any

from mgresnet.control import BSpline
from mgresnet.data import load_problem
from mgresnet.layers import Dense, Linear
from mgresnet.learning.optimisers import sgd
from mgresnet.learning.transforms import chain, clip_by_global_norm
from mgresnet.network import Network
from mgresnet.solve.classification import SoftmaxCrossEntropy
from mgresnet.studies import comparison
from mgresnet.studies.against_serial import WAYS, run
from mgresnet.studies.study import Case, Request, Row, Study


def cases(request: Request) -> list[Case]:
    """Both ways for every seed; steps of five passes over all samples."""
    full = {"depth": 64, "width": 32, "steps": 3000 if request.data_dir else 100}
    size = {"depth": 32, "width": 8, "steps": 6} if request.quick else full
    return [
        {"task": "fashion-mnist", "way": way, "seed": seed, "batch": 100, **size}
        for seed in request.repetitions(3)
        for way in WAYS
    ]


def measure(case: Case, request: Request) -> dict[str, Any]:
    """Curves, and the accuracy on new data."""
    folder = None if request.quick else request.data_dir
    problem = load_problem(case["task"], seed=case["seed"], data_dir=folder)
    width = case["width"]
    ends = Linear(problem.n_features, width, "tanh"), Linear(width, 10)
    net = Network(Dense(width), case["depth"], 2.0, *ends, BSpline(8))
    optimiser = chain(clip_by_global_norm(1.0), sgd(0.05, momentum=0.9))
    sizes = {name: case[name] for name in ("steps", "batch", "seed")}
    loss = SoftmaxCrossEntropy()
    return run(case["way"], net, problem, request, loss, optimiser, **sizes)


def table(rows: list[Row]) -> list[str]:
    """Accuracies and modelled times."""
    return comparison.compared(rows, "accuracy")


STUDY = Study(
    "Fashion-MNIST by gradient descent, serial against parallel over layers",
    cases,
    measure,
    table,
    comparison.curves,
)

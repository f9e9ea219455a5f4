"""Images and spectra by gradient descent, serial and parallel over layers.

Momentum; 512 dense layers, whose weights are a spline over depth; gradients to 1 % by
the controller, which plans for 16 ranks.  In full with --data-dir, the folder of the
original files: all images of Fashion-MNIST or MNIST, or all labelled spectra of Indian
Pines.  The 500 images of Fashion-MNIST that are shipped do without.

References
----------
.. [1] E. C. Cyr, "Adapting Multi-Grid-in-Time to Train Deep Neural Networks", slides:
   no loss of accuracy against serial training; numbers are not known here.
.. [2] S. Günther et al., "Layer-Parallel Training of Deep Residual Neural Networks",
   SIAM J. Math. Data Sci. 2(1), 2020: Indian Pines and MNIST, other networks.
"""

from functools import partial
from typing import Any

from mgresnet.control import BSpline
from mgresnet.data import load_problem
from mgresnet.layers import Dense, Linear
from mgresnet.learning.ladder import default_options
from mgresnet.learning.optimisers import sgd
from mgresnet.learning.transforms import chain, clip_by_global_norm
from mgresnet.network import Network
from mgresnet.solve.classification import SoftmaxCrossEntropy
from mgresnet.studies import comparison
from mgresnet.studies.against_serial import WAYS, Solver, run
from mgresnet.studies.study import Case, Request, Row, Study

SHIPPED = "fashion-mnist"
RANKS = 16  # each has a run of 32 layers
PASSES = {"fashion-mnist": 5, "mnist": 5, "indian-pines": 200}


def cases(task: str, request: Request) -> list[Case]:
    """Both ways for every seed."""
    name = request.readable(task, SHIPPED)
    problem = load_problem(name, data_dir=request.data_dir)
    batch = min(250, len(problem.train.inputs) // 2)
    steps = PASSES[task] * (len(problem.train.inputs) // batch)
    full = {"depth": 512, "width": 32, "steps": steps, "batch": batch}
    small = {"depth": 32, "width": 8, "steps": 6, "batch": 100}
    sizes = small if request.quick else full
    return [
        {"task": name, "way": way, "seed": seed, **sizes}
        for seed in request.repetitions(5)
        for way in WAYS
    ]


def measure(case: Case, request: Request) -> dict[str, Any]:
    """Curves, plans, and the accuracy on new data."""
    problem = load_problem(case["task"], seed=case["seed"], data_dir=request.data_dir)
    width, depth = case["width"], case["depth"]
    ends = Linear(problem.n_features, width, "tanh"), Linear(width, problem.n_outputs)
    net = Network(Dense(width), depth, 5.0, *ends, BSpline(12))
    ranks = min(RANKS, depth // 8)
    solver = Solver(default_options(net, ranks), 1e-2, ranks)
    optimiser = chain(clip_by_global_norm(1.0), sgd(0.05, momentum=0.9))
    sizes = {name: case[name] for name in ("steps", "batch", "seed")}
    loss = SoftmaxCrossEntropy()
    return run(case["way"], net, problem, request, loss, optimiser, solver, **sizes)


def table(rows: list[Row]) -> list[str]:
    """Accuracies, modelled times, plans by quarters of training."""
    return [*comparison.compared(rows, "accuracy"), *comparison.by_plans(rows)]


def _study(task: str) -> Study:
    about = f"{task} by gradient descent, serial against parallel over layers"
    return Study(about, partial(cases, task), measure, table, comparison.curves)


FASHION, MNIST, PINES = map(_study, PASSES)

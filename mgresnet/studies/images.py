"""Convolutional networks in stages, serial and parallel over layers.

Three stages of 64 layers of two convolutions; images are halved before each.  Weights
are a spline over depth.  MNIST or CIFAR-10 with --data-dir, the folder of the original
files; --quick does without, by images that are shipped or drawn.

References
----------
.. [1] E. C. Cyr, "Adapting Multi-Grid-in-Time to Train Deep Neural Networks", slides:
   MNIST, layers of two convolutions; numbers are not known here.
"""

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from mgresnet.data import Problem, load_problem
from mgresnet.learning import schedules
from mgresnet.learning.ladder import default_options
from mgresnet.learning.optimisers import adam
from mgresnet.learning.transforms import chain, clip_by_global_norm
from mgresnet.resnets import resnet
from mgresnet.solve.classification import SoftmaxCrossEntropy
from mgresnet.studies import comparison
from mgresnet.studies.against_serial import WAYS, Solver, run
from mgresnet.studies.study import Case, Request, Row, Study

RANKS = 8  # each has a run of 8 layers in every stage
SHIPPED = {"mnist": "fashion-mnist", "cifar-10": "shapes"}
FORM: dict[str, Any] = {
    "spline": 8,
    "final_time": 2.0,
    "stride": 2,
    "activation": "relu",
}


def cases(task: str, request: Request) -> list[Case]:
    """Both ways for every seed."""
    name = request.readable(task, SHIPPED[task])
    full = {"depth": 64, "channels": [4, 8, 16], "steps": 300, "batch": 50}
    small = {"depth": 16, "channels": [2, 4], "steps": 4, "batch": 20}
    size = small if request.quick else full
    size["n_train"] = 100 if request.quick else 4000
    _images(name, request.repetitions(5)[0], size["n_train"], request.data_dir)
    return [
        {"task": name, "way": way, "seed": seed, **size}
        for seed in request.repetitions(5)
        for way in WAYS
    ]


def measure(case: Case, request: Request) -> dict[str, Any]:
    """Curves, plans, and the accuracy on new data."""
    steps, drawn = case["steps"], (case["seed"], case["n_train"])
    problem = _images(case["task"], *drawn, request.data_dir)
    shape: Any = problem.image_shape
    form: dict[str, Any] = {name: case[name] for name in ("depth", "channels")}
    net = resnet(shape, problem.n_outputs, **FORM, **form)
    ranks = min(RANKS, case["depth"] // 8)
    solver = Solver(default_options(net, ranks), 1e-2, ranks)
    optimiser = chain(clip_by_global_norm(1.0), adam(schedules.cosine(0.005, steps)))
    rest = {"steps": steps, "batch": case["batch"], "seed": case["seed"]}
    loss = SoftmaxCrossEntropy()
    return run(case["way"], net, problem, request, loss, optimiser, solver, **rest)


@lru_cache(maxsize=1)
def _images(task: str, seed: int, n_train: int, folder: Path | None) -> Problem:
    """Some to learn from, and all new ones; without a folder those that are shipped."""
    sizes: dict[str, Any] = {"seed": seed, "n_train": n_train, "n_validation": None}
    return load_problem(task, data_dir=folder, **sizes)


def table(rows: list[Row]) -> list[str]:
    """Accuracies, modelled times, plans by quarters of training."""
    return [*comparison.compared(rows, "accuracy"), *comparison.by_plans(rows)]


def _study(task: str) -> Study:
    about = f"{task} by a convolutional network in stages, serial against parallel"
    return Study(about, partial(cases, task), measure, table, comparison.curves)


CONV_MNIST, CIFAR = _study("mnist"), _study("cifar-10")

"""Nested iteration against training the finest network alone, at equal work.

Peaks with 5 and 8 channels, four sets of hyper-parameters (Tikhonov 1e-5 and 1e-7,
first weights of layers 0 and up to 1e-6), twelve runs of each as in [1]_; three levels,
copies on refinement, L-BFGS.  Both ways start from the same opening and head,
and the second one goes on until it has done as much work.  Data are drawn anew: the
published validation points are in part those of training.

References
----------
.. [1] E. C. Cyr, "Adapting Multi-Grid-in-Time to Train Deep Neural Networks", slides;
   accuracies on the validation data there, in per cent, in `THEIRS`.
"""

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import numpy as np

from mgresnet.data import Problem, load_problem
from mgresnet.layers import Dense, Linear
from mgresnet.learning.evaluation import evaluate
from mgresnet.learning.layer_parallel import LayerParallel, layer_parallel
from mgresnet.learning.lbfgs import lbfgs
from mgresnet.learning.nested import nested_iteration
from mgresnet.learning.record import Record
from mgresnet.learning.trainer import train
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network, Params
from mgresnet.solve.classification import SoftmaxCrossEntropy
from mgresnet.solve.penalties import Regularisation
from mgresnet.studies.statistics import Estimate, estimate
from mgresnet.studies.study import Case, Request, Row, Study
from mgresnet.studies.work import work_units

WAYS = ("nested", "alone")
THEIRS = {
    (5, "nested"): "mean 86.7 median 88.0 max 97.0 min 66.0 deviation 7.69",
    (5, "alone"): "mean 85.0 median 88.5 max 95.0 min 20.0 deviation 11.7",
    (8, "nested"): "mean 92.3 median 94.0 max 99.0 min 72.5 deviation 5.18",
    (8, "alone"): "mean 90.7 median 91.8 max 96.5 min 57.0 deviation 6.08",
}
SERIAL = MGRITOptions.serial()
LOSS = SoftmaxCrossEntropy()


def cases(request: Request) -> list[Case]:
    """All sets and runs; `steps` are those of every level."""
    size = {"depth": 2, "steps": [3, 3, 3], "n": 50} if request.quick else {}
    rest = {"depth": 8, "steps": [40, 40, 40], "n": 1000} | size
    sets = [(tik, size) for tik in (1e-5, 1e-7) for size in (0.0, 1e-6)]
    if request.quick:
        sets = sets[:1]
    return [
        {"width": width, "tikhonov": tik, "first": first, "seed": seed, **rest}
        for width in (5, 8)
        for tik, first in sets
        for seed in request.repetitions(12)
    ]


def start(case: Case) -> tuple[Network, Params]:
    """Coarsest network; weights are positive, as in the papers' code."""
    width = case["width"]
    ends = Linear(2, width, "smooth_relu"), Linear(width, 5)
    net = Network(Dense(width, "smooth_relu"), case["depth"], 5.0, *ends)
    rng = np.random.default_rng((case["seed"], 13))
    opening, body, head = (rng.random(x.shape) for x in net.init(0) if x is not None)
    return net, Params(0.1 * opening, case["first"] * body, 0.1 * head)


def measure(case: Case, request: Request) -> dict[str, Any]:
    """Accuracy on new data and work of both ways."""
    data = load_problem("peaks", n_train=case["n"], seed=case["seed"])
    batch, (net, params) = tuple(data.train), start(case)
    penalties = Regularisation(case["tikhonov"], 1e-5, case["tikhonov"])

    def oracle(net: Network) -> LayerParallel:
        return layer_parallel(net, LOSS, regularisation=penalties)

    levels = [[batch] * steps for steps in case["steps"]]
    how = {"optimiser": lbfgs(20), "oracle": oracle}
    nested = list(nested_iteration(net, params, levels, **how))  # type: ignore[arg-type]
    (depth,) = nested[-1].state.depth
    fine = Network(net.layer, depth, net.final_time, net.opening, net.head)
    units = work_units(nested, SERIAL, depth)
    rows = np.repeat(params.body, depth // net.depth, axis=0)
    own = train(
        fine,
        params._replace(body=rows),
        repeat(batch),
        optimiser=lbfgs(20),
        oracle=oracle(fine),
    )
    alone = list(_until(own, units[-1], depth))
    found = {"nested": nested, "alone": alone}
    return {
        way: {
            "accuracy": _accuracy(fine, records[-1], data),
            "units": work_units(records, SERIAL, depth)[-1],
            "objective": records[-1].value,
            "steps": len(records),
        }
        for way, records in found.items()
    }


def _until(records: Iterator[Record], units: float, depth: int) -> Iterator[Record]:
    """Records until so much work is done."""
    done: list[Record] = []
    for record in records:
        done.append(record)
        yield record
        if work_units(done, SERIAL, depth)[-1] >= units:
            return


def _accuracy(net: Network, record: Record, data: Problem) -> float:
    found = evaluate(net, record.params, *data.validation, objective=LOSS)
    return 100.0 * found.score


def accuracies(rows: list[Row], width: int, way: str) -> list[float]:
    """Of all runs with so many channels."""
    return [row.result[way]["accuracy"] for row in rows if row.case["width"] == width]


def gain(rows: list[Row], width: int) -> Estimate:
    """Nested less alone, of seeds: their four sets have the same data and ends."""
    of_seeds: dict[int, list[float]] = {}
    for row in rows:
        if row.case["width"] == width:
            both = (row.result[way]["accuracy"] for way in WAYS)
            of_seeds.setdefault(row.case["seed"], []).append(np.subtract(*both))
    return estimate([float(np.mean(gains)) for gains in of_seeds.values()])


def table(rows: list[Row]) -> list[str]:
    """Accuracies on new data in per cent, ours and theirs."""
    lines = []
    for width in (5, 8):
        both = [accuracies(rows, width, way) for way in WAYS]
        for way, values in zip(WAYS, both, strict=True):
            about = (
                f"mean {np.mean(values):.1f} median {np.median(values):.1f} "
                f"max {max(values):.1f} min {min(values):.1f} "
                f"deviation {estimate(values).deviation:.2f}"
            )
            lines.append(f"{width} channels {way:7s} ours    {about}")
            lines.append(f"{'':18s} theirs  {THEIRS[width, way]}")
        lines.append(
            f"{width} channels nested less alone, by seed: {gain(rows, width)}"
        )
    units = [[row.result[way]["units"] for row in rows] for way in WAYS]
    ratio = np.mean(units[1]) / np.mean(units[0])
    lines.append(f"work of training alone over that of nested iteration: {ratio:.3f}")
    return lines


def draw(rows: list[Row]) -> dict[str, Any]:
    """Differences with intervals, for every set."""
    from mgresnet.plotting.studies import draw_estimates

    sets: dict[str, list[float]] = {}
    for row in rows:
        c, r = row.case, row.result
        name = f"{c['width']} channels, {c['tikhonov']:.0e}, {c['first']:.0e}"
        gain = r["nested"]["accuracy"] - r["alone"]["accuracy"]
        sets.setdefault(name, []).append(gain)
    found = {name: estimate(values) for name, values in sets.items()}
    intervals = {name: (e.mean, e.low, e.high) for name, e in found.items()}
    return {"gains": draw_estimates(intervals, "accuracy, nested less alone, per cent")}


STUDY = Study(
    "nested iteration on Peaks at equal work, 96 paired runs",
    cases,
    measure,
    table,
    draw,
)

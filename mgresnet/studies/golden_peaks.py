r"""Ten steps of L-BFGS that LayerParallelLearning has on record, number by number.

Its test `peaks` trains 30 layers on the first 200 rows of its Peaks file, which are all
of one class: meaningless as learning, and the strongest check of a trainer there is.
Two things are repeated here because the numbers have them in them: weights are drawn by
``rand()`` of the C library, all positive; and the gradient lacks the penalty on changes
over depth, whose factor is cut to an integer there.

References
----------
.. [1] S. Günther et al., "Layer-Parallel Training of Deep Residual Neural Networks",
   SIAM J. Math. Data Sci. 2(1), 2020, and its code LayerParallelLearning, testing/.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mgresnet.arrays.layout import Array
from mgresnet.data import Batch
from mgresnet.layers import Dense, Linear
from mgresnet.learning.layer_parallel import layer_parallel
from mgresnet.learning.lbfgs import lbfgs
from mgresnet.learning.one_shot import OneShot, Warm, one_shot
from mgresnet.learning.oracle import FirstOrder, Oracle
from mgresnet.learning.trainer import train
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network, Params
from mgresnet.solve.classification import SoftmaxCrossEntropy
from mgresnet.solve.penalties import Regularisation
from mgresnet.solve.slab import Slab
from mgresnet.studies.study import Case, Request, Row, Study

N_SAMPLES = 200
GRADIENT_TOLERANCE = 1e-4
FILES = ("features_training.dat", "labels_training.dat")

# Objective and 2-norm of the gradient before each step; None is not on record.
SERIAL: tuple[tuple[float | None, float | None], ...] = (
    (1.60984004756623e00, 9.03377396511644e-01),
    (8.93239286255709e-01, 6.81449400412647e-01),
    (1.02108925186047e-03, 6.34518588836703e-03),
    (8.19689044081459e-04, 5.16417142434467e-03),
    (3.01860305788720e-04, 2.02367876303885e-03),
    (1.53083926218962e-04, 1.06780795927227e-03),
    (6.93899066717024e-05, 5.03762096915996e-04),
    (3.33613003405367e-05, 2.48390511756687e-04),
    (1.61560628170548e-05, 1.20484538338516e-04),
    (8.24525281601318e-06, 5.88256856053799e-05),
)
NONE = (None, None)
MGRIT = (
    *(NONE, NONE, (1.02108925187683e-03, 6.34519980881531e-03)),
    *(NONE, NONE, NONE, NONE, NONE, NONE, (None, 5.88276625632621e-05)),
)
GOLDEN = {"serial": SERIAL, "mgrit": MGRIT}

# Residual of the adjoints from step 1 on, by the record divided by the batch size.
RESIDUALS = (
    *(7.25517688e-15, 9.60255046e-11, 1.28760952e-13, 5.37446877e-13, 2.38790441e-13),
    *(2.01586102e-13, 1.26934224e-13, 8.76925340e-14, 5.77250089e-14),
)


@dataclass(frozen=True)
class AsShipped:
    """Penalties of which the one on changes over depth has no gradient."""

    whole: Regularisation

    def of_slab(self, slab: Slab, params: Params) -> tuple[float, Params]:
        """Penalty, and the gradient of its other parts."""
        value, _ = self.whole.of_slab(slab, params)
        flat = Regularisation(self.whole.tikhonov, 0.0, self.whole.head)
        return value, flat.of_slab(slab, params)[1]


@dataclass(frozen=True)
class StaleAtCPoints:
    """One-shot oracle whose gradient is partly that of one correction less.

    The record's last sweep passes F-points alone.  For layers whose step back ends at a
    C-point it keeps what the residual before the last correction was taken from.
    """

    fresh: OneShot
    stale: OneShot

    @property
    def options(self) -> MGRITOptions | None:
        """Of the forward solve."""
        return self.fresh.options

    def init(self, params: Any) -> Warm:
        """Nothing to start from."""
        return self.fresh.init(params)

    def check(self, params: Any, batch: Any) -> Any:
        """The batch as arrays, or an error if it does not fit."""
        return self.fresh.check(params, batch)

    def evaluate(self, params: Any, batch: Any, memory: Warm) -> FirstOrder:
        """Value and gradient, rows of every other layer and residuals stale."""
        fresh = self.fresh.evaluate(params, batch, memory)
        stale = self.stale.evaluate(params, batch, memory)
        body = fresh.gradient.body.copy()
        body[::2] = stale.gradient.body[::2]
        gradient = fresh.gradient._replace(body=body)
        return fresh._replace(gradient=gradient, info=stale.info)

    def value(self, params: Any, batch: Any, memory: Warm) -> float:
        """Value from the states of the step before."""
        return self.fresh.value(params, batch, memory)


def c_random(n: int) -> Array:
    """First n numbers of ``rand()`` of glibc with seed 1, divided by its largest."""
    r = [1]
    for _ in range(30):
        r.append(16807 * r[-1] % 2147483647)
    r += r[:3]
    for i in range(34, 344 + n):
        r.append((r[i - 31] + r[i - 3]) % 2**32)
    return np.array([number >> 1 for number in r[344:]]) / (2**31 - 1)


def read_rows(folder: Path | None) -> Batch:
    """First rows of the Peaks files of LayerParallelLearning, packed or not."""
    if folder is None:
        raise ValueError(
            f"the study needs {' and '.join(FILES)} of LayerParallelLearning, "
            "examples/peaks; give --data-dir FOLDER"
        )
    parts = []
    for name in FILES:
        found = [folder / name, folder / f"{name}.gz"]
        there = [path for path in found if path.is_file()]
        if not there:
            raise FileNotFoundError(
                f"there is no {found[0]}, nor {name}.gz; give the folder "
                "examples/peaks of LayerParallelLearning by --data-dir"
            )
        parts.append(np.loadtxt(there[0], max_rows=N_SAMPLES, ndmin=2))
    return Batch(parts[0], parts[1].argmax(axis=1))


def network() -> tuple[Network, Params]:
    """Network and first weights: small positive ends, layers of zeros."""
    layer = Dense(8, "smooth_relu", bias="scalar")
    opening = Linear(2, 8, "smooth_relu", bias="scalar")
    net = Network(layer, 30, 1.0, opening, Linear(8, 5))
    zeros = net.init(seed=0)
    n, m = opening.n_params, zeros.body.size
    drawn = 1e-3 * c_random(n + m + 45)
    return net, Params(drawn[:n], np.zeros_like(zeros.body), drawn[n + m :])


def oracle_of(way: str, net: Network) -> Oracle:
    """Marching through all layers, or the two levels of the record."""
    penalties: Any = AsShipped(Regularisation(1e-7, 1e-5, 1e-7))
    loss = SoftmaxCrossEntropy()
    if way == "serial":
        return layer_parallel(net, loss, regularisation=penalties)
    forward, *adjoints = (
        MGRITOptions(
            (2,),
            max_iterations=most,
            tolerance=tolerance,
            coarse_operator="injection",
            initial_guess="zero",
        )
        for most, tolerance in ((15, 1e-15), (2, 0.0), (1, 0.0))
    )
    ways = {"regularisation": penalties, "forward": forward}
    both = (layer_parallel(net, loss, adjoint=way, **ways) for way in adjoints)
    return StaleAtCPoints(*map(one_shot, both))


def cases(request: Request) -> list[Case]:
    """Both ways; the files are read to see that they are there."""
    read_rows(request.data_dir)
    return [{"propagation": way} for way in GOLDEN]


def measure(case: Case, request: Request) -> dict[str, Any]:
    """Objective, gradient and residual before every step, until it stops."""
    net, params = network()
    batch, found = read_rows(request.data_dir), []
    how = {"oracle": oracle_of(case["propagation"], net), "optimiser": lbfgs(20)}
    for record in train(net, params, [batch] * 100, **how):  # type: ignore[arg-type]
        residual = (record.adjoint_residual or 0.0) / N_SAMPLES
        found.append([record.value, record.gradient_norm, residual])
        if record.gradient_norm < GRADIENT_TOLERANCE:
            break
    return {"steps": found}


def differences(row: Row) -> list[list[float | None]]:
    """Relative differences of objective and gradient norm from those on record."""
    golden = GOLDEN[row.case["propagation"]]
    return [
        [
            None if b is None else abs(a - b) / b
            for a, b in zip(ours[:2], theirs, strict=True)
        ]
        for ours, theirs in zip(row.result["steps"], golden, strict=True)
    ]


def table(rows: list[Row]) -> list[str]:
    """Every step, and how far it is from the record."""
    lines = ["propagation  step  objective             gradient              off by"]
    for row in rows:
        for k, (step, off) in enumerate(
            zip(row.result["steps"], differences(row), strict=True)
        ):
            parts = ["-" if x is None else f"{x:.0e}" for x in off]
            lines.append(
                f"{row.case['propagation']:11s}  {k:4d}  {step[0]:.14e}  {step[1]:.14e}"
                f"  {'  '.join(parts)}"
            )
    return lines


def draw(rows: list[Row]) -> dict[str, Any]:
    """Nothing: the table says all."""
    return {}


STUDY = Study(
    "ten steps of L-BFGS on record, to nine digits", cases, measure, table, draw
)

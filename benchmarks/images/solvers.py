"""How well coarse operators serve convolutional networks once they are trained.

One stage of layers of two convolutions with relu, 8 channels of 8 x 8 points, learns
images exactly; then a batch is solved with each coarse operator.  Weights are a spline
over depth or free, the step is T / N (64 layers, T = 2, m = 8) or 1 (16 layers, m = 4).
Images are CIFAR-10 with --data-dir, else drawn figures.  Takes 5 minutes.
"""

from typing import Any

import mgresnet as mg
from harness.command import answer, parser
from harness.machine import stamp
from harness.problem import relative_error
from harness.table import Rows, table
from mgresnet.layers.coarse import COARSE_OPERATORS

CHANNELS, BATCH, RATE, STEPS = 8, 64, 0.005, 200
CORRECTIONS = (0, 1, 2)
OBJECTIVE = mg.SoftmaxCrossEntropy()
CASES = (  # control, depth, final time, coarsening
    ("spline", mg.BSpline(8), 64, 2.0, 8),
    ("free", mg.Free(), 64, 2.0, 8),
    ("spline", mg.BSpline(8), 16, 16.0, 4),
    ("free", mg.Free(), 16, 16.0, 4),
)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--data-dir", help="folder of CIFAR-10's binary files")
    a = options.parse_args()

    def measured() -> dict[str, Any]:
        return {"machine": stamp(), **measure(a.quick, a.data_dir)}

    answer("image_solvers", a, measured, report)


def measure(quick: bool, data_dir: str | None) -> dict[str, Any]:
    """Residuals and errors for all cases and coarse operators."""
    name, n = ("cifar-10", 4000) if data_dir else ("shapes", 1000)
    problem = mg.load_problem(name, n_train=n, n_validation=200, data_dir=data_dir)
    steps = 20 if quick else STEPS
    rows = [row for case in CASES for row in one_case(problem, steps, *case)]
    return {"source": name, "steps": steps, "rows": rows}


def one_case(
    problem: Any,
    steps: int,
    weights: str,
    control: Any,
    depth: int,
    time: float,
    m: int,
) -> Rows:
    """Train, then solve with every coarse operator."""
    opening = mg.Convolve(problem.image_shape, CHANNELS, problem.image_shape[1] // 8)
    layer = mg.Conv2d(opening.out_shape, activation="relu", kind="double")
    head = mg.PooledLinear(layer.shape, problem.n_outputs)
    net = mg.Network(layer, depth, time, opening, head, control)
    params = net.init(seed=6701)
    if time == depth:  # else states of 16 layers overflow
        params = params._replace(body=0.3 * params.body)
    serial = mg.MGRITOptions.serial((m,))
    way = {"objective": OBJECTIVE, "forward": serial, "adjoint": serial}
    epochs = -(-steps * BATCH // len(problem.train.inputs))
    train = mg.batches(problem.train, BATCH, epochs, drop_last=True)
    for record in mg.train(net, params, train, optimiser=mg.adam(RATE), **way):
        params, loss = record.params, record.loss
        if record.step == steps:
            break
    batch = next(mg.batches(problem.train, BATCH, seed=6703))[:2]
    _, exact, _ = mg.value_and_gradient(net, params, *batch, **way)
    head_of = {"weights": weights, "h": net.step, "depth": depth, "m": m, "loss": loss}
    return [
        head_of | {"operator": name} | solved(net, params, batch, exact, m, name)
        for name in COARSE_OPERATORS
    ]


def solved(
    net: Any, params: Any, batch: Any, exact: Any, m: int, operator: str
) -> dict[str, Any]:
    """Residuals before every correction, and errors of gradients."""
    errors, residuals = [], []
    for k in CORRECTIONS:
        how = mg.MGRITOptions(
            (m,), max_iterations=k, tolerance=0.0, coarse_operator=operator
        )
        way = {"objective": OBJECTIVE, "forward": how, "adjoint": how}
        _, found, info = mg.value_and_gradient(net, params, *batch, **way)
        errors.append(float(relative_error(found, exact)))
        residuals = [float(r) for r in info.forward.residuals]
    return {"residuals": residuals, "errors": errors}


def report(results: dict[str, Any]) -> str:
    """One line for each case and operator."""
    lines = []
    for row in results["rows"]:
        relative = [r / row["residuals"][0] for r in row["residuals"]]
        cells = [row["weights"], f"{row['h']:.3g}", row["depth"], row["m"]]
        cells += [row["operator"], f"{row['residuals'][0]:.1e}"]
        cells.append(" ".join(f"{r:.0e}" for r in relative[1:]))
        cells += [f"{e:.0e}" for e in row["errors"]]
        lines.append(cells)
    head = ["weights", "h", "N", "m", "operator", "residual", "then, relative"]
    head += [f"gradient error {k}/{k}" for k in CORRECTIONS]
    return table(head, lines)

"""From which length of a sequence on are plans quicker?  Modelled steps of training.

Seconds are those of the performance model for 1 to P ranks, from costs measured here,
and a network like InfiniBand.  Layer-serial training takes one rank.
"""

from functools import lru_cache, partial
from typing import Any

from mgresnet.control import Shared
from mgresnet.layers import GRU, Linear
from mgresnet.network import Network
from mgresnet.parallel.machine import MACHINES
from mgresnet.perfmodel.configuration import Configuration
from mgresnet.perfmodel.cost import Rates
from mgresnet.perfmodel.measure import measure_rates
from mgresnet.perfmodel.predict import predict, serial_seconds
from mgresnet.studies.recurrent import EXACT, PLANS
from mgresnet.studies.study import Case, Request, Row, Study

MACHINE = MACHINES["infiniband"]
FEATURES, CLASSES = 9, 6


def cases(request: Request) -> list[Case]:
    """All plans for every length and size."""
    lengths, sizes = [128, 256, 512, 1024, 2048, 4096], [(16, 100), (64, 100)]
    if request.quick:
        lengths, sizes = [64, 128], [(4, 10)]
    return [
        {"steps": steps, "hidden": hidden, "batch": batch, "plan": plan}
        for hidden, batch in sizes
        for plan in PLANS
        if plan != EXACT
        for steps in lengths
    ]


def configuration(case: Case) -> Configuration:
    """Gated units that are implicit; explicit ones cost the same."""
    layer, steps = GRU(FEATURES, case["hidden"]), case["steps"]
    head = Linear(case["hidden"], CLASSES)
    net = Network(layer, steps, float(steps), head=head, control=Shared())
    return Configuration(net, case["batch"], 8, *PLANS[case["plan"]])


@lru_cache
def _rates(hidden: int, batch: int, plan: str) -> Rates:
    """Costs, measured once for all lengths."""
    case = {"steps": 256, "hidden": hidden, "batch": batch, "plan": plan}
    return measure_rates("step", configuration(case))


def measure(case: Case, request: Request) -> dict[str, Any]:
    """Seconds of a step of training, serial and on as many ranks as there may be."""
    config = configuration(case)
    rates = _rates(case["hidden"], case["batch"], case["plan"])
    on = partial(predict, "step", config, rates, MACHINE)
    most = config.grid.steps[-1]
    seconds = {str(p): on(p).seconds for p in request.ranks if p <= most}
    return {"serial": serial_seconds("step", config, rates), "seconds": seconds}


def table(rows: list[Row]) -> list[str]:
    """Milliseconds of a serial step, and speed-ups over it."""
    ranks = [*dict.fromkeys(p for row in rows for p in row.result["seconds"])]
    lines = [
        "modelled speed-up of a step of training over serial propagation",
        f"{'plan':16s} {'hidden':>6s} {'steps':>6s} {'serial ms':>10s}"
        + "".join(f"{p + ' ranks':>10s}" for p in ranks),
    ]
    for row in rows:
        case, found = row.case, row.result
        cells = (
            f"{found['serial'] / found['seconds'][p]:10.2f}"
            if p in found["seconds"]
            else f"{'-':>10s}"
            for p in ranks
        )
        lines.append(
            f"{case['plan']:16s} {case['hidden']:6d} {case['steps']:6d} "
            f"{1e3 * found['serial']:10.3g}" + "".join(cells)
        )
    return lines


def draw(rows: list[Row]) -> dict[str, Any]:
    """Speed-ups over ranks, for every plan and size."""
    from mgresnet.plotting.studies import draw_bands

    panels: dict[str, dict[str, Any]] = {}
    for row in rows:
        case, found = row.case, row.result
        gains = [found["serial"] / s for s in found["seconds"].values()]
        panel = panels.setdefault(f"{case['plan']}, {case['hidden']} features", {})
        panel[f"{case['steps']} steps"] = [*map(int, found["seconds"])], [gains]
    scales = {"x_scale": "log", "y_scale": "linear"}
    return {"gains": draw_bands(panels, "ranks", "speed-up over serial", **scales)}


STUDY = Study(
    "modelled speed-up of fixed plans for sequences of 128 to 4096 steps",
    cases,
    measure,
    table,
    draw,
)

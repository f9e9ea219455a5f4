"""Predict what a configuration costs on many ranks, and where it breaks even."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from mgresnet.arrays.checks import integer, real
from mgresnet.arrays.files import read_json, replacing, write_json
from mgresnet.commands.folder import check_folder
from mgresnet.commands.networks import control_of
from mgresnet.commands.streams import say
from mgresnet.layers import Dense
from mgresnet.layers.coarse import COARSE_OPERATORS
from mgresnet.mgrit.cycle import CYCLES
from mgresnet.mgrit.options import MGRITOptions
from mgresnet.network import Network
from mgresnet.parallel import Machine, TimeComm
from mgresnet.parallel.machine import MACHINES
from mgresnet.perfmodel.configuration import Configuration
from mgresnet.perfmodel.cost import Rates
from mgresnet.perfmodel.measure import about, measure_rates
from mgresnet.perfmodel.memory import memory
from mgresnet.perfmodel.predict import predict, serial_seconds
from mgresnet.perfmodel.rivals import data_parallel, pipeline
from mgresnet.perfmodel.search import best_coarsening, break_even
from mgresnet.perfmodel.tasks import TASKS

COLUMNS = "{:>6}  {:>9} {:>8} {:>10} {:>8}  {:>14} {:>8}  {:>8} {:>7}  {:>8}"
POWERS = ",".join(str(2**k) for k in range(17))


class Setup(NamedTuple):
    """What is to be predicted, and for whom."""

    task: str
    config: Configuration
    machine: Machine
    ranks: tuple[int, ...]
    rates: Rates | None  # None: to be measured
    output: Path | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    add = parser.add_argument
    add("--task", choices=sorted(TASKS), default="step", help="what is predicted")
    add("--depth", type=int, default=4096, help="number of layers")
    add("--width", type=int, default=32, help="features of a layer")
    add("--batch-size", type=int, default=256, help="samples of a batch")
    add("--dtype", choices=("float64", "float32"), default="float64")
    add("--control", type=int, default=0, metavar="K", help="B-spline; 0: free weights")
    add("--ranks", default=POWERS, metavar="P,..", help="numbers of ranks")
    add("--coarsening", default="16", metavar="M,..", help="factor of every level")
    add("--relaxations", type=int, default=0, help="FC-sweeps: 0 is F, 1 FCF")
    add("--cycle", choices=sorted(CYCLES), default="V")
    add("--iterations", type=int, default=1, help="forward corrections")
    add("--adjoint-iterations", type=int, help="the same as forward if not given")
    add("--initial-guess", choices=("coarse", "serial"), default="coarse")
    add("--coarse-operator", choices=sorted(COARSE_OPERATORS), default="matched")
    add(
        "--keep",
        choices=("all", "c-points"),
        default="all",
        help="which states are kept",
    )
    add(
        "--machine",
        default="infiniband",
        help=f"{', '.join(MACHINES)}, or a file from mgresnet scale --calibrate",
    )
    add("--rates", type=Path, metavar="FILE", help="model.json with costs to use again")
    add("--output", type=Path, metavar="DIR", help="write model.json and a figure")


def prepare(arguments: argparse.Namespace, comm: TimeComm) -> Setup:
    """Check everything, so that bad input shows before any work is done."""
    a = arguments
    for name in ("width", "batch_size"):
        integer(f"--{name.replace('_', '-')}", getattr(a, name), 1)
    integer("--control", a.control, 0)
    if comm.size != 1:
        raise ValueError(
            f"{comm.size} ranks, needed one: the model only computes; start mgresnet "
            "model without mpiexec"
        )
    if a.output:
        check_folder("--output", a.output)
    ranks = _integers("--ranks", a.ranks)
    net = Network(
        Dense(a.width), a.depth, control=control_of(a.control or None, a.depth)
    )
    net.layer.coarse(a.coarse_operator)  # refuses names that there are not
    back = a.iterations if a.adjoint_iterations is None else a.adjoint_iterations
    forward, adjoint = (
        MGRITOptions(
            coarsening=_integers("--coarsening", a.coarsening),
            relaxations=a.relaxations,
            cycle=a.cycle,
            max_iterations=iterations,
            tolerance=0.0,
            coarse_operator=a.coarse_operator,
            initial_guess=a.initial_guess,
        )
        for iterations in (a.iterations, back)
    )
    itemsize = {"float64": 8, "float32": 4}[a.dtype]
    config = Configuration(net, a.batch_size, itemsize, forward, adjoint, a.keep)
    if not config.grid.factors:
        raise ValueError(
            f"--coarsening {a.coarsening} leaves --depth {a.depth} without a coarse "
            f"level; needed two layers or more, and a first factor of at most as many"
        )
    rates = read_rates(a.rates, a.task, config) if a.rates else None
    return Setup(a.task, config, _machine(a.machine), ranks, rates, a.output)


def run(setup: Setup, comm: TimeComm) -> int:
    """Predict, print, write; return the exit code."""
    task, config, machine = setup.task, setup.config, setup.machine
    rates = setup.rates or measure_rates(task, config)
    serial = serial_seconds(task, config, rates)
    rows = [_row(setup, rates, size, serial) for size in setup.ranks]
    even = break_even(task, config, rates, machine)
    say(comm, f"machine     {machine.name}: {machine.source}")
    say(comm, f"serial      {1e3 * serial:.3f} ms a {task} on one rank\n")
    say(comm, _table(rows))
    most = config.grid.steps[-1]
    where = f"{even} rank(s)" if even else f"not up to the {most} ranks there are for"
    say(comm, f"\nbreak-even  {where}")
    if setup.output:
        setup.output.mkdir(parents=True, exist_ok=True)
        content = {
            "task": task,
            "machine": machine.name,
            "serial_seconds": serial,
            "break_even": even,
            "rows": rows,
            "rates": rates,
        }
        write_json(setup.output / "model.json", content, indent=1)
        from mgresnet.plotting.model import save_prediction

        with replacing(setup.output / "model.png") as path:
            save_prediction(path, rows, serial, even)
        say(comm, f"wrote       model.json and model.png in {setup.output}")
    return 0


def read_rates(path: Path, task: str, config: Configuration) -> Rates:
    """Costs that an earlier run has written, if they fit."""
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file --rates {path}; leave it out to measure, or check the "
            "name"
        )
    found = read_json(path, "a model.json")
    if "rates" not in found:
        raise ValueError(
            f"--rates {path} has no costs, needed a model.json that mgresnet model "
            "--output has written; a file from mgresnet scale is for --machine"
        )
    try:
        rates, needed = Rates.read(found["rates"]), about(task, config)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"--rates {path} has other costs than this mgresnet writes ({error}); "
            "leave --rates out to measure again"
        ) from error
    wrong = [name for name in needed if rates.about.get(name) != needed[name]]
    if wrong:
        pairs = (f"{n} {rates.about.get(n)}, needed {needed[n]}" for n in wrong)
        raise ValueError(
            f"--rates {path} was measured for {'; '.join(pairs)}; leave --rates out to "
            "measure again"
        )
    return rates


def _machine(name: str) -> Machine:
    if name in MACHINES:
        return MACHINES[name]
    path = Path(name)
    if not path.is_file():
        raise ValueError(
            f"unknown --machine {name!r}; choose from {', '.join(MACHINES)}, or give a "
            "file that mgresnet scale --calibrate --output has written"
        )
    found = read_json(path, "a file of mgresnet scale --calibrate --output")
    words, figures = ("name", "source"), ("latency", "bandwidth")
    if lacking := [field for field in (*words, *figures) if field not in found]:
        raise ValueError(
            f"--machine {path} lacks {', '.join(lacking)}; write it with mgresnet "
            "scale --calibrate --output FILE"
        )
    try:
        given: dict[str, Any] = {f: real(f, found[f], 1e-6) for f in figures}
        given |= {field: str(found[field]) for field in words}
        return Machine(**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"--machine {path}: {error}") from error


def _integers(name: str, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise ValueError(f"{name} is {text!r}, needed integers >= 1, such as 4,16")
    return numbers


def _row(setup: Setup, rates: Rates, size: int, serial: float) -> dict[str, Any]:
    """Everything about one number of ranks; what is impossible is None."""
    task, config, machine = setup.task, setup.config, setup.machine
    row: dict[str, Any] = {"ranks": size}
    if size <= config.grid.steps[-1]:
        found = predict(task, config, rates, machine, size)
        row |= {
            "seconds": found.seconds,
            "speedup": serial / found.seconds,
            "efficiency": serial / found.seconds / size,
            "memory": memory(config, size),
            "phases": found.phases,
        }
    best = best_coarsening(task, config, rates, machine, size)
    if best:
        row |= {"best_coarsening": best.coarsening, "best": serial / best.seconds}
    if task == "step":
        piped = pipeline(config, rates, machine, size)
        portions = data_parallel(config, rates, machine, size)
        if piped:
            row |= {"pipeline": serial / piped.seconds, "bubble": piped.bubble}
        if portions:
            row["data_parallel"] = serial / portions
    return row


def _table(rows: Iterable[dict[str, Any]]) -> str:
    top = ("", "layers", "speed-", "", "MiB per", "best", "speed-")
    heads = ("ranks", "ms", "up", "efficiency", "rank", "coarsening", "up")
    lines = [
        COLUMNS.format(*top, "pipeline", "", "data"),
        COLUMNS.format(*heads, "speed-up", "bubble", "speed-up"),
    ]
    for row in rows:
        mebibytes = sum(row.get("memory", {}).values()) / 2**20
        cells = (
            _cell(1e3 * row.get("seconds", 0.0), ".3f"),
            _cell(row.get("speedup"), ".2f"),
            _cell(row.get("efficiency"), ".1%"),
            _cell(mebibytes, ".1f"),
            ",".join(map(str, row.get("best_coarsening", ()))) or "-",
            _cell(row.get("best"), ".2f"),
            _cell(row.get("pipeline"), ".2f"),
            f"{row['bubble']:.0%}" if "bubble" in row else "-",
            _cell(row.get("data_parallel"), ".2f"),
        )
        lines.append(COLUMNS.format(row["ranks"], *cells))
    return "\n".join(lines)


def _cell(value: float | None, form: str) -> str:
    return format(value, form) if value else "-"

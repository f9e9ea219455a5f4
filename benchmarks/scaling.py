"""How the time of a training step falls with the number of ranks.

    two-cores   one and two ranks, depths 256 and 1024, widths 8 and 32
    virtual     up to 128 ranks on few cores, by virtual time on a machine with messages
                as fast as here, or of a given profile
    cores N     1, 2, 4, ... N ranks on a machine with N cores

Every parallel job stands between serial ones: the best serial step of this package and,
if installed, PyTorch's are measured before and after it in single processes.

    python benchmarks/scaling.py two-cores
    python benchmarks/scaling.py virtual --machine infiniband --largest 64
    python benchmarks/scaling.py cores 16
    python benchmarks/scaling.py two-cores --quick     small networks, under a minute
    python benchmarks/scaling.py two-cores --stored    show what is there

Results go to results/scaling-PRESET.json, one line per job.
"""

import argparse
import importlib.util
import json
from collections.abc import Iterable
from functools import partial
from itertools import product
from pathlib import Path

from _scaling_cases import PEER, SERIAL
from _scaling_figures import save_figures
from _scaling_job import RESULTS
from _scaling_launch import Job, calibrate, execute
from _scaling_report import merged, print_table
from tqdm import tqdm

BATCH = 256
ALONE = (*SERIAL, *((PEER,) if importlib.util.find_spec("torch") else ()))
METHODS = ("0", "1", "adaptive")
FACTORS = ((16,), (32,), (64,))
STRONG = (  # widths, batches, methods, coarsenings
    (32, 1000, METHODS[:1], FACTORS[2:]),
    (32, BATCH, METHODS[:2], FACTORS[1:]),
    (8, BATCH, METHODS[:2], FACTORS[1:]),
)
WEAK = ((64, 1000), (32, 1000), (32, BATCH))  # widths and batches


def two_cores(quick: bool) -> Iterable[Job]:
    """One and two ranks, each case three times."""
    depths, widths, times = ((64,), (8,), 1) if quick else ((1024, 256), (8, 32), 3)
    for depth, width in product(depths, widths):
        job = partial(Job, "strong", depth, width, BATCH, rounds=2, steps=5)
        alone = job(1, ALONE, ((16,),))
        for _ in range(times):
            yield alone
            for ranks in (1, 2):
                yield job(ranks, METHODS, ((16,), (24,), (28,), (32,)))
        yield alone


def virtual(profile: str, largest: int, quick: bool) -> Iterable[Job]:
    """Many ranks on few cores; the more ranks, the fewer runs in a job.

    Serial steps stand before, between and after those of many ranks, as the machine is
    not always equally fast.
    """
    depth = 256 if quick else 4096
    largest = min(largest, 4) if quick else largest
    for width, batch, methods, factors in STRONG[-1:] if quick else STRONG:
        strong = partial(Job, "strong", depth, width, batch, virtual=profile)
        yield strong(1, ALONE, ((64,),), rounds=2, steps=5)
        for ranks in powers(1, min(largest, 16)):
            yield strong(ranks, methods, factors, rounds=2, steps=5)
        for m in factors:
            yield strong(1, SERIAL, ((64,),), rounds=2, steps=5)
            for ranks in powers(32, min(largest, 64)):
                yield strong(ranks, ("0",), (m,), rounds=1, steps=9)  # caches for one
        yield strong(1, SERIAL, ((64,),), rounds=2, steps=5)
    for width, batch in WEAK[-1:] if quick else WEAK:
        weak = partial(Job, "weak", 64, width, batch, virtual=profile)
        some = [ranks for ranks in (1, 8, 32, 128) if ranks <= largest]
        for ranks in some:
            yield weak(ranks, SERIAL[1:], ((64,),), rounds=1, steps=3)
            yield weak(ranks, ("0",), ((64,),), rounds=1, steps=9)


def cores(largest: int, quick: bool) -> Iterable[Job]:
    """Real ranks, one on every core; strong, then weak."""
    depth, widths, times = (256, (8,), 1) if quick else (4096, (8, 32), 2)
    factors = ((16,), (32,), (16, 4))
    strong = [partial(Job, "strong", depth, width, BATCH) for width in widths]
    for job, _ in product([*strong, partial(Job, "weak", 64, 8, BATCH)], range(times)):
        for ranks in powers(1, largest):
            if ranks == 1 or job.args[0] == "weak":
                yield job(ranks, ALONE, ((16,),), 2, 5)
            yield job(ranks, METHODS, factors, 2, 5)


def powers(first: int, largest: int) -> list[int]:
    """Powers of two, and the largest number."""
    doubled = [2**k for k in range(largest.bit_length())]
    return sorted({n for n in (*doubled, largest) if n >= first})


def main() -> None:
    """Run the jobs of a preset, then print and draw what they found."""
    a = arguments()
    name = a.preset if a.preset != "cores" else f"cores-{a.n}"
    path = (RESULTS / "quick" if a.quick else RESULTS) / f"scaling-{name}.json"
    if not a.stored:
        path.unlink(missing_ok=True)
        for job in (progress := tqdm(jobs(a, path))):
            progress.set_description(str(job))
            execute(job.command(path))
    points = merged(json.loads(path.read_text()))
    print_table(points)
    save_figures(points, path)


def jobs(a: argparse.Namespace, path: Path) -> list[Job]:
    """What to run."""
    if a.preset == "two-cores":
        chosen = two_cores(a.quick)
    elif a.preset == "cores":
        chosen = cores(a.n, a.quick)
    else:
        profile = a.machine or calibrate(path.with_name("scaling-machine.json"))
        chosen = virtual(profile, a.largest, a.quick)
    return [job for job in chosen if job.possible()]


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--quick", action="store_true")
    shared.add_argument("--stored", action="store_true", help="run nothing, show all")
    presets = parser.add_subparsers(dest="preset", required=True)
    presets.add_parser("two-cores", parents=[shared])
    simulated = presets.add_parser("virtual", parents=[shared])
    simulated.add_argument("--machine", metavar="PROFILE", help="name, or JSON file")
    simulated.add_argument("--largest", type=int, default=128, help="number of ranks")
    real = presets.add_parser("cores", parents=[shared])
    real.add_argument("n", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    main()

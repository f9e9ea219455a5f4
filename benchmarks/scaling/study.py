"""How the time of a training step falls with the number of ranks.

    two-cores   one and two ranks, depths 256 and 1024, widths 8 and 32; 12 minutes
    virtual     up to 128 ranks on few cores, by virtual time on a machine with messages
                as fast as here, or of a given profile; 35 minutes
    cores N     1, 2, 4, ... N ranks on a machine with N cores; 10 minutes

Every parallel job stands between serial ones: the best serial step of this package and,
if installed, PyTorch's are measured before and after it in single processes.

    python benchmarks scaling two-cores
    python benchmarks scaling virtual --machine infiniband --largest 64
    python benchmarks scaling cores 16

Results are those of scaling-PRESET.json, one line per job.
"""

import argparse
import math
import tempfile
from collections.abc import Iterable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from harness.command import answer, parser
from harness.launch import HERE, alone, execute, on
from harness.machine import version
from harness.results import load, path_of
from scaling.figures import figures
from scaling.machines import calibrate
from scaling.methods import ALONE, PYTORCH, SERIAL
from scaling.report import report

BATCH = 256
HERE_ALONE = (*SERIAL, *((PYTORCH,) if version("torch") else ()))
METHODS = ("0", "1", "adaptive")
FACTORS = ((16,), (32,), (64,))
STRONG = (  # widths, batches, methods, coarsenings
    (32, 1000, METHODS[:1], FACTORS[2:]),
    (32, BATCH, METHODS[:2], FACTORS[1:]),
    (8, BATCH, METHODS[:2], FACTORS[1:]),
)
WEAK = ((64, 1000), (32, 1000), (32, BATCH))  # widths and batches


class Job(NamedTuple):
    """Methods and coarsenings that take turns on so many ranks."""

    kind: str  # strong or weak
    layers: int  # in all, or of a rank
    width: int
    batch_size: int
    ranks: int
    methods: tuple[str, ...]
    coarsenings: tuple[tuple[int, ...], ...]
    rounds: int
    steps: int
    virtual: str | None = None

    @property
    def alone(self) -> bool:
        """Whether a single process does it, without MPI."""
        return set(self.methods) <= set(ALONE)

    @property
    def usable(self) -> list[str]:
        """Coarsenings with an interval for every rank."""
        ranks = 1 if self.alone else self.ranks
        depth = self.layers if self.kind == "strong" else self.layers * self.ranks
        kept = (m for m in self.coarsenings if depth // math.prod(m) >= ranks)
        return [",".join(map(str, m)) for m in kept]

    def command(self, output: Path) -> list[str]:
        """How to start it."""
        given = {"rounds": self.rounds, "steps": self.steps, "output": output}
        given |= {"width": self.width, "batch-size": self.batch_size}
        given["depth" if self.kind == "strong" else "layers-per-rank"] = self.layers
        if self.kind == "weak" and self.alone:
            given["ranks"] = self.ranks
        if self.virtual:
            given["virtual"] = self.virtual
        program = [str(HERE / f"{self.kind}_scaling.py")]
        program += [word for k, v in given.items() for word in (f"--{k}", str(v))]
        program += ["--coarsening", *self.usable, "--methods", *self.methods]
        return alone(*program) if self.alone else on(self.ranks, *program)

    def __str__(self) -> str:
        where = "alone" if self.alone else f"{self.ranks} ranks"
        return f"{self.kind} {self.layers} layers, w={self.width}, {where}"


def two_cores(quick: bool) -> Iterable[Job]:
    """One and two ranks, each case three times."""
    depths, widths, times = ((64,), (8,), 1) if quick else ((1024, 256), (8, 32), 3)
    for depth, width in product(depths, widths):
        job = partial(Job, "strong", depth, width, BATCH, rounds=2, steps=5)
        serial = job(1, HERE_ALONE, ((16,),))
        for _ in range(times):
            yield serial
            for ranks in (1, 2):
                yield job(ranks, METHODS, ((16,), (24,), (28,), (32,)))
        yield serial


def virtual(profile: str, largest: int, quick: bool) -> Iterable[Job]:
    """Many ranks on few cores; the more ranks, the fewer runs in a job.

    Serial steps stand before, between and after those of many ranks, as the machine is
    not always equally fast.
    """
    depth = 256 if quick else 4096
    largest = min(largest, 4) if quick else largest
    for width, batch, methods, factors in STRONG[-1:] if quick else STRONG:
        strong = partial(Job, "strong", depth, width, batch, virtual=profile)
        yield strong(1, HERE_ALONE, ((64,),), rounds=2, steps=5)
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
                yield job(ranks, HERE_ALONE, ((16,),), 2, 5)
            yield job(ranks, METHODS, factors, 2, 5)


def powers(first: int, largest: int) -> list[int]:
    """Powers of two, and the largest number."""
    doubled = [2**k for k in range(largest.bit_length())]
    return sorted({n for n in (*doubled, largest) if n >= first})


def jobs(a: argparse.Namespace) -> Iterable[Job]:
    """What to run."""
    if a.preset == "two-cores":
        return two_cores(a.quick)
    if a.preset == "cores":
        return cores(a.n, a.quick)
    calibrated = path_of("scaling-machine", a.quick)
    return virtual(a.machine or calibrate(calibrated), a.largest, a.quick)


def measure(a: argparse.Namespace) -> Any:
    """Records of all jobs, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.json"
        for job in (progress := tqdm([job for job in jobs(a) if job.usable])):
            progress.set_description(str(job))
            execute(job.command(path))
        return load(path)


def main() -> None:
    """Run the jobs of a preset, then print and draw what they found."""
    options = parser(__doc__)
    add = options.add_argument
    add("preset", choices=("two-cores", "virtual", "cores"))
    add("n", type=int, nargs="?", default=2, help="cores")
    add("--machine", metavar="PROFILE", help="of virtual time: name, or JSON file")
    add("--largest", type=int, default=128, help="number of ranks by virtual time")
    a = options.parse_args()
    name = a.preset if a.preset != "cores" else f"cores-{a.n}"
    answer(f"scaling-{name}", a, lambda: measure(a), report, figures)

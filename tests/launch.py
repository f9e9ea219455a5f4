"""Start a program on several ranks with mpiexec, and make sure that it ends."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "tests" / "mpi_program.py"

# Open MPI refuses to run as root or with more ranks than cores; MPICH ignores these.
ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",  # before version 5
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
}


def mpiexec():
    """The mpiexec of this Python's environment, else the first on PATH."""
    own = Path(sys.executable).with_name("mpiexec")
    found = str(own) if own.exists() else shutil.which("mpiexec")
    if found is None:
        pytest.skip("no mpiexec next to Python or on PATH; pip install mgresnet[mpi]")
    return found


def launch(
    n_ranks, *arguments, program=PROGRAM, interpreter=(), timeout=120.0, **environment
):
    """Run a program on n_ranks ranks.

    Parameters
    ----------
    arguments : str
        Of the program.
    program : Path
        By default tests/mpi_program.py.
    interpreter : tuple of str
        Options of Python, such as ``("-m", "mpi4py")``.
    timeout : float
        Seconds after which all processes are killed and the test fails.
    environment : str
        More environment variables.

    Returns
    -------
    subprocess.CompletedProcess
        With the output as text.
    """
    ranks = [mpiexec(), "-n", str(n_ranks)]
    command = [*ranks, sys.executable, *interpreter, str(program), *arguments]
    return await_end(begin(command, **environment), timeout)


def begin(command, **environment):
    """Start a command in a session of its own, with the settings that MPI needs."""
    return subprocess.Popen(
        command,
        env={**os.environ, **ENVIRONMENT, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def await_end(process, timeout):
    """What a process has left behind, which is killed if it takes too long."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        _end(process)
        out, err = process.communicate()
        pytest.fail(
            f"{' '.join(process.args)} still ran after {timeout} s\n{out[-2000:]}"
            f"\n{err[-2000:]}"
        )
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _end(process):
    """Let mpiexec end its ranks, then kill its process group."""
    process.terminate()
    try:
        process.wait(5.0)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass

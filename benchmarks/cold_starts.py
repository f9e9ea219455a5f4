"""Cold starts under mpiexec: ranks that compile at once, in one cache.

Every start has three ranks and an empty cache that they share.  Each rank compiles all
kernels, in an order of its own; then all compute a gradient together.  A start is clean
if it ends without error and with every bit of one process.

    python benchmarks/cold_starts.py            12 starts, about 15 minutes
    python benchmarks/cold_starts.py --starts 2
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _cold_start import digest
from _machine import stamp

import mgresnet as mg

RESULTS = Path(__file__).parent / "results"
PROGRAM = Path(__file__).with_name("_cold_start.py")
RANKS, LONGEST = 3, 600.0  # seconds until a start counts as hanging
# Open MPI refuses to run as root or with more ranks than cores; others ignore these.
ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def mpiexec() -> str:
    """That of this Python's environment, else the first on PATH."""
    own = Path(sys.executable).with_name("mpiexec")
    found = str(own) if own.exists() else shutil.which("mpiexec")
    if found is None:
        raise SystemExit("no mpiexec beside Python or on PATH")
    return found


def launch(start: int, cache: str) -> tuple[int, str, str]:
    """Exit code, output and errors of one job; a hanging one is killed."""
    ours = {**ENVIRONMENT, "NUMBA_CACHE_DIR": cache}
    job = subprocess.Popen(
        [mpiexec(), "-n", str(RANKS), sys.executable, str(PROGRAM), str(start)],
        env={**os.environ, **ours},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, errors = job.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGKILL)
        out, errors = job.communicate()
    return job.returncode, out.strip(), errors.strip()


def measure(start: int, needed: str) -> dict[str, Any]:
    """One cold start."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        code, found, errors = launch(start, cache)
        compiled = len(list(Path(cache).rglob("*.nbc")))
    return {
        "start": start,
        "clean": code == 0 and found == needed and not errors,
        "bits": found == needed,
        "exit code": code,
        "errors": errors[-500:],
        "compiled": compiled,
        "seconds": time.perf_counter() - began,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=12)
    starts = parser.parse_args().starts
    needed = digest(mg.SerialComm())
    rows = []
    for start in range(starts):
        row = measure(start, needed)
        rows.append(row)
        print(
            f"start {start}: {'clean' if row['clean'] else 'NOT CLEAN'}, exit code "
            f"{row['exit code']}, {'same' if row['bits'] else 'other'} bits, "
            f"{row['compiled']} kernels in the cache, {row['seconds']:.0f} s",
            flush=True,
        )
        if row["errors"]:
            print(row["errors"])
    print(f"{sum(row['clean'] for row in rows)} of {starts} cold starts clean")
    text = json.dumps({"machine": stamp(), "ranks": RANKS, "starts": rows}, indent=1)
    (RESULTS / "cold_starts.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Threads of kernels and of BLAS: what a run takes, and what it says."""

import json
import os
import subprocess
import sys

import pytest
from launch import ENVIRONMENT, mpiexec
from test_command_line import QUICK

from mgresnet.kernels.threads import set_threads, threads
from mgresnet.parallel import blas, oversubscription

CORES = os.cpu_count() or 1


def run(*arguments, ranks=None, **environment):
    """Start ``python -m mgresnet`` where nobody has chosen a number of threads."""
    command = [sys.executable, "-m", "mgresnet", *arguments]
    if ranks is not None:
        command = [mpiexec(), "-n", str(ranks), *command]
    inherited = {**os.environ, **ENVIRONMENT}
    free = {k: v for k, v in inherited.items() if k not in blas.CHOICES}
    return subprocess.run(
        command,
        env=free | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout


@pytest.mark.mpi
def test_ranks_on_a_node_take_one_thread_each():
    out = run("train", "peaks", *QUICK, ranks=2)
    assert "threads   1 for kernels, 1 for BLAS, per rank" in out


@pytest.mark.mpi
@pytest.mark.skipif(CORES < 2, reason="one core")
def test_the_choice_of_the_user_stands():
    out = run("train", "peaks", *QUICK, ranks=2, OMP_NUM_THREADS="2")
    assert "1 for kernels, 2 for BLAS" in out


@pytest.mark.parametrize(
    ("n_ranks", "neighbours", "choice", "limited"),
    [
        (4, {}, {}, True),
        (1, {}, {}, False),
        (4, {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, {}, False),
        (4, {"MPI_LOCALNRANKS": "2"}, {}, True),
        (4, {}, {"OPENBLAS_NUM_THREADS": "2"}, False),
    ],
)
def test_blas_is_limited_where_ranks_share_a_node(
    n_ranks, neighbours, choice, limited, monkeypatch
):
    for name in (*blas.CHOICES, *oversubscription.NEIGHBOURS):
        monkeypatch.delenv(name, raising=False)
    for name, value in (neighbours | choice).items():
        monkeypatch.setenv(name, value)
    limits = []
    monkeypatch.setattr(
        blas, "threadpool_limits", lambda n, user_api: limits.append((n, user_api))
    )
    blas.limit_blas.__wrapped__(n_ranks)
    assert limits == ([(1, "blas")] if limited else [])


@pytest.mark.parametrize(
    ("launcher", "quota", "few"),
    [
        ({0, 1, 2, 3}, None, False),
        ({0, 1, 2}, None, True),
        (set(range(64)), "max 100000", False),
        (set(range(64)), "400000 100000", False),
        (set(range(64)), "200000 100000", True),
        (set(range(64)), "50000 100000", True),
    ],
)
def test_cores_are_those_of_the_job_and_its_container(
    launcher, quota, few, monkeypatch, tmp_path
):
    """A rank that is bound to one core of many is not one of too many."""
    mine, path = {0}, tmp_path / "cpu.max"
    if quota is not None:
        path.write_text(quota)
    monkeypatch.setattr(oversubscription, "QUOTA", path)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    affinity = {os.getppid(): launcher, os.getpid(): mine, 0: mine}
    monkeypatch.setattr(os, "sched_getaffinity", affinity.__getitem__, raising=False)
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "4")
    assert oversubscription.oversubscribed.__wrapped__() is few


def test_kernel_threads_of_a_run(tmp_path):
    folder = tmp_path / "run"
    options = ["--threads", "2", "--output", str(folder)]
    out = run("train", "peaks", *QUICK, *options)
    assert "threads   2 for kernels, " in out
    config = json.loads((folder / "config.json").read_text())
    assert config["threads"] == 2
    assert config["blas_threads"] >= 1


FORKED = """
import multiprocessing as mp, numpy as np, mgresnet as mg
net = mg.Network(mg.Dense(4), 8)
params, x = net.init(3), np.ones((400, 4))
def solve(_):
    return float(mg.solve_forward(net, params, x).final.sum())
mg.set_threads(3)
here = solve(0)
with mp.get_context("fork").Pool(1) as pool:
    assert pool.apply_async(solve, (0,)).get(60) == here
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_has_threads_of_its_own():
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=120)


def test_one_thread_unless_told_otherwise():
    assert threads() == 1
    set_threads(2)
    assert threads() == 2
    set_threads(1)
    assert threads() == 1

"""Compilation ahead of time: all that a run needs, once."""

import pytest
from test_command_line import QUICK, run


@pytest.mark.slow
def test_a_second_warm_up_and_a_run_compile_nothing(tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    first = run("warmup", "--dtype", "float64", **cache)
    assert first.returncode == 0, first.stderr
    assert "compiled 9 kernels, found 0" in first.stdout
    assert str(tmp_path) in first.stdout
    kernels = {file.name for file in tmp_path.rglob("*.nbc")}
    assert len(kernels) == 9
    second = run("warmup", "--dtype", "float64", **cache)
    assert "already compiled: 9 kernels" in second.stdout
    for options in ([], ["--control", "5"], ["--gradient-tolerance", "0.1"]):
        job = run("train", "peaks", *QUICK, *options, **cache)
        assert job.returncode == 0, job.stderr
    assert {file.name for file in tmp_path.rglob("*.nbc")} == kernels


@pytest.mark.mpi
@pytest.mark.slow
def test_ranks_load_what_the_first_has_compiled(tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    job = run("warmup", "--dtype", "float32", ranks=3, **cache)
    assert job.returncode == 0, job.stderr
    assert "compiled 9 kernels, found 0" in job.stdout
    assert "on 3 ranks" in job.stdout
    assert "compiled again" not in job.stdout
    assert len(list(tmp_path.rglob("*.nbc"))) == 9

"""Compilation ahead of time: all that ranks and runs need, once."""

import pytest
from test_command_line import QUICK, run


@pytest.mark.mpi
@pytest.mark.slow
def test_what_one_rank_compiles_is_all_that_ranks_and_runs_need(tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    first = run("warmup", "--dtype", "float64", ranks=3, **cache)
    assert first.returncode == 0, first.stderr
    assert "compiled 11 kernels, found 0" in first.stdout
    assert "on 3 ranks" in first.stdout
    assert "compiled again" not in first.stdout
    assert str(tmp_path) in first.stdout
    kernels = {file.name for file in tmp_path.rglob("*.nbc")}
    assert len(kernels) == 11
    second = run("warmup", "--dtype", "float64", **cache)
    assert "already compiled: 11 kernels" in second.stdout
    for options in ([], ["--control", "5"], ["--gradient-tolerance", "0.1"]):
        job = run("train", "peaks", *QUICK, *options, **cache)
        assert job.returncode == 0, job.stderr
    assert {file.name for file in tmp_path.rglob("*.nbc")} == kernels

"""The tests of parallelism under mpiexec: same bits, and no rank is left waiting."""

import os

import pytest
from launch import launch
from mpi_program import CASES, apart, assemble, digests, run

pytestmark = pytest.mark.mpi

PLAIN, MODULE = (), ("-m", "mpi4py")  # two ways to start a script


@pytest.fixture(scope="module")
def serial_digests():
    """Lines that the program has to print, computed in this process."""
    return [
        f"{name}: {line}"
        for name, case in CASES.items()
        for line in digests(assemble([run(case)]))
    ]


@pytest.mark.parametrize(
    "n_ranks", [1, 2, 3, 5, pytest.param(8, marks=pytest.mark.slow)]
)
def test_any_number_of_ranks_computes_the_bits_of_one_process(n_ranks, serial_digests):
    job = launch(n_ranks, "digests", timeout=150.0)
    assert job.returncode == 0, job.stderr
    assert job.stdout.splitlines() == serial_digests


@pytest.mark.parametrize("n_ranks", [2, 4])
def test_modules_that_are_trained_apart_have_the_bits_of_one_process(n_ranks):
    found = [(record.loss, record.forward_residual) for record in apart()]
    job = launch(n_ranks, "auxiliary")
    assert job.returncode == 0, job.stderr
    assert job.stdout.splitlines() == [f"{a!r} {b!r}" for a, b in found]
    assert len(found) == 18
    assert any(defect > 0.0 for _, defect in found)


@pytest.mark.parametrize("n_ranks", [1, 2, 3, 5])
def test_verbs_keep_their_contract(n_ranks):
    job = launch(n_ranks, "verbs")
    assert job.returncode == 0, job.stderr
    assert job.stdout == f"{n_ranks} ranks checked\n"


@pytest.mark.parametrize("interpreter", [PLAIN, MODULE], ids=["plain", "mpi4py"])
@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("before", "ValueError: body has shape (37, 11)"),
        ("between", "RuntimeError: mishap between on rank {}"),
    ],
    ids=["before", "between"],
)
def test_an_exception_on_one_rank_ends_the_job(where, message, rank, interpreter):
    job = launch(3, "fail", where, str(rank), interpreter=interpreter)
    assert job.returncode != 0
    assert message.format(rank) in job.stderr
    assert "the mishap did not happen" not in job.stderr


@pytest.mark.parametrize("interpreter", [PLAIN, MODULE], ids=["plain", "mpi4py"])
def test_too_many_ranks_end_with_an_error(interpreter):
    job = launch(3, "fail", "crowd", "0", interpreter=interpreter)
    assert job.returncode != 0
    assert "too many ranks: 3 ranks" in job.stderr
    assert "use at most 1 rank(s)" in job.stderr


def test_a_job_that_hangs_is_ended():
    with pytest.raises(pytest.fail.Exception, match=r"still ran after 4.0 s"):
        launch(2, "hang", timeout=4.0)


@pytest.mark.slow
def test_ranks_that_compile_at_once_compute_the_same_bits(serial_digests, tmp_path):
    """Two ranks and one type of numbers: more are the same once more."""
    cache, name = str(tmp_path), "two levels"
    job = launch(2, "digests", name, timeout=240.0, NUMBA_CACHE_DIR=cache)
    assert job.returncode == 0, job.stderr
    needed = [line for line in serial_digests if line.startswith(f"{name}: ")]
    assert job.stdout.splitlines() == needed
    assert list(tmp_path.rglob("*.nbc")), "nothing was compiled into the new cache"


def test_ranks_that_share_cores_sleep_while_they_wait():
    """A core is for those who compute."""
    ranks = (os.cpu_count() or 1) + 1
    if ranks > 9:
        pytest.skip(f"{ranks - 1} cores: too many to start more ranks")
    job = launch(ranks, "patience")
    assert job.returncode == 0, job.stderr
    shares = [float(line) for line in job.stdout.split()]
    assert len(shares) == 5
    assert max(shares) < 0.5, "of the time that they waited"

"""A rank that leaves ends the job, and communicators of callers stay theirs."""

import pytest
from launch import ROOT, launch

pytestmark = pytest.mark.mpi

PROGRAM = ROOT / "tests" / "mpi_leaving.py"
PLAIN, MODULE = (), ("-m", "mpi4py")  # two ways to start a script
LEFT = "rank 1 cannot take part in step {} of train: {}"
BREAK = LEFT.format(2, "it left a training after 2 step(s)")
ENDED = LEFT.format(2, "its program has ended")


def run(*arguments, n_ranks=3, interpreter=PLAIN):
    return launch(n_ranks, *arguments, program=PROGRAM, interpreter=interpreter)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("leave", "break"), BREAK),
        (("leave", "exit"), BREAK),
        (("leave", "message"), ""),
        (("leave", "interrupt"), "KeyboardInterrupt"),
        (("leave", "no stderr"), "rank 1 ends the job on all: RuntimeError: mishap"),
        (("leave", "hook"), "rank 1 ends the job on all: RuntimeError: mishap"),
        (
            ("batches", "end"),
            "the end of its batches after 2 step(s) on rank 1",
        ),
        (("batches", "fail"), "step 2 of train fails on some ranks: RuntimeError"),
        (("batches", "exit"), ENDED),
        (("solves", "exit"), "rank 1 cannot take part in solve_forward: its program"),
        (("solves", "message"), ""),
        (("thread",), "RuntimeError: mishap"),
        (("early",), "rank 1 ends the job on all: an exception"),
    ],
    ids="-".join,
)
def test_a_rank_that_leaves_ends_the_job(arguments, message):
    check_end(arguments, message, PLAIN)


@pytest.mark.parametrize("action", ["leave", "solves"])
def test_so_does_one_that_exits_under_mpi4py(action):
    check_end((action, "exit"), "rank 1 cannot", MODULE)


def check_end(arguments, message, interpreter):
    """Run until rank 1 leaves."""
    job = run(*arguments, "1", interpreter=interpreter)
    assert job.returncode != 0
    assert message in job.stderr


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("together", "went on"),
        ("message", "received"),
        ("finalised", "finalised"),
        ("exhausted", "done"),
    ],
)
def test_ranks_that_do_the_same_go_on(action, said):
    job = run(action)
    assert job.returncode == 0, job.stderr
    assert job.stdout.splitlines() == [said] * 3
    assert "Exception ignored" not in job.stderr


def test_communicators_and_grids_can_be_made_again_and_again():
    job = run("many", n_ranks=2)
    assert job.returncode == 0, job.stderr
    assert job.stdout.splitlines() == ["grids 4"] * 2


def test_what_is_no_intracommunicator_is_refused():
    job = run("between", n_ranks=4)
    assert job.returncode == 0, job.stderr
    said = " needed an intracommunicator, whose ranks are one group in time order"
    assert len([line for line in job.stdout.splitlines() if said in line]) == 8

"""The scaling benchmarks, small: jobs on two ranks, their table and figures."""

import json

import pytest
from launch import ROOT, launch

pytestmark = pytest.mark.mpi

BENCHMARKS = ROOT / "benchmarks"
SIZES = ("--width", "2", "--batch-size", "8", "--rounds", "1", "--steps", "2")


@pytest.fixture
def benchmark_modules(monkeypatch):
    """Let this test import what lies beside the scripts."""
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(BENCHMARKS)


def measure(script, n_ranks, output, *arguments):
    """Run a script that appends a record to a file; the record."""
    job = launch(
        n_ranks,
        *(*SIZES, "--output", str(output), *arguments),
        program=BENCHMARKS / script,
        interpreter=("-m", "mpi4py"),
    )
    assert job.returncode == 0, job.stderr
    return json.loads(output.read_text())[-1]


def test_strong_scaling_is_measured_put_together_and_drawn(benchmark_modules, tmp_path):
    output = tmp_path / "scaling.json"
    size = ("--depth", "32", "--coarsening", "4", "8", "4,2")
    alone = ("--methods", "serial-all", "serial-c-points")
    shared = ("--methods", "0", "1", "adaptive")
    measure("strong_scaling.py", 1, output, *size, *alone)
    measure("strong_scaling.py", 2, output, *size, *shared)
    record = measure("strong_scaling.py", 2, output, *size, *shared)
    assert [row["coarsening"] for row in record["rows"]] == 3 * [[4], [8], [4, 2]]
    assert record["ranks"] == 2
    assert record["mpi"]["mpi4py"]
    errors = {}
    for row in record["rows"]:
        steps, samples = (20, 1) if row["method"] == "adaptive" else (2, 2)
        assert (len(row["iterations"]), len(row["samples"])) == (steps, samples)
        assert row["phases"]["relax"] > 0
        assert row["phases"]["coarse"] > 0 or row["method"] == "adaptive"
        assert 0 < row["communicating"] < max(row["samples"])
        errors.setdefault(row["method"], []).append(row["gradient_error"])
    assert max(errors["1"]) < min(errors["0"]) < 1.0
    assert max(errors["adaptive"]) < 3e-2  # what is kept below 1e-2 is an estimate

    from scaling.figures import figures
    from scaling.report import merged, report

    records = json.loads(output.read_text())
    points = merged(records)
    assert [len(p.samples) for p in points] == 4 * [2] + 6 * [4] + 3 * [2]
    assert len(report(records).splitlines()) == 2 + len(points)
    assert [suffix for suffix, _ in figures(records)] == ["-strong-n32-w2-b8-wall"]


def test_weak_scaling_by_virtual_time(tmp_path):
    record = measure(
        "weak_scaling.py",
        2,
        tmp_path / "scaling.json",
        *("--layers-per-rank", "16", "--coarsening", "4", "--virtual", "ethernet"),
    )
    (row,) = record["rows"]
    assert record["depth"] == 32
    assert min(row["samples"]) > 24.6e-6  # the latency of one message
    assert row["phases"]["waiting"] > 0.0
    assert row["sent"] > 0
    assert row["bytes"] > 0

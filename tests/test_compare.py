"""``mgresnet compare``: what runs learned, their seconds, and how they differ."""

import json
import shutil
from pathlib import Path

from mgresnet.__main__ import main

TRAIN = ["train", "peaks", "--depth", "16", "--width", "4", "--n-train", "60"]
TRAIN += ["--n-validation", "20", "--batch-size", "20", "--epochs", "2"]


ENDS = "its table ends with epoch 1 of 2"


def trained(folder, *options):
    """Folder of a run."""
    assert main([*TRAIN, *options, "--output", str(folder)]) == 0
    return str(folder)


def printed(capsys, *folders):
    """Lines of a comparison."""
    capsys.readouterr()
    assert main(["compare", *folders]) == 0
    return capsys.readouterr().out.splitlines()


def lines_of(path):
    """Objects of a file that has one in every line."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_lines(path, some):
    path.write_text("".join(json.dumps(one) + "\n" for one in some))


def taking(folder, seconds, steps=None):
    """Let every step have taken so long; perhaps have only the first steps."""
    path = Path(folder) / "records.jsonl"
    times = {"forward": 0.75 * seconds, "update": 0.25 * seconds, "relax": 9.0}
    some = [record | {"seconds": times} for record in lines_of(path)[:steps]]
    write_lines(path, some)


def test_numbers_are_those_of_the_runs(tmp_path, capsys):
    first = trained(tmp_path / "first", "--gradient-tolerance", "0.01")
    other = trained(tmp_path / "other", "--learning-rate", "0.1", "--iterations", "2")
    taking(first, 3.0)
    taking(other, 1.5)
    head, *rows, unlike, ratio = printed(capsys, first, other)
    assert head.split()[:4] == ["run", "ranks", "steps", "loss"]
    for folder, row, seconds in zip((first, other), rows, (3.0, 1.5), strict=True):
        last = json.loads((tmp_path / folder / "epochs.json").read_text())[-1]
        name, ranks, steps, *cells = row.split()
        assert (name, ranks, steps) == (folder, "1", "6")
        kinds = "exact", "validation"
        numbers = [last[of][what] for what in ("loss", "score") for of in kinds]
        assert cells[:4] == [f"{number:.4f}" for number in numbers]
        assert cells[4:6] == [f"{6 * seconds:.2f}", f"{1e3 * seconds:.1f}"]
        assert row.endswith(last["plans"])
    assert "learning_rate 0.1, not 0.0" in unlike
    assert "iterations 2, not 10" in unlike
    assert "gradient_tolerance None, not 0.01" in unlike
    assert "output" not in unlike
    assert ratio == f"its step is 2.00 times as fast as that of {first}"


def test_whole_runs_of_the_same_training_are_compared_as_such(tmp_path, capsys):
    run, same = (trained(tmp_path / name) for name in ("run", "same"))
    taking(run, 1.0)
    taking(same, 0.8)
    *_, last = printed(capsys, run, same)
    assert last == f"{same} is 1.25 times as fast as {run}"
    assert not any("another training" in line for line in printed(capsys, run, same))


def test_a_run_that_was_stopped_is_not_the_faster_one(tmp_path, capsys):
    run, part = (trained(tmp_path / name) for name in ("run", "part"))
    taking(run, 1.0)
    taking(part, 2.0, steps=4)
    path = Path(part) / "epochs.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:1]))
    *_, lacks, ratio = printed(capsys, run, part)
    assert lacks == f"{part} was stopped, or has diverged: {ENDS}"
    assert ratio == f"its step is 0.50 times as fast as that of {run}"


def test_a_line_that_is_being_written_is_left_out(tmp_path, capsys):
    run = trained(tmp_path / "run")
    before = printed(capsys, run)
    with (Path(run) / "records.jsonl").open("a") as file:
        file.write('{"step": 6, "epo')
    assert printed(capsys, run) == before


def test_what_is_no_run_is_one_line(tmp_path, capsys):
    run = Path(trained(tmp_path / "run"))
    changes = {
        "changed": ("config.json", '"ranks": 1', '"ranks": 2'),
        "cut": ("records.jsonl", '"loss"', '"lost"'),
        "word": ("epochs.json", '"loss": ', '"loss": "x", "other": '),
    }
    for name, (file, old, new) in changes.items():
        shutil.copytree(run, tmp_path / name)
        text = (run / file).read_text()
        (tmp_path / name / file).write_text(text.replace(old, new))
    shutil.copytree(run, tmp_path / "no time")
    taking(tmp_path / "no time", 0.0)
    (run / "epochs.json").unlink()
    for name, message in {
        "changed": "was changed since mgresnet train has written it",
        "nowhere": "there is no",
        "run": "has 6 step(s) in records.jsonl, and no line in epochs.json; if it ",
        "cut": "is damaged or was changed (TypeError",
        "word": "is damaged or was changed (",
        "no time": "records.jsonl take 0.0 s; put back",
    }.items():
        capsys.readouterr()
        assert main(["compare", str(tmp_path / name)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert message in lines[0]

"""``mgresnet compare``: what runs learned, their seconds, and how they differ."""

import json

import pytest

from mgresnet.__main__ import main

TRAIN = ["train", "peaks", "--depth", "16", "--width", "4", "--n-train", "60"]
TRAIN += ["--n-validation", "20", "--batch-size", "20", "--epochs", "2"]


def trained(folder, *options):
    """Folder of a run."""
    assert main([*TRAIN, *options, "--output", str(folder)]) == 0
    return str(folder)


def printed(capsys, *folders):
    """Lines of a comparison."""
    capsys.readouterr()
    assert main(["compare", *folders]) == 0
    return capsys.readouterr().out.splitlines()


def test_numbers_are_those_of_the_runs(tmp_path, capsys):
    first = trained(tmp_path / "first", "--gradient-tolerance", "0.01")
    other = trained(tmp_path / "other", "--learning-rate", "0.1", "--iterations", "2")
    head, *rows, unlike, ratio = printed(capsys, first, other)
    assert head.split()[:4] == ["run", "ranks", "steps", "loss"]
    seconds = []
    for folder, row in zip((first, other), rows, strict=True):
        last = json.loads((tmp_path / folder / "epochs.json").read_text())[-1]
        name, ranks, steps, *cells = row.split()
        assert (name, ranks, steps) == (folder, "1", "6")
        numbers = [
            last[of][what]
            for what in ("loss", "score")
            for of in ("exact", "validation")
        ]
        assert cells[:4] == [f"{number:.4f}" for number in numbers]
        seconds.append(float(cells[4]))
        assert float(cells[5]) * 6 / 1e3 == pytest.approx(seconds[-1], abs=0.006)
        assert row.endswith(last["plans"])
    assert "learning_rate 0.1, not 0.0" in unlike
    assert "iterations 2, not 10" in unlike
    assert "gradient_tolerance None, not 0.01" in unlike
    assert "output" not in unlike
    assert ratio.startswith(f"{other} is ")


def test_a_run_is_as_fast_as_itself_and_no_other_training(tmp_path, capsys):
    run = trained(tmp_path / "run")
    assert printed(capsys, run, run)[-1] == f"{run} is 1.00 times as fast as {run}"
    assert not any("another training" in line for line in printed(capsys, run, run))


def test_what_is_no_run_is_one_line(tmp_path, capsys):
    run = trained(tmp_path / "run")
    (tmp_path / "run" / "epochs.json").unlink()
    begun = "has 6 step(s), and no line of a table yet; go on with it by mgresnet "
    (tmp_path / "cut").mkdir()
    for name in ("config.json", "records.jsonl"):
        text = (tmp_path / "run" / name).read_text()
        (tmp_path / "cut" / name).write_text(text.replace('"loss"', '"lost"'))
    (tmp_path / "changed").mkdir()
    text = (tmp_path / "run" / "config.json").read_text()
    changed = text.replace('"ranks": 1', '"ranks": 2')
    (tmp_path / "changed" / "config.json").write_text(changed)
    for folder, message in (
        (tmp_path / "changed", "was changed since mgresnet train has written it"),
        (tmp_path / "nowhere", "there is no"),
        (run, begun),
        (tmp_path / "cut", "is damaged or was changed (TypeError"),
    ):
        capsys.readouterr()
        assert main(["compare", str(folder)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert message in lines[0]

"""Human activity: files in the original formats, people kept apart, windows cut."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

import mgresnet as mg
from mgresnet.data.activity import TEST_SUBJECTS, cut

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
KINDS = "body_acc", "body_gyro", "total_acc"
PEOPLE = {"train": (1, 3, 5), "test": (2, 4)}


def write_uci_har(folder, seed=61401):
    """Twelve windows in each part, two of every activity; what was written."""
    rng, written = np.random.default_rng(seed), {}
    for part, people in PEOPLE.items():
        signals = np.round(3.0 + 2.0 * rng.standard_normal((12, 128, 9)), 5)
        labels, subjects = np.arange(12) % 6 + 1, np.arange(12) % len(people)
        inner = folder / "UCI HAR Dataset" / part / "Inertial Signals"
        inner.mkdir(parents=True)
        for c, (kind, axis) in enumerate(product(KINDS, "xyz")):
            path = inner / f"{kind}_{axis}_{part}.txt"
            np.savetxt(path, signals[:, :, c], "%16.7e", "")
        np.savetxt(inner.parent / f"y_{part}.txt", labels, "%d")
        named = np.array(people)[subjects]
        np.savetxt(inner.parent / f"subject_{part}.txt", named, "%d")
        written[part] = signals, labels
    return written


def test_windows_of_uci_har_come_back_scaled_by_those_to_learn_from(tmp_path):
    written = write_uci_har(tmp_path)
    problem = mg.load_problem("uci-har", data_dir=tmp_path)
    train = written["train"][0]
    mean, spread = train.mean((0, 1)), train.std((0, 1))
    for part, split in (("train", problem.train), ("test", problem.validation)):
        signals, labels = written[part]
        found = split.inputs * spread + mean
        order = np.argsort(found[:, 0, 0])
        needed = np.argsort(signals[:, 0, 0])
        np.testing.assert_allclose(found[order], signals[needed], rtol=0, atol=1e-13)
        np.testing.assert_array_equal(split.targets[order] + 1, labels[needed])
    assert (problem.steps, problem.n_features, problem.n_outputs) == (128, 9, 6)


def test_someone_in_both_parts_is_refused(tmp_path):
    write_uci_har(tmp_path)
    path = tmp_path / "UCI HAR Dataset" / "test" / "subject_test.txt"
    path.write_text("3\n" * 12)
    with pytest.raises(ValueError, match="subject 3 is in the training and in the"):
        mg.load_problem("uci-har", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("y_test.txt", "1\n" * 11, "has 12 lines, y_test.txt 11"),
        ("y_test.txt", "7\n" * 12, "label 7, needed 1 to 6"),
        ("y_test.txt", "1 2\n" * 12, "2 columns; needed 1 finite"),
        ("y_test.txt", "a\n" * 12, "cannot be read"),
        ("y_test.txt", "", "is empty"),
        ("Inertial Signals/total_acc_z_test.txt", "nan " * 128, "line 1 that is not"),
    ],
)
def test_faulty_files_are_named(tmp_path, name, content, match):
    write_uci_har(tmp_path)
    path = tmp_path / "UCI HAR Dataset" / "test" / name
    path.write_text(content)
    with pytest.raises(ValueError, match=match) as error:
        mg.load_problem("uci-har", data_dir=tmp_path)
    assert path.stem in str(error.value) or "window 0" in str(error.value)


def recordings(seed=61402):
    """Signals of four experiments; every activity twice in each, and a transition."""
    rng, signals, stretches = np.random.default_rng(seed), [], []
    for experiment, subject in ((1, 1), (2, 1), (3, 2), (11, 24)):
        signals.append(np.round(rng.standard_normal((2800, 6)), 6))
        for k, activity in enumerate((*range(1, 7), 9, *range(1, 7))):
            first = 200 * k + 3
            row = experiment, subject, activity, first, first + 191
            stretches.append(row)
    return signals, np.array(stretches)


def write_hapt(folder):
    """Original text files of the recordings."""
    signals, stretches = recordings()
    np.savetxt(folder / "labels.txt", stretches, "%d")
    people = dict(stretches[:, :2].tolist())
    for values, (experiment, subject) in zip(signals, people.items(), strict=True):
        name = f"exp{experiment:02d}_user{subject:02d}.txt"
        np.savetxt(folder / f"acc_{name}", values[:, :3], "%.6f")
        np.savetxt(folder / f"gyro_{name}", values[:, 3:], "%.6f")


def test_raw_text_files_and_their_arrays_are_one_problem(tmp_path):
    raw, packed = tmp_path / "text" / "RawData", tmp_path / "arrays"
    raw.mkdir(parents=True)
    packed.mkdir()
    write_hapt(raw)
    signals, stretches = recordings()
    experiment = [*dict(stretches[:, :2].tolist())]
    offsets = np.cumsum([0, *map(len, signals)])
    arrays = {"offsets": offsets, "experiment": experiment, "labels": stretches}
    together = np.concatenate(signals)
    np.savez(packed / "hapt_raw.npz", signals=together, **arrays)
    ours, theirs = (
        mg.load_problem("hapt", data_dir=folder) for folder in (raw.parent, packed)
    )
    for a, b in ((ours.train, theirs.train), (ours.validation, theirs.validation)):
        np.testing.assert_array_equal(a.inputs, b.inputs)
        np.testing.assert_array_equal(a.targets, b.targets)
    # 192 samples have two windows; two people learn in two experiments, two are tests
    assert len(ours.train.inputs) == len(ours.validation.inputs) == 2 * 12 * 2


def test_windows_lie_inside_their_stretch_and_overlap_by_a_half():
    signals = np.arange(600.0)[:, None]
    stretches = np.array([[7, 1, 4, 11, 330], [7, 1, 8, 331, 500], [7, 1, 2, 501, 600]])
    windows = cut(signals, stretches, {7: (0, 600)})
    starts = [10, 74, 138, 202]  # 202 + 128 = 330: the last that fits
    np.testing.assert_array_equal(windows.signals[:, 0, 0], starts)
    np.testing.assert_array_equal(windows.signals[:, -1, 0], np.array(starts) + 127)
    assert set(windows.labels.tolist()) == {3}


def test_stretches_beyond_the_signals_are_refused():
    stretches = np.array([[7, 1, 4, 1, 601]])
    with pytest.raises(ValueError, match="runs from 1 to 601, of 600 samples"):
        cut(np.zeros((600, 6)), stretches, {7: (0, 600)})


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"hapt is not shipped.*RawData"):
        mg.load_problem("hapt")
    with pytest.raises(FileNotFoundError, match="none of HAPT's files"):
        mg.load_problem("hapt", data_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no file .*y_train.txt"):
        mg.load_problem("uci-har", data_dir=tmp_path)
    (tmp_path / "hapt_raw.npz").write_text("something else")
    with pytest.raises(ValueError, match="cannot be read"):
        mg.load_problem("hapt", data_dir=tmp_path)


@pytest.mark.skipif(not (SHARED / "hapt").is_dir(), reason="HAPT is not at hand")
def test_windows_of_the_original_are_those_of_its_label_files():
    with np.load(SHARED / "hapt" / "hapt_windows.npz") as known:
        y, subject = known["y"], known["subject"]
    problem = mg.load_problem("hapt", data_dir=SHARED / "hapt")
    test = np.isin(subject, TEST_SUBJECTS)
    for split, rows in ((problem.train, ~test), (problem.validation, test)):
        counts = np.bincount(split.targets, minlength=6)
        np.testing.assert_array_equal(counts, np.bincount(y[rows] - 1, minlength=6))
    assert (len(problem.train.inputs), len(problem.validation.inputs)) == (7415, 2996)

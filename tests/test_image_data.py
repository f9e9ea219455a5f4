"""Images from files and drawn ones, and their augmentation."""

import gzip
from pathlib import Path

import numpy as np
import pytest

import mgresnet as mg
from mgresnet.data.cifar import read_cifar

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
CIFAR = SHARED / "cifar-10"


def rows(n, n_labels, n_classes, seed=83101):
    """Rows of a file: labels, pixels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, (n, n_labels), np.uint8)
    return np.concatenate([labels, rng.integers(0, 256, (n, 3072), np.uint8)], axis=1)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(("name", "n_labels"), [("cifar-10", 1), ("cifar-100", 2)])
def test_files_come_back(tmp_path, name, n_labels, zipped):
    n_classes = 10 if n_labels == 1 else 100
    files = ("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin")
    files = files if n_labels == 1 else ("train.bin", "test.bin")
    written = {}
    for i, file in enumerate(files):
        written[file] = rows(9 + i, n_labels, n_classes, i)
        content = written[file].tobytes()
        path = tmp_path / (file + ".gz" * zipped)
        path.write_bytes(gzip.compress(content) if zipped else content)
    problem = mg.load_problem(name, data_dir=tmp_path, dtype=np.float32)
    train = np.concatenate([written[file] for file in files[:-1]])
    for split, needed in (
        (problem.train, train),
        (problem.validation, written[files[-1]]),
    ):
        assert split.inputs.dtype == np.float32
        pixels = np.rint(255 * split.inputs).astype(np.uint8)
        found = np.concatenate(
            [split.targets[:, None].astype(np.uint8), pixels], axis=1
        )
        order, wanted = np.lexsort(found.T), needed[:, n_labels - 1 :]
        np.testing.assert_array_equal(found[order], wanted[np.lexsort(wanted.T)])
    assert problem.n_outputs == n_classes
    assert problem.image_shape == (3, 32, 32)


def test_a_file_that_is_there_unzipped_and_zipped_counts_once(tmp_path):
    for file, n in (("data_batch_1.bin", 20), ("test_batch.bin", 10)):
        content = rows(n, 1, 10).tobytes()
        (tmp_path / file).write_bytes(content)
        (tmp_path / f"{file}.gz").write_bytes(gzip.compress(content))
    assert len(mg.load_problem("cifar-10", data_dir=tmp_path).train.inputs) == 20


@pytest.mark.parametrize("zipped", ["", ".gz"])
def test_a_missing_batch_is_named(zipped, tmp_path):
    for name in ("data_batch_1", "data_batch_2", "data_batch_5", "test_batch"):
        content = rows(20, 1, 10).tobytes()
        content = gzip.compress(content) if zipped else content
        (tmp_path / f"{name}.bin{zipped}").write_bytes(content)
    with pytest.raises(
        FileNotFoundError, match=r"no data_batch_3\.bin, data_batch_4\.bin"
    ):
        mg.load_problem("cifar-10", data_dir=tmp_path)


def test_wrong_files_are_refused(tmp_path):
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(b"\0" * 3074)
    with pytest.raises(ValueError, match=r"found 3074 bytes.*multiple of 3073"):
        read_cifar(path, 1)
    path.write_bytes(gzip.compress(rows(3, 1, 10).tobytes())[:-9])
    with pytest.raises(ValueError, match="damaged gzip data"):
        read_cifar(path, 1)
    path.write_bytes(rows(30, 1, 200).tobytes())
    with pytest.raises(
        ValueError, match=r"found label \d+ in row \d+, expected 0 to 9"
    ):
        mg.load_problem("cifar-10", data_dir=tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"holds no train\.bin or train\.bin\.gz"
    ):
        mg.load_problem("cifar-100", data_dir=tmp_path)
    with pytest.raises(ValueError, match=r"cifar-10 is not shipped.*which is drawn"):
        mg.load_problem("cifar-10")


@pytest.mark.skipif(not CIFAR.is_dir(), reason=f"CIFAR-10 not found in {CIFAR}")
def test_the_original_cifar_10():
    problem = mg.load_problem("cifar-10", data_dir=CIFAR, n_train=500, n_validation=100)
    assert np.bincount(problem.train.targets).tolist() == [50] * 10
    means = problem.train.inputs.reshape(500, 3, -1).mean(axis=(0, 2))
    np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=0.02)


def test_drawn_figures_have_a_place_in_the_middle_or_none():
    """A disc and a square fill their centre, a ring does not; corners differ."""
    problem = mg.load_problem("shapes", n_train=400)
    assert problem.image_shape == (3, 16, 16)
    assert np.bincount(problem.train.targets).tolist() == [100] * 4
    images = problem.train.inputs.reshape(400, *problem.image_shape)
    border = images[:, :, [0, -1]].mean(axis=(2, 3))
    contrast = np.linalg.norm(images - border[:, :, None, None], axis=1)
    points = np.array([contrast[k::4].mean(axis=0) for k in range(4)])
    disc, ring, square, cross = points[:, 7:9, 7:9].mean(axis=(1, 2))
    assert ring < 0.7 * min(disc, square, cross)
    disc, ring, square, cross = points.sum(axis=(1, 2))
    assert max(cross, ring) < 0.9 * min(disc, square)


def batch(n=5, shape=(2, 6, 6), epoch=0):
    rng = np.random.default_rng(83102)
    inputs = rng.standard_normal((40, *shape))[:n].reshape(n, -1)
    return mg.Batch(inputs, np.zeros(n, np.int64), epoch, np.arange(n) + 11)


def test_augmented_samples_do_not_depend_on_their_batch():
    whole = batch(9)
    (found,) = mg.augmented([whole], (2, 6, 6), seed=5)
    order = [4, 0, 7]
    some = mg.Batch(whole.inputs[order], whole.targets[order], 0, whole.rows[order])
    (part,) = mg.augmented([some], (2, 6, 6), seed=5)
    np.testing.assert_array_equal(part.inputs, found.inputs[order])
    np.testing.assert_array_equal(found.rows, whole.rows)
    others = [mg.augmented([batch(9, epoch=1)], (2, 6, 6), seed=5)]
    others += [mg.augmented([whole], (2, 6, 6), seed=6)]
    for other in others:
        assert not np.array_equal(next(other).inputs, found.inputs)


def test_augmented_images_are_windows_and_mirrors_of_the_padded_ones():
    given = batch(30)
    (found,) = mg.augmented([given], (2, 6, 6), pad=2)
    seen = set()
    for old, new in zip(given.inputs, found.inputs, strict=True):
        padded = np.pad(old.reshape(2, 6, 6), ((0, 0), (2, 2), (2, 2)))
        windows = {
            (y, x, step): padded[:, y : y + 6, x : x + 6][:, :, ::step].ravel()
            for y in range(5)
            for x in range(5)
            for step in (1, -1)
        }
        places = [k for k, window in windows.items() if np.array_equal(window, new)]
        assert len(places) == 1
        seen |= {*places}
    assert {step for *_, step in seen} == {1, -1}
    assert len(seen) > 15


def test_without_padding_and_mirrors_nothing_changes():
    (found,) = mg.augmented([batch()], (2, 6, 6), pad=0, flip=False)
    np.testing.assert_array_equal(found.inputs, batch().inputs)


def test_augmentation_says_what_it_needs():
    with pytest.raises(ValueError, match=r"without rows; try mg\.batches"):
        next(mg.augmented([batch()._replace(rows=None)], (2, 6, 6)))
    with pytest.raises(ValueError, match=r"without rows"):
        next(mg.augmented([(np.ones((3, 72)), np.zeros(3))], (2, 6, 6)))
    with pytest.raises(ValueError, match=r"\(5, 72\), needed images of \(3, 6, 6\)"):
        next(mg.augmented([batch()], (3, 6, 6)))
    with pytest.raises(TypeError, match=r"batches is one Batch.*try \[batch\]"):
        mg.augmented(batch(), (2, 6, 6))
    with pytest.raises(TypeError, match=r"batches is 3.*mg\.batches\(split, 64\)"):
        mg.augmented(3, (2, 6, 6))
    with pytest.raises(TypeError, match="flip must be True or False, got 'no'"):
        mg.augmented([batch()], (2, 6, 6), flip="no")
    with pytest.raises(ValueError, match="pad must be at least 0, got -1"):
        mg.augmented([batch()], (2, 6, 6), pad=-1)

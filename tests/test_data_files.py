"""The idx reader and the image problems: shipped, published and damaged files."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

import mgresnet.data
from mgresnet.data import load_problem, read_idx

SUBSET = Path(mgresnet.data.__file__).parent / "fashion_mnist_subset"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"published data sets not found in {SHARED}"
)
TRAIN = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
OTHER = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
MD5 = {
    "LICENSE.fashion-mnist": "db4652e53d27ef11e4457dcd7dc46722",
    TRAIN[0]: "39b2b1278ce2496020656cbe7efb24e3",
    TRAIN[1]: "5089c18dbd3bfc17ac5a110f8845653b",
    OTHER[0]: "6aa6b75f30cd2bb4fc7a95edfbe8ba44",
    OTHER[1]: "a6779c036870c7bb89bbec0f4860cd0c",
}
VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def idx_bytes(array, type_code=8):
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, type_code, array.ndim]) + sizes + array.tobytes()


def write_set(folder, n=30):
    """Write four small idx files; the pixels of an image tell its position."""
    position = np.arange(n, dtype=np.uint8)
    pixels = np.ascontiguousarray(np.broadcast_to(position[:, None, None], (n, 28, 28)))
    for images, labels in (TRAIN, OTHER):
        (folder / images).write_bytes(gzip.compress(idx_bytes(pixels)))
        (folder / labels).write_bytes(gzip.compress(idx_bytes(position % 10)))
    return folder


def damaged_gzip(where):
    """Flip one byte of a gzip file of random bytes."""
    noise = np.random.default_rng(666).integers(0, 256, 4000, dtype=np.uint8)
    content = bytearray(gzip.compress(idx_bytes(noise)))
    content[where] ^= 0xFF
    return bytes(content)


# --- The reader ------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("shape", [(24,), (2, 3, 4), (3, 1, 2, 4), (0,), (0, 28, 28)])
def test_what_was_written_is_read(tmp_path, pack, shape):
    array = np.resize(VALUES, shape)
    path = tmp_path / "values"
    path.write_bytes(pack(idx_bytes(array)))
    found = read_idx(path)
    assert found.dtype == np.uint8
    assert found.flags.writeable
    assert np.array_equal(found, array)
    assert np.array_equal(read_idx(str(path)), array)


def test_more_than_one_chunk_is_read(tmp_path):
    array = np.random.default_rng(13).integers(0, 256, (3, 1 << 20), dtype=np.uint8)
    (tmp_path / "long.gz").write_bytes(gzip.compress(idx_bytes(array), 1))
    assert np.array_equal(read_idx(tmp_path / "long.gz"), array)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.gz' does not exist; check the"):
        read_idx(tmp_path / "none.gz")


GOOD = idx_bytes(VALUES)
BAD = {
    "empty": (b"", r"found nothing as first bytes, expected 00 00 08 .*saved web page"),
    "html": (b"<!DOCTYPE html>", r"found 3c 21 44 4f as first bytes, expected 00 00"),
    "no dimension": (b"\0\0\x08\0abc", r"found 00 00 08 00 as first bytes"),
    "wrong type": (idx_bytes(VALUES, 13), r"found values of idx type 0x0d, expected 0"),
    "half a header": (GOOD[:14], r"found 10 bytes of sizes, expected 12 for 3 dimens"),
    "too short": (GOOD[:-1], r"found 23 values, expected 24 .*\(2 x 3 x 4\)"),
    "too long": (GOOD + b"\0", r"found more values, expected 24 .*\(2 x 3 x 4\)"),
    "absurd sizes": (
        b"\0\0\x08\x03" + b"\xff" * 12 + b"abc",
        r"found a header of 79228162458924105385300197375 values, expected at most",
    ),
    "gzip of html": (gzip.compress(b"<html>"), r"found 3c 68 74 6d as first bytes"),
    "gzip too short": (gzip.compress(GOOD[:-2]), r"found 22 values, expected 24"),
    "gzip too long": (gzip.compress(GOOD * 2), r"found more values, expected 24"),
    "gzip cut": (gzip.compress(GOOD)[:-9], r"damaged gzip data \(.*\), expected a wh"),
    "gzip head only": (b"\x1f\x8b", r"damaged gzip data \(.*\), expected a whole"),
    "gzip blocks": (damaged_gzip(10), r"damaged gzip data \(Error -3.*\), expected a"),
    "gzip body": (damaged_gzip(600), r"damaged gzip data \(.*\), expected a whole"),
    "gzip checksum": (damaged_gzip(-6), r"damaged gzip data \(CRC.*\), expected a wh"),
    "gzip trailer": (gzip.compress(GOOD) + b"x", r"damaged gzip data \(Not a gzip"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file(tmp_path, case):
    content, message = BAD[case]
    path = tmp_path / "odd\nname"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"odd\\nname': found") as caught:
        read_idx(path)
    caught.match(message)
    caught.match(r"; .*(download the file again|check the file name)$")
    assert "\n" not in str(caught.value)


# --- The shipped subset ----------------------------------------------------


def test_shipped_files_are_the_original_ones():
    found = {p.name: hashlib.md5(p.read_bytes()).hexdigest() for p in SUBSET.iterdir()}
    assert found == MD5


@needs_shared
def test_subset_is_the_beginning_of_each_class():
    for images, labels in (TRAIN, OTHER):
        whole, classes = (
            read_idx(SHARED / "fashion-mnist" / f) for f in (images, labels)
        )
        n = 50 if images == TRAIN[0] else 20
        kept = np.sort([np.flatnonzero(classes == k)[:n] for k in range(10)], axis=None)
        assert np.array_equal(read_idx(SUBSET / labels), classes[kept])
        assert np.array_equal(read_idx(SUBSET / images), whole[kept])


def test_first_labels_and_pixels_of_the_subset():
    labels = read_idx(SUBSET / TRAIN[1])
    assert labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    problem = load_problem("fashion-mnist", seed=666)
    assert np.bincount(problem.train.targets).tolist() == [50] * 10
    assert np.bincount(problem.validation.targets).tolist() == [20] * 10
    # The same images in another order, divided by 255.
    pixels = read_idx(SUBSET / TRAIN[0]).reshape(500, 784)
    scaled = np.rint(255 * problem.train.inputs)
    key = np.lexsort([labels, *pixels.T])
    own = np.lexsort([problem.train.targets, *scaled.T])
    assert np.array_equal(scaled[own], pixels[key])
    assert np.array_equal(problem.train.targets[own], labels[key])
    assert problem.train.inputs.max() == 1.0
    assert problem.class_names[9] == "Ankle boot"


@needs_shared
def test_published_mnist_counts():
    labels = read_idx(SHARED / "mnist" / TRAIN[1])
    expected = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(labels).tolist() == expected
    problem = load_problem("mnist", n_train=277, data_dir=SHARED / "small" / "mnist")
    counts = np.bincount(problem.train.targets)
    assert np.ptp(counts) == 1
    assert problem.class_names[9] == "9"


# --- Choosing samples ------------------------------------------------------


@pytest.mark.parametrize("name", ["fashion-mnist", "mnist"])
@pytest.mark.parametrize("n", [4, 17, 30])
def test_chosen_samples_keep_their_labels(tmp_path, name, n):
    problem = load_problem(name, n_train=n, seed=13, data_dir=write_set(tmp_path))
    positions = np.rint(255 * problem.train.inputs).astype(int)
    assert (positions == positions[:, :1]).all()
    assert len(np.unique(positions[:, 0])) == n
    assert np.array_equal(positions[:, 0] % 10, problem.train.targets)
    assert np.ptp(np.bincount(problem.train.targets, minlength=10)) <= 1
    assert str(tmp_path) in problem.source


def test_smaller_subset_begins_a_larger_one(tmp_path):
    write_set(tmp_path)
    small, large = (
        load_problem("mnist", n_train=n, n_validation=30, seed=13, data_dir=tmp_path)
        for n in (17, 30)
    )
    assert np.array_equal(small.train.inputs, large.train.inputs[:17])
    # The two splits are ordered by random streams of their own.
    assert not np.array_equal(large.train.inputs, large.validation.inputs)


def test_classes_that_run_out_leave_room_for_others(tmp_path):
    labels = np.repeat([0, 1, 2], [20, 3, 7]).astype(np.uint8)
    write_set(tmp_path)
    (tmp_path / TRAIN[1]).write_bytes(idx_bytes(labels))
    for n, counts in ((8, {2, 3}), (15, {3, 6}), (30, {3, 7, 20})):
        problem = load_problem("mnist", n_train=n, seed=13, data_dir=tmp_path)
        assert set(np.bincount(problem.train.targets)) == counts


@pytest.mark.parametrize(
    ("file", "array", "message"),
    [
        (
            TRAIN[0],
            np.zeros((30, 28), np.uint8),
            r"found an array of shape \(30, 28\), expected \(n, 28, 28\) with n",
        ),
        (
            OTHER[0],
            np.zeros((0, 28, 28), np.uint8),
            r"found an array of shape \(0, 28, 28\), expected \(n, 28, 28\) with n",
        ),
        (
            TRAIN[1],
            np.zeros(29, np.uint8),
            r"found labels of shape \(29,\), expected \(30,\) to match train-images",
        ),
        (
            OTHER[1],
            np.zeros((30, 1), np.uint8),
            r"found labels of shape \(30, 1\), expected \(30,\) to match t10k-images",
        ),
        (
            OTHER[1],
            np.repeat([3, 10, 255], 10).astype(np.uint8),
            r"found label 10 at position 10 \(20 such\), expected 0 to 9; use the orig",
        ),
    ],
)
def test_files_that_do_not_fit(tmp_path, file, array, message):
    (write_set(tmp_path) / file).write_bytes(idx_bytes(array))
    with pytest.raises(ValueError, match=rf"^{file} in '.*': {message}"):
        load_problem("mnist", data_dir=tmp_path)


def test_more_samples_than_there_are(tmp_path):
    message = r"^n_validation=31, but '.*' holds 30 such samples; ask for at most 30$"
    with pytest.raises(ValueError, match=message):
        load_problem("mnist", n_validation=31, data_dir=write_set(tmp_path))


def test_folder_without_a_file(tmp_path):
    (write_set(tmp_path) / OTHER[1]).unlink()
    with pytest.raises(
        FileNotFoundError, match=r"t10k-labels-idx1-ubyte\.gz' does not"
    ):
        load_problem("fashion-mnist", data_dir=tmp_path)

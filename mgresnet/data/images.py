"""MNIST and Fashion-MNIST from their original idx files.

Sample i is x_i = pixels / 255 in [0, 1]^784, row by row, with label y_i in 0 .. 9.
A subset of n samples is the first n of a seeded order that takes one sample of each
class in turn, for as long as the classes last: counts differ by at most one unless
a class has run out, and a smaller subset is the beginning of a larger one.

References
----------
H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, arXiv:1708.07747 (2017).
Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to
document recognition, Proc. IEEE 86 (1998).
"""

from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgresnet.data.idx import read_idx
from mgresnet.data.records import Problem, Request, Split

N_CLASSES = 10
PIXELS = (28, 28)

TRAIN_FILES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
VALIDATION_FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")

GARMENTS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def load_fashion_mnist(request: Request) -> Problem:
    """Read Fashion-MNIST; without a data_dir, the 500 + 200 shipped samples."""
    folder: Traversable = files("mgresnet.data") / "fashion_mnist_subset"
    source = "Fashion-MNIST, (c) 2017 Zalando SE, MIT licence; shipped 500 + 200 subset"
    if request.data_dir is not None:
        folder = request.data_dir
        source = f"Fashion-MNIST from {str(folder)!r}"
    train, validation = _read_both(folder, request)
    return Problem(
        name="fashion-mnist",
        kind="classification",
        train=train,
        validation=validation,
        n_outputs=N_CLASSES,
        source=source,
        class_names=GARMENTS,
        image_shape=(1, *PIXELS),
    )


def load_mnist(request: Request) -> Problem:
    """Read MNIST, which is not shipped, from data_dir."""
    if request.data_dir is None:
        raise ValueError(
            "mnist is not shipped with mgresnet and got no data_dir; give "
            "data_dir=FOLDER that holds the four original files "
            f"{', '.join(TRAIN_FILES + VALIDATION_FILES)}"
        )
    train, validation = _read_both(request.data_dir, request)
    return Problem(
        name="mnist",
        kind="classification",
        train=train,
        validation=validation,
        n_outputs=N_CLASSES,
        source=f"MNIST from {str(request.data_dir)!r}",
        class_names=tuple(map(str, range(N_CLASSES))),
        image_shape=(1, *PIXELS),
    )


def _read_both(folder: Traversable, request: Request) -> tuple[Split, Split]:
    """Read, check and thin out both splits."""
    train_images, train_labels = _read_pair(folder, TRAIN_FILES)
    validation_images, validation_labels = _read_pair(folder, VALIDATION_FILES)
    train = chosen(request, "n_train", train_labels, folder)
    validation = chosen(request, "n_validation", validation_labels, folder)
    return (
        scaled(train_images[train], train_labels[train], request),
        scaled(validation_images[validation], validation_labels[validation], request),
    )


def _read_pair(
    folder: Traversable, names: tuple[str, str]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read images and their labels and check that they belong together."""
    with as_file(folder / names[0]) as path:
        images = read_idx(path)
    with as_file(folder / names[1]) as path:
        labels = read_idx(path)
    where = f"{str(folder)!r}"
    if images.ndim != 3 or images.shape[1:] != PIXELS or len(images) == 0:
        raise ValueError(
            f"{names[0]} in {where}: found an array of shape {images.shape}, expected "
            "(n, 28, 28) with n > 0; use the original image file"
        )
    if labels.ndim != 1 or len(labels) != len(images):
        raise ValueError(
            f"{names[1]} in {where}: found labels of shape {labels.shape}, expected "
            f"({len(images)},) to match {names[0]}; take both files from one set"
        )
    wrong = np.flatnonzero(labels >= N_CLASSES)
    if wrong.size:
        raise ValueError(
            f"{names[1]} in {where}: found label {labels[wrong[0]]} at position "
            f"{wrong[0]} ({wrong.size} such), expected 0 to 9; use the original label "
            "file"
        )
    return images, labels


def chosen(
    request: Request, field: str, labels: NDArray[Any], folder: Traversable
) -> NDArray[np.intp]:
    """Return the positions of the samples asked for, balanced, in seeded order."""
    part, asked = (
        (1, request.n_train) if field == "n_train" else (2, request.n_validation)
    )
    available = len(labels)
    if asked is not None and asked > available:
        hint = "" if request.data_dir else ", or give data_dir with the full set"
        raise ValueError(
            f"{field}={asked}, but {str(folder)!r} holds {available} such samples; "
            f"ask for at most {available}{hint}"
        )
    return _balanced_order(labels, request.generator(part))[:asked]


def _balanced_order(labels: NDArray[Any], rng: np.random.Generator) -> NDArray[np.intp]:
    """Order all samples so that every beginning is balanced as far as possible.

    Shuffle, number the samples of each class 0, 1, .. in that order, and sort by
    this number: round r holds the r-th sample of every class that has one.
    """
    order = rng.permutation(len(labels))
    shuffled = labels[order]
    rounds = np.empty(len(labels), np.intp)
    for k in np.unique(labels):
        members = np.flatnonzero(shuffled == k)
        rounds[members] = np.arange(len(members))
    return np.asarray(order[np.argsort(rounds, kind="stable")], np.intp)


def scaled(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], request: Request
) -> Split:
    """Turn bytes into rows of numbers in [0, 1] and int64 labels."""
    rows = images.reshape(len(images), -1).astype(request.dtype)
    rows /= 255
    return Split(rows, labels.astype(np.int64))

"""Batches: each epoch visits every sample once, in an order given by the seed."""

import numpy as np
import pytest

from mgresnet.data import Split, batches

SEEDS = (13, 666, 40961)


def plain_split(n):
    return Split(np.arange(2.0 * n).reshape(n, 2), np.arange(n))


def same_split(one, two):
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [1, 4, 11, 22, 23])
@pytest.mark.parametrize("drop_last", [False, True])
def test_every_epoch_covers_every_sample_once(seed, size, drop_last):
    split = plain_split(23)
    found = list(batches(split, size, 3, seed, drop_last=drop_last))
    for epoch in range(3):
        own = [batch for batch in found if batch.epoch == epoch]
        rows = np.concatenate([batch.targets for batch in own])
        lengths = [len(batch.inputs) for batch in own]
        n_whole, rest = divmod(23, size)
        assert lengths == [size] * n_whole + [rest] * (rest > 0 and not drop_last)
        assert len(np.unique(rows)) == len(rows) == sum(lengths)
    assert [batch.epoch for batch in found] == sorted(batch.epoch for batch in found)
    for batch in found:
        assert np.array_equal(batch.inputs, split.inputs[batch.targets])


def test_order_follows_from_seed_and_epoch():
    split = plain_split(64)

    def order(seed, epochs):
        return [tuple(b.targets) for b in batches(split, 64, epochs, seed)]

    three = order(13, 3)
    assert three == order(13, 3)
    assert three[:2] == order(13, 2)
    assert len({*three, *order(14, 3), tuple(range(64))}) == 7


def test_full_batch_keeps_the_order_and_the_arrays():
    split = plain_split(6)
    found = list(batches(split, epochs=2))
    assert [batch.epoch for batch in found] == [0, 1]
    assert all(batch.inputs is split.inputs for batch in found)
    assert all(batch.targets is split.targets for batch in found)


def test_batches_are_copies():
    split = plain_split(6)
    for batch in batches(split, 6, 2):
        batch.inputs[:] = np.nan
    assert same_split(split, plain_split(6))


@pytest.mark.parametrize(
    ("split", "arguments", "message"),
    [
        (plain_split(5), {"size": 0}, r"^size must be at least 1, got 0$"),
        (plain_split(5), {"size": 6}, r"^size=6, but the split holds 5 .* 1 to 5, or"),
        (plain_split(5), {"epochs": 0}, r"^epochs must be at least 1, got 0$"),
        (plain_split(5), {"seed": -2}, r"^seed must be at least 0, got -2"),
        (plain_split(0), {}, r"^the split holds 0 samples; expected at least 1"),
        (
            Split(np.ones((5, 2)), np.arange(4)),
            {},
            r"^5 inputs but 4 targets; expected one target per input, check",
        ),
        (
            Split(np.array([[0.0, 1], [2, np.nan], [np.inf, 3]]), np.arange(3)),
            {},
            r"^inputs of sample 1 are not finite \(2 such samples\); expected",
        ),
        (
            Split(np.ones((2, 1)), np.array([[1.0], [-np.inf]])),
            {},
            r"^targets of sample 1 are not finite \(1 such",
        ),
    ],
)
def test_batches_refuses_at_the_call(split, arguments, message):
    with pytest.raises(ValueError, match=message):
        batches(split, **arguments)


def test_numbers_must_be_integers():
    with pytest.raises(TypeError, match=r"^size must be an integer, got 2\.5; try 3$"):
        batches(plain_split(5), 2.5)
    with pytest.raises(TypeError, match=r"^seed must be an integer, got None"):
        batches(plain_split(5), 5, seed=None)
    assert len(next(batches(plain_split(5), np.int64(2))).inputs) == 2

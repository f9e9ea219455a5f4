"""`check_objective` names what an objective breaks."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import mgresnet as mg

RNG = np.random.default_rng(65599)
OUTPUTS, TARGETS = RNG.standard_normal((2, 7, 3))
LABELS = RNG.integers(0, 3, 7)


@dataclass(frozen=True)
class LogCosh:
    """An objective as a user writes it; parts can be broken."""

    change: Any = lambda y, t, value, seed: (value, seed)
    score_name = "closeness"

    def value_and_seed(self, outputs, targets):
        defect = outputs - targets
        value = np.log(np.cosh(defect)).sum() / len(outputs)
        return self.change(outputs, targets, value, np.tanh(defect) / len(outputs))

    def score(self, outputs, targets):
        return float(1.0 - np.abs(outputs - targets).mean())

    def check(self, n_outputs, targets, n_samples):
        if np.shape(targets) != (n_samples, n_outputs):
            raise ValueError(f"targets have shape {np.shape(targets)}")


def test_an_objective_of_a_users_own_is_accepted():
    mg.check_objective(LogCosh(), OUTPUTS, TARGETS)
    mg.check_objective(LogCosh(), OUTPUTS[:2].tolist(), TARGETS[:2].tolist())


def of_batch(y, t, value, seed):
    """Defects less their mean over the batch, with the right gradient."""
    defect = y - t - (y - t).mean(axis=0)
    return 0.5 * np.sum(defect**2) / len(y), defect / len(y)


def in_place(y, t, value, seed):
    y *= 2
    return value, seed


def in_targets(y, t, value, seed):
    t += 1
    return value, seed


BROKEN = {
    "a sum": (
        lambda y, t, value, seed: (len(y) * value, len(y) * seed),
        "LogCosh breaks: the value is a mean over the samples",
    ),
    "a mean over the outputs, too, in the seed": (
        lambda y, t, value, seed: (value, seed / 3),
        "the seed is the gradient of the value; along a direction it has",
    ),
    "one entry": (
        lambda y, t, value, seed: (value, seed + 1e-4 * (np.arange(3) == 1)),
        "the seed is the gradient of the value",
    ),
    "samples that mix": (of_batch, "the value is a mean over the samples"),
    "outputs written to": (in_place, "outputs are left alone"),
    "targets written to": (in_targets, "targets are left alone"),
    "NaN": (
        lambda y, t, value, seed: (np.nan, seed),
        "the value of finite outputs is a finite number; got nan",
    ),
    "a value for each sample": (
        lambda y, t, value, seed: (np.ones(len(y)), seed),
        "the value of finite outputs is a finite number",
    ),
    "a seed of infinity": (
        lambda y, t, value, seed: (value, seed + np.inf),
        "the seed of finite outputs is finite",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_named(case):
    change, message = BROKEN[case]
    with pytest.raises(AssertionError, match=re.escape(message)):
        mg.check_objective(LogCosh(change), OUTPUTS, TARGETS)


@dataclass(frozen=True)
class Argmax(mg.SoftmaxCrossEntropy):
    """The largest output is that of a NaN."""

    def score(self, outputs, targets):
        return float(np.mean(outputs.argmax(axis=1) == targets))


def test_scores_of_no_numbers_are_looked_at():
    mg.check_objective(mg.SoftmaxCrossEntropy(), OUTPUTS, LABELS)
    labels = np.where(np.arange(7) == 4, 0, 1)
    message = r"outputs of NaN are not right; samples \[4\] score 1"
    with pytest.raises(AssertionError, match=message):
        mg.check_objective(Argmax(), OUTPUTS, labels)


@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        (OUTPUTS[:1], TARGETS[:1], "outputs have 1 sample(s), needed two or more"),
        (OUTPUTS[0], TARGETS[0], "outputs has shape (3,), needed (batch, n_outputs)"),
        (np.nan * OUTPUTS, TARGETS, "outputs has NaN or infinity"),
        (np.float32(OUTPUTS), TARGETS, "has dtype float32, needed float64"),
        (OUTPUTS, TARGETS[:, :2], "targets have shape (7, 2)"),
        (OUTPUTS, np.ma.masked_less(TARGETS, 0), "targets have masked values"),
    ],
)
def test_what_it_is_given_has_to_fit(outputs, targets, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        mg.check_objective(LogCosh(), outputs, targets)


def test_a_method_that_lacks_is_named():
    with pytest.raises(
        TypeError, match="has no score_name, value_and_seed, score, check;"
    ):
        mg.check_objective(object(), OUTPUTS, TARGETS)

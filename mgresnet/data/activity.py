r"""Human activity from a smartphone: windows of 128 steps at 50 Hz, six activities.

Every channel is scaled by what the people to learn from have,

.. math:: x_{itc} \leftarrow (x_{itc} - \bar x_c) / s_c,

and nobody is both among them and among those to judge by.

HAPT [1]_ has raw signals, acceleration and angular velocity, whose labelled stretches
are cut here into windows that overlap by one half; neither filtered nor cleaned.  UCI
HAR [2]_ has windows of the same experiments, filtered, with gravity taken out in three
of nine channels.

References
----------
.. [1] J.-L. Reyes-Ortiz, L. Oneto, A. Sama, X. Parra, D. Anguita, "Transition-aware
   human activity recognition using smartphones", Neurocomputing (2015); UCI 341.
.. [2] D. Anguita, A. Ghio, L. Oneto, X. Parra, J. L. Reyes-Ortiz, "A public domain
   dataset for human activity recognition using smartphones", ESANN (2013); UCI 240.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mgresnet.data.images import chosen
from mgresnet.data.records import Floats, Problem, Request, Split
from mgresnet.data.scaling import Scale, Scales

ACTIVITIES = ("walking", "upstairs", "downstairs", "sitting", "standing", "laying")
STEPS, STRIDE = 128, 64
TEST_SUBJECTS = (2, 4, 9, 10, 12, 13, 18, 20, 24)  # of HAPT
Labels = NDArray[np.int64]


class Windows(NamedTuple):
    """Stretches of signals, what the person did, and who it was."""

    signals: Floats  # (n, STEPS, channels)
    labels: Labels  # (n,), from 0
    subjects: Labels  # (n,)

    def some(self, rows: NDArray[Any]) -> "Windows":
        """Windows with these numbers, or where this is True."""
        return Windows(self.signals[rows], self.labels[rows], self.subjects[rows])


def activity_problem(
    name: str, source: Path, train: Windows, validation: Windows, request: Request
) -> Problem:
    """Problem of windows of some people, and of others.

    Raises
    ------
    ValueError
        If somebody is among both, a label is none of the six, signals are not finite,
        or there are fewer windows than asked for.
    """
    splits = []
    if both := sorted({*train.subjects.tolist()} & {*validation.subjects.tolist()}):
        raise ValueError(
            f"{source}: subject {both[0]} is in the training and in the test part; "
            "needed different people, as the original files have them"
        )
    for part, field in ((train, "n_train"), (validation, "n_validation")):
        _check(source, part)
        some = chosen(request, field, part.labels, source)
        splits.append(Split(part.signals[some], part.labels[some]))
    seen = splits[0].inputs
    scale = Scale.of(seen.reshape(-1, seen.shape[2]))
    fitted = [
        Split(scale.apply(x).astype(request.dtype), labels) for x, labels in splits
    ]
    return Problem(
        name=name,
        kind="classification",
        train=fitted[0],
        validation=fitted[1],
        n_outputs=len(ACTIVITIES),
        source=f"{name} from {str(source)!r}",
        class_names=ACTIVITIES,
        scales=Scales(scale),
    )


def _check(source: Path, part: Windows) -> None:
    """Refuse labels of other activities, and signals that are no numbers."""
    wrong = np.flatnonzero((part.labels < 0) | (part.labels >= len(ACTIVITIES)))
    if wrong.size:
        raise ValueError(
            f"{source}: window {wrong[0]} has label {part.labels[wrong[0]] + 1}, "
            f"needed 1 to {len(ACTIVITIES)}; use the original files"
        )
    rows = np.isfinite(part.signals).all(axis=(1, 2))
    if not rows.all():
        raise ValueError(
            f"{source}: the signals of window {np.argmin(rows)} are not finite; use "
            "the original files"
        )


def folder_of(name: str, request: Request, holds: str) -> Path:
    """Folder that a person has given.

    Raises
    ------
    ValueError
        If there is none.
    """
    if request.data_dir is None:
        raise ValueError(
            f"{name} is not shipped with mgresnet and got no data_dir; give "
            f"data_dir=FOLDER that holds {holds}"
        )
    return request.data_dir


def cut(
    signals: Floats, stretches: Labels, offsets: dict[int, tuple[int, int]]
) -> Windows:
    """Windows inside the labelled stretches of basic activities.

    Parameters
    ----------
    signals : ndarray, shape (n_samples, channels)
        Of all experiments, one after another.
    stretches : ndarray, shape (n_stretches, 5)
        Experiment, subject, activity, first and last sample, both from 1, inclusive.
    offsets : dict
        Where an experiment begins and ends in `signals`.
    """
    starts, about = [], []
    for experiment, subject, activity, first, last in stretches.tolist():
        if activity > len(ACTIVITIES):  # from one posture to another
            continue
        begin, end = offsets[experiment]
        if not 1 <= first <= last <= end - begin:
            raise ValueError(
                f"a stretch of experiment {experiment} runs from {first} to {last}, of "
                f"{end - begin} samples; use the labels that belong to these signals"
            )
        for start in range(begin + first - 1, begin + last - STEPS + 1, STRIDE):
            starts.append(start)
            about.append((activity - 1, subject))
    if not starts:
        raise ValueError(f"no labelled stretch has {STEPS} samples; use all files")
    places = np.array(starts)[:, None] + np.arange(STEPS)
    labels, subjects = np.array(about, np.int64).T
    return Windows(signals[places], labels, subjects)

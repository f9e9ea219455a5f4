"""Images that move: gated units read features of frames, and are trained by plans.

Features are those of a convolutional network that is drawn and not trained; frames are
the problem "moving-images", which stands for the films of the paper.

References
----------
.. [1] G. E. Moon, E. C. Cyr, "Parallel Training of GRU Networks with a Multi-Grid
   Solver for Long Sequences", ICLR 2022: HMDB51, features of a ResNet per frame.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from mgresnet.data import Problem, load_problem
from mgresnet.learning.frames import with_frame_features
from mgresnet.studies import recurrent
from mgresnet.studies.study import Case, Request, Study


def cases(request: Request) -> list[Case]:
    """Plans for one size; thirty passes over 1000 sequences."""
    return recurrent.cases("moving-images", request, (32,), 300)


def measure(case: Case, request: Request) -> dict[str, Any]:
    """Train on some sequences, and judge on others."""
    return recurrent.measure(sequences(case["seed"], request), case)


@lru_cache(maxsize=1)
def sequences(seed: int, request: Request) -> Problem:
    """Sequences and features of a seed."""
    n = (24, 12) if request.quick else (1000, 400)
    sizes: dict[str, Any] = {"n_train": n[0], "n_validation": n[1]}
    sizes |= {"data_dir": request.data_dir, "dtype": np.float32}
    return with_frame_features(load_problem("moving-images", seed=seed, **sizes), seed)


STUDY = Study(
    "images that move by gated units, explicit and implicit, serial against plans",
    cases,
    measure,
    recurrent.table,
    recurrent.draw,
)

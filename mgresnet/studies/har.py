"""What people do, from a smartphone on their waist: gated units trained by plans.

The folder has HAPT or UCI HAR; everybody of the test part is unknown to the network.

References
----------
.. [1] G. E. Moon, E. C. Cyr, "Parallel Training of GRU Networks with a Multi-Grid
   Solver for Long Sequences", ICLR 2022: UCI HAR, three levels, 2 + 1 iterations.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mgresnet.data import Problem, load_problem
from mgresnet.studies import recurrent
from mgresnet.studies.study import Case, Request, Study


def cases(request: Request) -> list[Case]:
    """Plans for two sizes; eight passes over HAPT."""
    if request.data_dir is None:
        raise ValueError(
            "har reads HAPT or UCI HAR, which are not shipped; give --data-dir FOLDER "
            "of the original files"
        )
    task = task_of(request.data_dir)
    windows(task, request.data_dir)  # tells what is wrong with the files
    return recurrent.cases(task, request, (16, 32), 600)


def task_of(folder: Path) -> str:
    """Which of the two a folder has."""
    uci = any((folder / part).is_dir() for part in ("UCI HAR Dataset", "train"))
    return "uci-har" if uci else "hapt"


def measure(case: Case, request: Request) -> dict[str, Any]:
    """Train on some people, and judge on others."""
    assert request.data_dir is not None
    return recurrent.measure(windows(case["task"], request.data_dir), case)


@lru_cache(maxsize=1)
def windows(task: str, folder: Path) -> Problem:
    """Data, the same for all seeds."""
    return load_problem(task, data_dir=folder, dtype=np.float32)


STUDY = Study(
    "human activity by gated units, explicit and implicit, serial against plans",
    cases,
    measure,
    recurrent.table,
    recurrent.draw,
)

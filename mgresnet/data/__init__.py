"""Learning problems, the idx reader and deterministic batches.

A ``Problem`` is two ``Split`` records (training, validation) of plain arrays;
``batches`` walks over one of them. Every draw follows from the seed alone, so all
ranks of a parallel run hold the same samples in the same order.
"""

from mgresnet.data.augmentation import augmented as augmented
from mgresnet.data.batches import Batch as Batch
from mgresnet.data.batches import batches as batches
from mgresnet.data.idx import read_idx as read_idx
from mgresnet.data.peaks import PEAKS_EDGES as PEAKS_EDGES
from mgresnet.data.peaks import peaks_class as peaks_class
from mgresnet.data.peaks import peaks_function as peaks_function
from mgresnet.data.problems import PROBLEMS as PROBLEMS
from mgresnet.data.problems import load_own as load_own
from mgresnet.data.problems import load_problem as load_problem
from mgresnet.data.records import Problem as Problem
from mgresnet.data.records import Split as Split
from mgresnet.data.sequences import padded as padded

"""Whole training runs of 4096 layers on 16 and 64 ranks, by virtual clocks.

The runs of `whole_runs`, of peaks regression: one rank, exact propagation in turns of
samples, and plans by a gradient tolerance, with batches of 32 to 1000 samples and a
spline of 12 values, or with free weights.  Ranks share the cores there are; what counts
is the CPU time of each and messages as a node has them.

With 1000 samples one rank keeps C-points alone, which is as quick as all states there.
Takes 35 minutes on two cores, with --quick one.
"""

from harness.command import answer
from harness.results import path_of
from training.whole_runs import figures, measure, options, report

PEAKS = "peaks-regression"
CASES = (  # problem, width, depth, batch, steps, values of the spline or None
    (PEAKS, 32, 4096, 1000, 40, 12),
    (PEAKS, 32, 4096, 256, 80, 12),
    (PEAKS, 32, 4096, 32, 80, 12),
)
FREE = (PEAKS, 32, 4096, 256, 20, None)  # 64 ranks would hold too much of them
RANKS = 16, 64
QUICK = (PEAKS, 8, 1024, 64, 40, 12)


def main() -> None:
    """Answer."""
    a = options(__doc__).parse_args()
    trials = [(p, case, None) for case in CASES for p in RANKS] + [(16, FREE, None)]
    trials = [(16, QUICK, None)] if a.quick else trials
    path = path_of("many_ranks", a.quick)
    answer("many_ranks", a, lambda: measure(path, trials, a.resume), report, figures)

"""Many random configurations in one MPI job: right bits, and no rank waits for ever.

    mpiexec -n 8 python -m mpi4py tests/mpi_configurations.py --configurations 1000

Rank 0 draws the configurations.  For each of them some of the ranks, any number and
from any rank on, compute gradients, a step of training and a prediction, and the first
of them compares the bits with those it computes alone.  A configuration with fewer
coarsest intervals than ranks has to be refused on each of them, and the job goes on.
"""

import argparse
import json
import math
import sys
from collections import Counter
from functools import cache

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from mpi_program import (
    PENALTIES,
    Case,
    as_bits,
    assemble,
    clipped_adam,
    nesterov,
    network,
    run,
)

import mgresnet as mg
from mgresnet.timeline.grid import TimeGrid

RANKS = 8
LARGEST_FACTOR = (2, 8, 4, 3)  # by number of factors
OPTIMISERS = {"clipped_adam": clipped_adam, "nesterov": nesterov}
SAME, REFUSED, IDLE = "same bits", "refused", "idle"


@cache
def solves(n_factors):
    """Options of a solve, but for the coarsening."""
    per_level = st.lists(st.integers(0, 2), min_size=n_factors, max_size=n_factors)
    return st.fixed_dictionaries(
        {
            "relaxations": st.integers(0, 2) | per_level,
            "cycle": st.sampled_from("VWF"),
            "max_iterations": st.integers(0, 3),
            "tolerance": st.sampled_from((0.0, 1e-3, 1e-8)),
            "coarse_operator": st.sampled_from(
                ("matched", "fourth_order", "mean", "injection")
            ),
            "initial_guess": st.sampled_from(("coarse", "constant", "zero", "serial")),
            "relaxation_weight": st.sampled_from((1.0, 0.7)),
        }
    )


@st.composite
def configurations(draw):
    """Plain values that `case_of` understands."""
    ranks = draw(st.sampled_from(range(1, RANKS + 1)))
    n_factors = draw(st.sampled_from((0, 1, 2, 3)))
    factor = st.integers(2, LARGEST_FACTOR[n_factors])
    coarsening = draw(st.lists(factor, min_size=n_factors, max_size=n_factors))
    needed = ranks * math.prod(coarsening)
    crowd = needed > 1 and draw(st.integers(0, 8)) == 5
    depths = st.integers(1, needed - 1) if crowd else st.integers(needed, needed + 40)
    depth = draw(depths)
    return {
        "ranks": ranks,
        "intervals": TimeGrid(depth, 1.0, tuple(coarsening)).steps[-1],
        "first_rank": draw(st.integers(0, RANKS - 1)),
        "depth": depth,
        "coarsening": coarsening,
        "width": draw(st.integers(2, 3)),
        "activation": draw(st.sampled_from(("tanh", "relu", "smooth_relu"))),
        "bias": draw(st.sampled_from(("vector", "scalar", "none"))),
        "ends": draw(st.booleans()),
        "control": draw(st.none() | st.integers(4, 7)),
        "forward": draw(solves(len(coarsening))),
        "adjoint": draw(solves(len(coarsening))),
        "optimiser": draw(st.sampled_from(sorted(OPTIMISERS))),
        "dtype": draw(st.sampled_from(("float64", "float32"))),
        "n_samples": draw(st.integers(2, 5)),
        "penalties": draw(st.booleans()),
        "gradient_tolerance": draw(st.sampled_from((None, None, 1e-2))),
        "keep": draw(st.sampled_from(("all", "c-points", "auto"))),
        "seed": draw(st.integers(1000, 9999)),
    }


def drawn(number, random_seed):
    """List of configurations, the same for the same seed."""
    found = []

    @seed(random_seed)
    @settings(
        max_examples=number,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(configurations())
    def collect(configuration):
        found.append(configuration)

    collect()
    return found


def case_of(configuration):
    """The objects that a configuration stands for."""
    c = configuration
    layer = mg.Dense(c["width"] if c["ends"] else 2, c["activation"], c["bias"])
    control = mg.BSpline(c["control"]) if c["control"] else mg.Free()
    forward, adjoint = (
        mg.MGRITOptions(coarsening=c["coarsening"], **c[kind])
        for kind in ("forward", "adjoint")
    )
    return Case(
        network(c["depth"], layer, c["ends"], control),
        forward,
        adjoint,
        OPTIMISERS[c["optimiser"]](),
        c["dtype"],
        c["n_samples"],
        n_steps=1,
        regularisation=PENALTIES if c["penalties"] else None,
        gradient_tolerance=c["gradient_tolerance"],
        seed=c["seed"],
        keep=c["keep"],
    )


def attempt(configuration, world):
    """Outcome on this rank, in words."""
    size, place = configuration["ranks"], world.rank - configuration["first_rank"]
    place %= world.size
    group = world.Split(int(place >= size), place)
    outcome = IDLE if place >= size else compute(case_of(configuration), group)
    group.Free()
    return outcome


def compute(case, group):
    """Outcome on a rank that takes part."""
    try:
        parts = group.gather(run(case, group))
    except ValueError as error:
        if "too many ranks" in str(error):
            return REFUSED
        raise
    if group.rank:
        return SAME
    grids = [
        TimeGrid(case.net.depth, 1.0, way.coarsening)
        for way in (case.forward, case.adjoint)
    ]
    few = case.keep == "c-points" and not all(grid.factors for grid in grids)
    return compare(assemble(parts), assemble([run(case)]), few)


def compare(parallel, serial, few):
    """Outcome for results of several ranks and those of one.

    Without C-points every rank keeps few states of its own, and the first and last.
    """
    for found in (parallel, serial):
        for name in found:
            if few and name.endswith("states"):
                found[name] = found[name][[0, -1]]
    names = sorted(parallel.keys() | serial.keys())
    wrong = [
        name
        for name in names
        if name not in parallel
        or name not in serial
        or as_bits(parallel[name]) != as_bits(serial[name])
    ]
    return f"other bits in {', '.join(wrong)}" if wrong else SAME


def right(configuration):
    """What the outcomes on all ranks have to be."""
    size = configuration["ranks"]
    needed = REFUSED if size > configuration["intervals"] else SAME
    return Counter({needed: size}) + Counter({IDLE: RANKS - size})


def main(world, arguments):
    """Go through all configurations; the number of those that failed."""
    if world.size != RANKS:
        sys.exit(f"{world.size} ranks, needed {RANKS}: start with mpiexec -n {RANKS}")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configurations", type=int, default=150)
    parser.add_argument("--seed", type=int, default=20511)
    a = parser.parse_args(arguments)
    chosen = world.bcast(drawn(a.configurations, a.seed) if world.rank == 0 else None)
    totals = Counter()
    for number, configuration in enumerate(chosen):
        if world.rank == 0:
            print(number, json.dumps(configuration), flush=True)
        outcomes = world.allgather(attempt(configuration, world))
        good = Counter(outcomes) == right(configuration)
        totals["wrong" if not good else REFUSED if REFUSED in outcomes else SAME] += 1
        if world.rank == 0 and not good:
            print("wrong:", outcomes, flush=True)
    if world.rank == 0:
        counts = ", ".join(f"{totals[key]} {key}" for key in (SAME, REFUSED, "wrong"))
        print(f"{len(chosen)} configurations: {counts}", flush=True)
    return totals["wrong"]


if __name__ == "__main__":
    from mpi4py import MPI

    sys.exit(bool(main(MPI.COMM_WORLD, sys.argv[1:])))

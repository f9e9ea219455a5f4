"""How accurately, and by which cycle, a propagation is solved."""

import math
from dataclasses import InitVar, dataclass
from typing import Any, Self

import numpy as np

from mgresnet.arrays.checks import choose, integer, real
from mgresnet.mgrit.cycle import CYCLES

PRECISION = 4  # residuals that rounding leaves, in units of the last place
INITIAL_GUESSES = ("coarse", "constant", "zero", "serial")


@dataclass(frozen=True)
class MGRITOptions:
    """Options of a multigrid-reduction-in-time solve.

    Parameters
    ----------
    coarsening : tuple of int or int
        Coarsening factor of every level but the coarsest; ``()`` is serial propagation.
        Factors that a level has too few steps for are left out.
    relaxations : int or tuple of int
        FC-sweeps after the F-sweep, for all levels or one number per factor: 0 is
        F-relaxation, 1 FCF, 2 FCFCF.
    cycle : {"V", "W", "F"}
    max_iterations : int
        Largest number of coarse-grid corrections; 0 is the initial guess and one
        sweep, which within a gradient may be part of the adjoint solve.
    tolerance : float
        Stop when the 2-norm over the C-points of the residual is at most this times the
        2-norm of the C-point states; 0 never stops early.  Less than the precision of
        the numbers is taken for that.
    coarse_operator : str
        Step over an interval.  "injection": parameters at its left end, one Euler step;
        "mean": their mean, one Euler step; "matched": their mean and two stages that
        agree with the fine steps to second order.  For parameters that are smooth in
        depth, from their mean and slope: "two_stage", "third_order", "fourth_order",
        with two, three and four stages.  A `GRU` has the first three, and "e" and
        "e2", which see the inputs of every step: "e2" is the one to take.
    initial_guess : {"coarse", "constant", "zero", "serial"}
        Solve on the coarsest level and refine up; the initial value everywhere; zero;
        march through all layers, one rank after the other, which needs no iteration.
    relaxation_weight : float
        Weight of the new value in C-relaxation; 1 replaces the old one.
    slabs : int
        Ranks own whole runs of so many layers, a multiple of the coarsest interval;
        solves with shorter intervals then leave every layer where it is.  0 is the
        coarsest interval.

    Examples
    --------
    >>> MGRITOptions(coarsening=(4, 4), relaxations=(0, 1)).relaxations
    (0, 1)
    """

    coarsening: tuple[int, ...] = (16,)
    relaxations: int | tuple[int, ...] = 0
    cycle: str = "V"
    max_iterations: int = 10
    tolerance: float = 1e-8
    coarse_operator: str = "matched"
    initial_guess: str = "coarse"
    relaxation_weight: float = 1.0
    slabs: int = 0
    store: InitVar[str | None] = None  # no option any more

    def __post_init__(self, store: str | None) -> None:
        if store is not None:
            raise TypeError(
                f"store={store!r} is no option of a solve any more; give "
                f"keep={store!r} to solve_forward, solve_adjoint, value_and_gradient "
                "or train"
            )
        object.__setattr__(
            self, "coarsening", _integers(self.coarsening, "coarsening", 2)
        )
        n = len(self.coarsening)
        if np.ndim(self.relaxations):
            per_level = _integers(self.relaxations, "relaxations", 0)
            object.__setattr__(self, "relaxations", per_level)
            if len(per_level) != n:
                raise ValueError(
                    f"relaxations {per_level} has {len(per_level)} entries for {n} "
                    "coarsening factors; give one per factor, or a single integer"
                )
        else:
            _integers((self.relaxations,), "relaxations", 0)
        _integers((self.max_iterations,), "max_iterations", 0)
        _integers((self.slabs,), "slabs", 0)
        interval = math.prod(self.coarsening)
        if self.slabs % interval:
            raise ValueError(
                f"slabs is {self.slabs}, with coarsening {self.coarsening}; needed a "
                f"multiple of {interval}, or 0 for the coarsest interval"
            )
        self._check_values()

    def _check_values(self) -> None:
        """Refuse names that there are not, and numbers out of range."""
        if not isinstance(self.coarse_operator, str):
            raise TypeError(
                f"coarse_operator is {self.coarse_operator!r}, needed a name such as "
                '"matched"'
            )
        choose("cycle", self.cycle, CYCLES)
        choose("initial_guess", self.initial_guess, INITIAL_GUESSES)
        if not 0.0 <= real("tolerance", self.tolerance, 1e-8) < math.inf:
            raise ValueError(
                f"tolerance is {self.tolerance}, needed a finite number >= 0 (0: never "
                "stop early)"
            )
        if not 0.0 < real("relaxation_weight", self.relaxation_weight) < 2.0:
            raise ValueError(
                f"relaxation_weight is {self.relaxation_weight}, needed a number "
                "between 0 and 2; 1 is plain C-relaxation"
            )

    @classmethod
    def serial(cls, coarsening: tuple[int, ...] = (), slabs: int = 0) -> Self:
        """Exact propagation, layer after layer.

        Parameters
        ----------
        coarsening : tuple of int
            Only decides which rank owns which layers, and where the C-points are.
        slabs : int
        """
        return cls(coarsening, max_iterations=0, initial_guess="serial", slabs=slabs)

    @classmethod
    def parareal(cls, m: int) -> Self:
        """Two levels and F-relaxation, with intervals of m layers."""
        return cls(coarsening=(m,), relaxations=0)

    def iterates(self, factors: tuple[int, ...]) -> bool:
        """Whether a solve with these factors in use is not a march through all."""
        return bool(factors) and self.initial_guess != "serial"

    def reachable(self, dtype: np.dtype[Any]) -> float:
        """Tolerance that numbers of a type can meet; 0 stays 0."""
        least = PRECISION * float(np.finfo(dtype).eps)
        return max(self.tolerance, least) if self.tolerance > 0.0 else 0.0

    def sweeps(self, n_factors: int) -> tuple[int, ...]:
        """FC-sweeps of the first n_factors levels."""
        if isinstance(self.relaxations, tuple):
            return self.relaxations[:n_factors]
        return (self.relaxations,) * n_factors


def _integers(values: object, name: str, least: int) -> tuple[int, ...]:
    """Tuple of Python integers of at least a value, from a sequence or one integer."""
    several = isinstance(values, tuple | list | np.ndarray) and np.ndim(values) == 1
    entries = tuple(values) if several else (values,)  # type: ignore[arg-type]
    return tuple(integer(name, entry, least) for entry in entries)

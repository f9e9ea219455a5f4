r"""What a message costs: :math:`t(b) = \alpha + b / \beta` for b bytes.

Collectives are taken as allgathers by recursive doubling [2]_: with n bytes in all, and
:math:`n_r` of them from rank r, P ranks need

.. math::

    \lceil \log_2 P \rceil \, \alpha + (n - \min_r n_r) / \beta .

Where every rank has something for every other they exchange it pairwise, in P - 1
rounds [2]_: :math:`(P - 1) \alpha + s / \beta` if no rank sends more than s bytes.

References
----------
.. [1] R. W. Hockney, "The communication challenge for MPP: Intel Paragon and Meiko
   CS-2", Parallel Computing 20(3), 1994.
.. [2] R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of Collective Communication
   Operations in MPICH", Int. J. High Perform. Comput. Appl. 19(1), 2005.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """A network between ranks.

    Parameters
    ----------
    name : str
    latency : float
        Seconds until the first byte has arrived: alpha, half a round trip of an empty
        message, all software in it included.
    bandwidth : float
        Bytes per second behind it: beta.
    source : str
        Where the figures are from.
    overhead : float
        Seconds for which a message keeps its sender from computing; a part of the
        latency, which the receiver does not pay a second time.  By default 0: the
        network card sends by itself, and measured latencies do not tell this part.

    Raises
    ------
    ValueError
        If a figure is not in range.
    """

    name: str
    latency: float
    bandwidth: float
    source: str
    overhead: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.latency) and self.latency >= 0.0):
            raise ValueError(
                f"latency is {self.latency}, needed finite seconds >= 0, such as 1e-6"
            )
        if not self.bandwidth > 0.0:
            raise ValueError(
                f"bandwidth is {self.bandwidth}, needed bytes per second > 0, such as "
                "1e10; math.inf if bytes are free"
            )
        if not 0.0 <= self.overhead <= self.latency:
            raise ValueError(
                f"overhead is {self.overhead}, needed seconds from 0 to the latency "
                f"{self.latency}, of which it is a part"
            )

    def message(self, n_bytes: float) -> float:
        """Seconds from sending a message to having received it."""
        return self.latency + n_bytes / self.bandwidth

    def allgather(self, size: int, moved: float) -> float:
        """Seconds until all of `size` ranks have what the others gave.

        Parameters
        ----------
        size : int
        moved : float
            Most bytes that a rank receives.
        """
        return rounds(size) * self.latency + moved / self.bandwidth

    def exchange(self, size: int, sent: float) -> float:
        """Seconds until all of `size` ranks have what every other had for them.

        Parameters
        ----------
        size : int
        sent : float
            Most bytes that a rank sends.
        """
        return (size - 1) * self.latency + sent / self.bandwidth


def rounds(size: int) -> int:
    """Rounds of recursive doubling: the ceiling of log2 of the number of ranks."""
    return (size - 1).bit_length()


# Latency: half a round trip of 8 bytes.
MACHINES = {
    machine.name: machine
    for machine in (
        Machine(
            "infiniband",
            latency=0.90e-6,
            bandwidth=10.3e9,  # at 32 KiB
            source="OSU micro-benchmarks, Open MPI over InfiniBand, 2021, "
            "https://gist.github.com/jfgrimm/3af692a5475bdd4ed836b5a18197a209",
        ),
        Machine(
            "los-alamos",
            latency=1.20e-6,
            bandwidth=9.66e9,  # 4 MiB in 435.6 microseconds
            source="osu_latency 5.3.2, Open MPI between nodes behind tt-login, 2016, "
            "https://gist.github.com/hppritcha/6a3acd0c192fcfd082bd543fc98e6fe6",
        ),
        Machine(
            "ethernet",
            latency=24.6e-6,
            bandwidth=116e6,  # at 32 KiB
            source="OSU micro-benchmarks, MPICH over TCP at the speed of gigabit "
            "Ethernet, 2021, "
            "https://gist.github.com/jfgrimm/3af692a5475bdd4ed836b5a18197a209",
        ),
    )
}

"""Memory of auxiliary variables in files: a log for every interface, used as a ring.

What a batch brings is written behind what is there, never over it; a state of training
knows where the last entry of every sample lies, and its checksum.  So earlier states
stay good, as a checkpoint from which a run goes on, until the log comes round: there is
room for three entries of every sample, of which a pass over all samples takes one.  An
entry that was overwritten, or lost with the power, does not have its checksum: that is
an error, and no wrong number.

Files are memory-mapped, and have their full length from the start, so that a disk that
is too small is an error before there is anything to lose.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mgresnet.arrays.files import replacing
from mgresnet.arrays.layout import Array
from mgresnet.learning.interfaces import Rows, at_points, checksums, places_of
from mgresnet.learning.modules import Stretch
from mgresnet.learning.points import Points

COPIES = 3


class Logged(NamedTuple):
    """What is remembered of every sample.

    Parameters
    ----------
    step : int
        Evaluations so far.
    about : str
        What variables these are: of which modules, and how they are kept.
    inputs : ndarray of int, shape (samples,)
        Checksums of the inputs that variables belong to.
    folder : str
        Of the logs.
    written : int
        Entries so far, of all samples.
    entries : ndarray of int, shape (samples,)
        Number of the last entry of every sample, negative before the first.
    checksums : tuple of Points
        Of these entries, (n_points, samples), at the points of this rank.
    """

    step: int
    about: str
    inputs: Rows
    folder: str
    written: int
    entries: Rows
    checksums: tuple[Points, ...]


@dataclass(frozen=True)
class InFiles:
    """Variables lie in a folder, which all ranks see."""

    folder: Path

    copies = COPIES
    fields = Logged._fields

    def init(
        self, stretches: Sequence[Stretch], samples: int, n_kinds: int, about: str
    ) -> Logged:
        """No sample has variables; logs are made where there are none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        sums = []
        for i, stretch in enumerate(stretches):
            kept = stretch.filter
            for n in stretch.points:
                log = self._path(stretch, i, n)
                _make(log, (COPIES * samples, n_kinds, kept.size), kept.dtype)
            shape = len(stretch.points), samples
            sums.append(at_points(stretch, i, np.zeros(shape, np.int64)))
        never = np.full(samples, -COPIES * samples - 1)
        inputs, where = np.zeros(samples, np.int64), str(self.folder)
        return Logged(0, about, inputs, where, 0, never, tuple(sums))

    def known(self, memory: Logged, rows: Rows) -> NDArray[np.bool_]:
        """Those whose last entry this run has not overwritten."""
        room = COPIES * len(memory.entries)
        known: NDArray[np.bool_] = memory.entries[rows] + room >= memory.written
        return known

    def read(
        self, memory: Logged, stretches: Sequence[Stretch], rows: Rows
    ) -> list[Array]:
        """Variables of some samples.

        Raises
        ------
        ValueError
            If an entry is not what was written.
        """
        places, found = memory.entries[rows] % (COPIES * len(memory.entries)), []
        for i, stretch in enumerate(stretches):
            held = memory.checksums[i]
            desired = held.states[places_of(held, stretch)[:, None], rows]
            logs = [self._log(stretch, i, n) for n in stretch.points]
            values = [log[places] for log in logs]
            for n, part, sums in zip(stretch.points, values, desired, strict=True):
                wrong = checksums(part) != sums
                if wrong.any():
                    path = self._path(stretch, i, n)
                    raise ValueError(_about(path, rows[wrong], part[wrong], memory))
            shape = 0, len(rows), 1, stretch.filter.size
            empty = np.zeros(shape, stretch.filter.dtype)
            found.append(np.array(values) if values else empty)
        return found

    def write(
        self,
        memory: Logged,
        stretches: Sequence[Stretch],
        rows: Rows,
        values: Sequence[Array],
    ) -> Logged:
        """What is remembered with other entries behind those there are."""
        entries, found = memory.entries.copy(), []
        entries[rows] = np.arange(memory.written, memory.written + len(rows))
        places = entries[rows] % (COPIES * len(entries))
        for i, stretch in enumerate(stretches):
            held = memory.checksums[i]
            sums = held.states[places_of(held, stretch)]  # a copy
            for k, n in enumerate(stretch.points):
                self._log(stretch, i, n)[places] = values[i][k]
                sums[k, rows] = checksums(values[i][k])
            found.append(at_points(stretch, i, sums))
        return memory._replace(
            step=memory.step + 1,
            folder=str(self.folder),
            written=memory.written + len(rows),
            entries=entries,
            checksums=tuple(found),
        )

    def _path(self, stretch: Stretch, stage: int, point: int) -> Path:
        """File of an interface, by the layer of its stage at which a module begins."""
        layer = stretch.slab.layers.start + point
        return self.folder / f"interface-{stage}-{layer:06d}.npy"

    def _log(self, stretch: Stretch, stage: int, point: int) -> Any:
        return _opened(self._path(stretch, stage, point), "r+")


def in_files(folder: str | Path) -> InFiles:
    """Store in a folder, which is made when it is needed.

    Raises
    ------
    ValueError, TypeError
        If there is a file of that name, or none is given.
    """
    if not isinstance(folder, str | Path):
        raise TypeError(f'folder is {folder!r}, needed a name; try "variables"')
    path = Path(folder)
    if str(folder) == "" or (path.exists() and not path.is_dir()):
        what = "is a file" if str(folder) else "is no name"
        raise ValueError(
            f"folder={str(folder)!r} {what}, needed a folder, new or of the same "
            'variables; try "variables"'
        )
    return InFiles(path)


def _opened(path: Path, mode: Any) -> Any:
    """A log, or what is wrong with its file."""
    try:
        return np.load(path, mmap_mode=mode)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"there is no {path} any more; put the folder back, and go on from a state"
        ) from None
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); put it back, or remove the folder and start "
            "the variables anew with state._replace(memory=oracle.init(state.params))"
        ) from error


def _make(path: Path, shape: tuple[int, ...], dtype: Any) -> None:
    """Make a log of full length, unless it is there.

    Raises
    ------
    OSError
        If the disk is too small.
    ValueError
        If there is a log of something else.
    """
    if path.exists():
        log = _opened(path, "r")
        if (log.shape, log.dtype) != (shape, dtype):
            raise ValueError(
                f"{path} has {log.dtype} {log.shape}, needed {dtype} {shape}; give "
                "another folder, or the samples, filters and dtype of the run before"
            )
        return
    entry = np.zeros(shape[1:], dtype)
    about = np.lib.format.header_data_from_array_1_0(entry) | {"shape": shape}
    with replacing(path) as partial, partial.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, about)
        for _ in range(shape[0]):
            file.write(entry.data)


def _about(path: Path, rows: Rows, entries: Array, memory: Logged) -> str:
    """What to say of entries that are not those that a state knows."""
    why = "another run has gone on for more than a pass since, they were lost with the "
    why += "power, or the file was damaged"
    if not entries.any():
        why = f"it has nothing there, as the files of {memory.folder} were moved or "
        why += "removed; put them back"
    return (
        f"{path} does not have the variables of {len(rows)} sample(s), such as "
        f"{rows[0]}, that this state of evaluation {memory.step} knows: {why}; go "
        "on from a later checkpoint, or start the variables anew with "
        "state._replace(memory=oracle.init(state.params))"
    )

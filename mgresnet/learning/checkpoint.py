"""States of training on disk, for any number of layer ranks.

A checkpoint is a file of arrays from every rank and a manifest, which names them with
their checksums.  It is there from the moment at which the manifest takes its place: a
program that ends before leaves files that nobody knows, and the checkpoint before.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from mgresnet.accuracy.gradient_error import GradientError
from mgresnet.arrays.checks import integer
from mgresnet.arrays.files import read_arrays, write_arrays
from mgresnet.arrays.layout import Array
from mgresnet.arrays.packed import pack, unpack
from mgresnet.chain import Chain, networks_of
from mgresnet.learning.accurate import Memory
from mgresnet.learning.controller import Course
from mgresnet.learning.hybrid import Turns
from mgresnet.learning.interfaces import Interfaces
from mgresnet.learning.ladder import Plan
from mgresnet.learning.lbfgs import LBFGSState, Pair
from mgresnet.learning.logged import Logged
from mgresnet.learning.manifest import (
    DIGEST,
    Written,
    advice,
    manifest_of,
    read_manifest,
    refuse_later,
    step_name,
    steps_saved,
    write_manifest,
)
from mgresnet.learning.noise import Draws
from mgresnet.learning.one_shot import Warm
from mgresnet.learning.oracle import Both
from mgresnet.learning.points import Points
from mgresnet.learning.regroup import common, join
from mgresnet.learning.state import TrainState, check_same_network
from mgresnet.learning.transforms import AdamState, RateState, TraceState
from mgresnet.learning.watch import Watch
from mgresnet.network import Network, Params
from mgresnet.parallel import ProcessGrid
from mgresnet.parallel.agree import agreement
from mgresnet.parallel.grid import as_process_grid
from mgresnet.solve.slab import Slab
from mgresnet.solve.stages import slabs_of

OPTIMISERS = (AdamState, RateState, TraceState, LBFGSState, Pair)
PLANS = (Memory, Both, Course, Plan, Watch, GradientError)
AUXILIARY = (Interfaces, Logged, Turns)
KINDS = (*OPTIMISERS, *PLANS, Warm, Points, Draws, *AUXILIARY)
RECORDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (*KINDS, Params)}


def save_checkpoint(
    folder: str | Path,
    state: TrainState,
    comm: Any = None,
    *,
    keep: int = 2,
    overwrite: bool = False,
) -> Path:
    """Write a state of training to disk; all ranks call this together.

    Parameters
    ----------
    folder : str or Path
        Made if there is none; the same for all ranks, which all have to see it.
    state : TrainState
        Of this rank: ``record.state`` of `train`.  Arrays that are in no `Params` of it
        have to be the same on all ranks that share the layers.
    comm : mpi4py communicator, TimeComm or ProcessGrid, optional
        That of the training.
    keep : int
        Number of checkpoints to keep; older ones are removed.
    overwrite : bool
        Whether to remove checkpoints of later steps, once this one is there; they are
        otherwise an error.

    Returns
    -------
    Path
        Of the manifest.

    Raises
    ------
    OSError
        If it cannot be written; the checkpoints before are as they were.
    ValueError, TypeError
        If the state is none that can be written, or the folder has a later one.
    """
    grid, folder = as_process_grid(comm), Path(folder)
    facts = {"step": getattr(state, "step", None), "keep": keep}
    with agreement(grid, "save_checkpoint", facts):
        if not isinstance(state, TrainState):
            raise TypeError(
                f"state is a {type(state).__name__}, needed a TrainState: `state` of a "
                "record of train"
            )
        _check_whose(state, grid)
        integer("keep", keep, 1)
        if grid.rank == 0:
            folder.mkdir(parents=True, exist_ok=True)
            if not overwrite:
                refuse_later(folder, state.step)
    line = json.dumps(_write_own(folder, state, grid)).encode() + b"\n"
    lines = grid.gather(np.frombuffer(line, np.uint8)).tobytes().splitlines()
    path = folder / f"{step_name(state.step)}.json"
    with agreement(grid, "save_checkpoint, the manifest", {}):
        if grid.rank == 0:
            files = [Written(*json.loads(line)) for line in lines]
            write_manifest(path, state, grid, files)
    if grid.rank == 0:
        _tidy(folder, state.step, keep)
    return path


def load_checkpoint(
    folder: str | Path,
    net: Network | Chain,
    *,
    options: Any = None,
    comm: Any = None,
    step: int | None = None,
) -> TrainState:
    """Read a state of training, as much of it as this rank owns.

    Parameters
    ----------
    folder : str or Path
        That `save_checkpoint` has written.
    net : Network or Chain
        As in the training that wrote it.
    options : MGRITOptions, optional
        Of the forward solves to come; they may divide the layers in another way.
    comm : mpi4py communicator, TimeComm or ProcessGrid, optional
        Any number of ranks over layers, as many over data as there were.
    step : int, optional
        Steps done; by default the last checkpoint.

    Returns
    -------
    TrainState
        For ``train(state=)``, with batches from ``start=state.step`` on.

    Raises
    ------
    FileNotFoundError
        If there is no checkpoint, or none of this step.
    ValueError
        If a file is damaged, or the checkpoint is one of another network; on all ranks.
    """
    grid, folder = as_process_grid(comm), Path(folder)
    given: dict[str, Any] = {"net": net, "options": options, "step": step}
    with agreement(grid, "load_checkpoint", given) as facts:
        slabs = slabs_of(net, options, grid.layer)
        path = manifest_of(folder, step)
        try:
            manifest = read_manifest(path)
            facts["checkpoint"] = manifest["checksum"]
            return _assembled(folder, manifest["checkpoint"], net, slabs, grid)
        except (ValueError, OSError) as error:
            raise ValueError(f"{error}{advice(folder, path)}") from error


def _check_whose(state: TrainState, grid: ProcessGrid) -> None:
    """Refuse what a rank owns without the others, and a whole state on several."""
    whole = state.layers == tuple(map(range, state.depth))
    if whole != (grid.layer.size == 1):
        raise ValueError(
            f"state is a {state!r}, comm has {grid.layer.size} rank(s) over layers, "
            "needed what each of them owns; give the comm of the training"
        )


def _write_own(folder: Path, state: TrainState, grid: ProcessGrid) -> Written:
    """Write what this rank has; no file is left if that fails on any rank."""
    place = f"rank-{grid.layer.rank}-{grid.data.rank}"
    name = f"{step_name(state.step)}-{place}-{os.urandom(4).hex()}.npz"
    path, arrays = folder / name, dict[str, Array]()
    first = grid.data.rank == 0  # others have the same parameters
    held = (state.params, state.optimiser) if first else ()
    try:
        with agreement(grid, "save_checkpoint, files of ranks", {}):
            write_arrays(path, pack((*held, state.memory), arrays), arrays)
            layers = [[own.start, own.stop] for own in state.layers]
            return Written(name, _digest(path), layers)
    except BaseException:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise


def _tidy(folder: Path, step: int, keep: int) -> None:
    """Remove old checkpoints and later ones, and files that belong to none.

    What cannot be removed does no harm; nothing is if a manifest cannot be read.
    """
    with suppress(OSError, ValueError):
        kept = [number for number in steps_saved(folder) if number <= step][-keep:]
        for number in set(steps_saved(folder)) - set(kept):
            (folder / f"{step_name(number)}.json").unlink()
        wanted = set()
        for number in kept:
            manifest = read_manifest(manifest_of(folder, number))
            wanted |= {file["name"] for file in manifest["checkpoint"]["files"]}
        for path in (*folder.glob("step-*.npz"), *folder.glob(".partial-step-*")):
            if path.name not in wanted:
                path.unlink()


def _assembled(
    folder: Path,
    content: Mapping[str, Any],
    net: Network | Chain,
    slabs: list[Slab],
    grid: ProcessGrid,
) -> TrainState:
    """State of this rank, from the files of those that had parts of it."""
    depth = tuple(one.depth for one in networks_of(net))
    if tuple(content["depth"]) != depth or content["data_ranks"] != grid.data.size:
        raise ValueError(
            f"the checkpoint of step {content['step']} is one of {content['depth']} "
            f"layers on {content['data_ranks']} data rank(s), the network has "
            f"{list(depth)} layers on {grid.data.size}; give both as they were"
        )
    check_same_network(net, content["network"])
    held, ranges = [], []
    n_layers, portion = content["layer_ranks"], grid.data.rank
    files = [Written(**file) for file in content["files"]]
    for i, file in enumerate(files[:n_layers]):
        layers = [range(*pair) for pair in file.layers]
        if any(common(a, slab.layers) for a, slab in zip(layers, slabs, strict=True)):
            found = _read(folder, file)
            if portion:  # memory is that of this data rank
                found = (*found[:2], *_read(folder, files[portion * n_layers + i]))
            held.append(found)
            ranges.append(layers)
    params, optimiser, memory = join(held, ranges, slabs, isinstance(net, Chain))
    layers_here = tuple(slab.layers for slab in slabs)
    rest = content["ranks"], depth, layers_here, content["network"]
    return TrainState(content["step"], params, optimiser, memory, *rest)


def _read(folder: Path, file: Written) -> Any:
    """What a rank has written, checked against its checksum."""
    path = folder / file.name
    if _digest(path) != file.digest:
        raise ValueError(f"{path} is damaged: its checksum is wrong")
    packed, arrays = read_arrays(path)
    return unpack(packed, arrays, RECORDS)


def _digest(path: Path) -> str:
    return blake2b(path.read_bytes(), digest_size=DIGEST).hexdigest()

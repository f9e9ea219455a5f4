"""Manifests of checkpoints: which files belong together, with their checksums."""

import json
import platform
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mgresnet.arrays.files import read_json, write_json
from mgresnet.learning.state import TrainState
from mgresnet.parallel import ProcessGrid

FORMAT = 1
DIGEST = 16  # bytes


class Written(NamedTuple):
    """A file of one rank, as the manifest has it."""

    name: str
    digest: str
    layers: list[list[int]]  # first layer and end, of every network


def steps_saved(folder: str | Path) -> list[int]:
    """Steps of which a folder has checkpoints, in order."""
    paths = Path(folder).glob("step-*.json")
    numbers = (path.stem.removeprefix("step-") for path in paths)
    return sorted(int(number) for number in numbers if number.isdecimal())


def step_name(step: int) -> str:
    """Name that sorts like the step."""
    return f"step-{step:08d}"


def refuse_later(folder: Path, step: int) -> None:
    """Refuse a folder in which this step would not be the last one."""
    later = [number for number in steps_saved(folder) if number > step]
    if later:
        raise ValueError(
            f"{folder} has a checkpoint of step {later[-1]}, this state is of step "
            f"{step}; choose another folder, or remove what is in this one"
        )


def write_manifest(
    path: Path, state: TrainState, grid: ProcessGrid, files: list[Written]
) -> None:
    """Write a manifest; from then on the checkpoint is there."""
    content = {
        "format": FORMAT,
        "step": state.step,
        "ranks": state.ranks,
        "depth": list(state.depth),
        "network": state.network,
        "layer_ranks": grid.layer.size,
        "data_ranks": grid.data.size,
        "files": [file._asdict() for file in files],
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }
    write_json(path, {"checksum": _checksum(content), "checkpoint": content})


def manifest_of(folder: Path, step: int | None) -> Path:
    """Manifest of a step, or the last one."""
    steps = steps_saved(folder)
    if not steps or step not in (None, *steps):
        there = f"those of steps {', '.join(map(str, steps))}" if steps else "none"
        wanted = "no checkpoint" if step is None else f"no checkpoint of step {step}"
        raise FileNotFoundError(
            f"{wanted} in {folder}, there are {there}; give a folder that "
            "save_checkpoint has written"
        )
    return folder / f"{step_name(steps[-1] if step is None else step)}.json"


def advice(folder: Path, path: Path) -> str:
    """What to do about a checkpoint that cannot be read."""
    before = [f"step={s}" for s in steps_saved(folder) if step_name(s) < path.stem]
    if not before:
        return "; there is no checkpoint before"
    return f"; try the checkpoint before, {before[-1]}"


def read_manifest(path: Path) -> Any:
    """Manifest, checked against its own checksum."""
    try:
        manifest = read_json(path, "a manifest of checkpoints")
        content = manifest["checkpoint"]
        whole = manifest["checksum"] == _checksum(content)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: it is no manifest ({error})") from error
    if not whole:
        raise ValueError(f"{path} is damaged: its checksum is wrong")
    if content["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {content['format']}, this version reads {FORMAT}; use "
            "the version of mgresnet that wrote it"
        )
    return manifest


def _checksum(content: Any) -> str:
    text = json.dumps(content, sort_keys=True)
    return blake2b(text.encode(), digest_size=DIGEST).hexdigest()

"""Options of ``mgresnet train``."""

import argparse
from pathlib import Path
from typing import Any, TypeAlias

from mgresnet.commands.choices import (
    BATCH,
    CURVES,
    IMAGES,
    OF_ROWS,
    OF_SEQUENCES,
    OPENINGS,
    OPTIMISERS,
    SCHEDULES,
    SEQUENCES,
)
from mgresnet.commands.folder import CHECKSUM, CONFIG, checksum_of
from mgresnet.data import PROBLEMS
from mgresnet.kernels.activations import ACTIVATIONS
from mgresnet.layers.coarse import COARSE_OPERATORS
from mgresnet.layers.gating import GATED_OPERATORS
from mgresnet.mgrit.options import INITIAL_GUESSES

Group: TypeAlias = argparse._ArgumentGroup


def factors(text: str) -> tuple[int, ...]:
    """Read ``16`` or ``4,4,4``; the empty string is ()."""
    return tuple(int(part) for part in text.split(",")) if text else ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    _add_data(parser)
    _add_network(parser.add_argument_group("network"))
    _add_solver(parser.add_argument_group("propagation"))
    _add_learning(parser.add_argument_group("learning"))
    _add_folder(parser.add_argument_group("what is kept"))
    for action in parser._actions:
        if action.default not in (None, False, argparse.SUPPRESS):
            action.help = f"{action.help} (default: %(default)s)"


def _preset(name: str) -> str:
    """Values that problems preset, for a help text."""
    sequences = SEQUENCES.get(name, "their steps")
    return f"preset: {CURVES[name]}, of images {IMAGES[name]}, of sequences {sequences}"


def _add_data(parser: argparse.ArgumentParser) -> None:
    """Declare what there is to learn from."""
    parser.add_argument(
        "problem", metavar="PROBLEM", nargs="?", help=", ".join(PROBLEMS)
    )
    add = parser.add_argument_group("data").add_argument
    add("--data", metavar="FILE", help="table or .npz of sequences, not PROBLEM")
    add("--targets", metavar="COLUMNS", help="of --data, as price or x,y")
    add("--data-dir", metavar="DIR", help="folder of the original files")
    add("--n-train", type=int, help="training samples; preset: 1000, or all of a file")
    add("--n-validation", type=int, help="validation samples; 400, or all of a file")
    add("--seed", type=int, default=7, help="of data, weights and batches")


def _add_network(group: Group) -> None:
    """Declare what is trained."""
    add = group.add_argument
    add("--depth", type=int, help=f"layers; {_preset('depth')}")
    add("--width", type=int, help=f"features of a layer; {_preset('width')}")
    add("--final-time", type=float, help=f"T = depth x step; {_preset('final_time')}")
    add("--activation", default=OF_ROWS["activation"], help=", ".join(ACTIVATIONS))
    add("--opening", default=OF_ROWS["opening"], help=", ".join(OPENINGS))
    add("--control", type=int, metavar="K", help="weights from a B-spline of K values")
    add("--smooth", type=int, metavar="K", help="first weights from such a B-spline")
    add(
        "--cells",
        type=int,
        default=OF_SEQUENCES["cells"],
        help="gated units in a step of a sequence",
    )
    add("--explicit", action="store_true", help="units that are those of PyTorch")
    add("--dtype", default="float64", help="float64 or float32")


def _add_solver(group: Group) -> None:
    """Declare how states and adjoints are found."""
    add = group.add_argument
    add("--coarsening", type=factors, help="factors, as 16 or 4,4; 16 or by the error")
    add("--relaxations", type=factors, default=(0,), help="FC-sweeps, one or per level")
    add("--cycle", default="V", help="V, W or F")
    add("--iterations", type=int, default=10, help="coarse-grid corrections at most")
    add("--adjoint-iterations", type=int, default=10, help="the same for the adjoint")
    add("--tolerance", type=float, default=1e-3, help="relative residual; 0 goes on")
    names = ", ".join(dict.fromkeys([*COARSE_OPERATORS, *GATED_OPERATORS]))
    add("--coarse-operator", help=f"{names}; matched, of sequences e2, or by error")
    add("--initial-guess", default="coarse", help=", ".join(INITIAL_GUESSES))
    add("--gradient-tolerance", type=float, help="choose iterations to keep this error")
    add("--check-every", type=int, help="steps between estimates; 1 or as many as do")
    add("--for-ranks", type=int, help="ranks for which serial solves would be cheaper")
    add("--data-ranks", type=int, default=1, help="ranks that share a batch's samples")
    add("--threads", type=int, default=1, help="threads of a rank, for the samples")


def _add_learning(group: Group) -> None:
    """Declare how the weights are found."""
    add = group.add_argument
    add("--epochs", type=int, help=f"passes over the data; {_preset('epochs')}")
    add("--evaluate-every", type=int, default=1, help="epochs; 0: after the last alone")
    add("--batch-size", type=int, help=f"samples per step; preset: {BATCH} or all")
    add("--optimiser", default="adam", help=", ".join(OPTIMISERS))
    add("--learning-rate", type=float, help=f"at first; {_preset('learning_rate')}")
    add("--schedule", default="cosine", help=", ".join(SCHEDULES))
    add("--clip", type=float, help="largest global norm of a gradient")
    add("--tikhonov", type=float, default=0.0, help="penalty on the size of parameters")
    add("--smoothness", type=float, default=0.0, help="penalty on change over depth")
    add("--head-tikhonov", type=float, default=0.0, help="penalty on the head")


def _add_folder(group: Group) -> None:
    """Declare where a run is kept, and what it shows."""
    add = group.add_argument
    add("--progress", action="store_true", help="show the bar also under mpiexec")
    add("--output", type=Path, metavar="DIR", help="write config, records and figures")
    add("--checkpoint-every", type=int, help="steps; 0: never, None: once an epoch")
    add("--overwrite", action="store_true", help="of an earlier run in --output")


def options_of(
    config: dict[str, Any], *, output: Path, progress: bool
) -> argparse.Namespace:
    """Arguments of the run that has written a configuration.

    Raises
    ------
    ValueError
        If options are missing, as from another version.
    """
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    names = [*vars(parser.parse_args([]))]
    if missing := set(names) - set(config):
        raise ValueError(
            f"{output / CONFIG} has no {', '.join(sorted(missing))}; needed what "
            "mgresnet train of this version has written"
        )
    if config.get(CHECKSUM) != checksum_of(config):
        raise ValueError(
            f"{output / CONFIG} was changed since mgresnet train has written it; undo "
            "that, or start another run"
        )
    given = {name: config[name] for name in names}
    for name in ("coarsening", "relaxations"):
        given[name] = given[name] if given[name] is None else tuple(given[name])
    return argparse.Namespace(**given | {"output": output, "progress": progress})

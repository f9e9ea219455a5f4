"""Results on the disk, whole or absent."""

from pathlib import Path
from typing import Any

from mgresnet.arrays.files import as_json, from_json, replacing

RESULTS = Path(__file__).parents[1] / "results"


def path_of(name: str, quick: bool) -> Path:
    """Where the results of a question are."""
    return (RESULTS / "quick" if quick else RESULTS) / f"{name}.json"


def save(path: Path, results: Any) -> None:
    """Write beside the old file, then take its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(_in_lines(results, 2) + "\n", encoding="utf-8")


def load(path: Path) -> Any:
    """What has been saved."""
    if not path.exists():
        raise SystemExit(f"no results in {path}; run without --stored first")
    return from_json(path.read_bytes())


def _in_lines(value: Any, levels: int) -> str:
    """JSON with a line for every row and entry, so that versions can be compared."""
    if isinstance(value, dict) and levels:
        entries = value.items()
        lines = [f"{as_json(k)}: {_in_lines(v, levels - 1)}" for k, v in entries]
        return "{\n" + ",\n".join(lines) + "\n}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(map(as_json, value)) + "\n]"
    return as_json(value)

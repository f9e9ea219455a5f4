"""The machine of virtual clocks: one that is known, or like the one at hand."""

import argparse
import json
from pathlib import Path

import mgresnet as mg
from harness.launch import execute, on
from mgresnet.parallel.machine import MACHINES


def machine(text: str) -> mg.Machine:
    """A known machine, or one from a file of ``mgresnet scale --calibrate``."""
    if text in MACHINES:
        return MACHINES[text]
    path = Path(text)
    if not path.is_file():
        names = ", ".join(MACHINES)
        raise argparse.ArgumentTypeError(f"{text} is neither a file nor of {names}")
    content = json.loads(path.read_text())
    fields = ("name", "latency", "bandwidth", "source")
    return mg.Machine(**{field: content[field] for field in fields})


def calibrate(output: Path) -> str:
    """Measure latency and bandwidth between two ranks here; where they are written."""
    output.parent.mkdir(parents=True, exist_ok=True)
    scale = ("mgresnet", "scale", "--calibrate", "--output", str(output))
    execute(on(2, "-m", *scale))
    return str(output)

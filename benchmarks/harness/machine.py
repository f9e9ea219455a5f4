"""What a result was measured with."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import mgresnet

SOFTWARE = ("numpy", "numba", "scipy", "torch", "jax", "pymgrit")


def stamp() -> dict[str, Any]:
    """Processor, versions of what is installed, commit and date, ready for JSON."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    versions = {name: version(name) for name in SOFTWARE}
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: found for name, found in versions.items() if found},
        "mgresnet": mgresnet.__version__,
        "commit": commit.stdout.strip(),
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }


def version(distribution: str) -> str | None:
    """Version of an installed distribution, None if it is absent."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """Model name, and the widest vector instructions."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    lines = info.read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = fields.get("flags", "").split()
    widest = next((f for f in ("avx512f", "avx2", "avx") if f in flags), "")
    return f"{fields.get('model name', platform.processor())} {widest}".strip()

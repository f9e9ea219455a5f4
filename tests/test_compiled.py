"""Compiled code: never out of date, and right for processors other than this one."""

import ast
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mgresnet.kernels import compiled

KERNELS = Path(compiled.__file__).parent

# relu of -1 and 2, and how many kernels had to be compiled
RELU = """
import numpy as np
from mgresnet.kernels import affine
from mgresnet.kernels.activations import ACTIVATIONS
x, out, one = np.array([[-1.0, 2.0]]), np.empty((1, 2)), np.ones((1, 1))
affine.affine(one, np.zeros(1), x, ACTIVATIONS.index("relu"), out, 0)
print(*out[0], sum(affine.affine.stats.cache_misses.values()))
"""

CONTRACT = """
import numpy as np, mgresnet as mg
from mgresnet.kernels import vectors
for name in ("tanh", "smooth_relu"):
    mg.check_layer(mg.Dense(7, name), np.random.default_rng(60932))
print(vectors.BYTES, vectors.MR)
"""


def run(code, root, cache, **environment):
    """Output of a process of its own with the package from `root`."""
    ours = {"PYTHONPATH": str(root), "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env=os.environ | ours | environment,
    )
    return done.stdout.split()


def test_a_change_in_a_part_reaches_a_cached_kernel(tmp_path):
    shutil.copytree(KERNELS.parent, tmp_path / "mgresnet")
    cache = tmp_path / "cache"
    assert run(RELU, tmp_path, cache) == ["0.0", "2.0", "1"]
    assert run(RELU, tmp_path, cache) == ["0.0", "2.0", "0"]
    part = tmp_path / "mgresnet/kernels/activations.py"
    text = part.read_text(encoding="utf-8")
    changed = text.replace("return if_less(z, 0.0, 0.0, z)", "return 3.0 * z")
    assert changed != text
    part.write_text(changed, encoding="utf-8")
    assert run(RELU, tmp_path, cache) == ["-3.0", "6.0", "1"]


def test_parts_are_all_that_kernels_are_made_of():
    parts, found = set(compiled.PARTS), set()
    kernels = "affine", "conv", "dense", "dense_back", "gru", "gru_back"
    for name in (*parts, *kernels):
        tree = ast.parse((KERNELS / f"{name}.py").read_text(encoding="utf-8"))
        imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        modules = {n.module for n in imports if n.module != "mgresnet.kernels"}
        whole = (n for n in imports if n.module == "mgresnet.kernels")
        found |= {alias.name for n in whole for alias in n.names}
        ours = {m for m in modules if m.startswith("mgresnet.kernels.")}
        found |= {m.removeprefix("mgresnet.kernels.") for m in ours}
    assert found == parts


X86 = platform.machine().lower() in ("x86_64", "amd64")


@pytest.mark.slow
@pytest.mark.skipif(not X86, reason="names features of x86 processors")
@pytest.mark.parametrize(
    ("features", "shape"),
    [("", ["16", "4"]), ("+avx", ["32", "4"]), ("+avx,+avx2,+fma", ["32", "4"])],
)
def test_kernels_keep_the_contract_with_fewer_instructions(features, shape, tmp_path):
    environment = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features}
    root = KERNELS.parent.parent
    assert run(CONTRACT, root, tmp_path, **environment) == shape

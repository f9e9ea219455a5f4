"""Every notebook runs from top to bottom, without a kernel, and draws its figures."""

import ast
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest

image = pytest.importorskip("matplotlib.image")
Figure = pytest.importorskip("matplotlib.figure").Figure
NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
MAGIC = re.compile(r"^%.*$", re.MULTILINE)

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_of(notebook):
    """Source of every code cell; lines of magic are for the kernel."""
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    return [MAGIC.sub("", cell.source) for cell in cells]


def run(source, names):
    """Run a cell, and return the value of its last expression, as a kernel shows it."""
    *statements, last = ast.parse(source).body
    if not isinstance(last, ast.Expr):
        statements, last = [*statements, last], None
    exec(compile(ast.Module(statements, []), "cell", "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@each_notebook
def test_notebook_is_stored_without_results(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@each_notebook
def test_notebook_imports_the_package_and_numpy_only(path):
    notebook = nbformat.read(path, as_version=4)
    imported = set()
    for node in ast.walk(ast.parse("\n".join(code_of(notebook)))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported <= {"mgresnet", "numpy"}


@pytest.mark.slow
@each_notebook
def test_notebook_runs_and_draws(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    names = {"__name__": "__main__"}
    shown = [run(source, names) for source in code_of(notebook)]
    figures = [value for value in shown if isinstance(value, Figure)]
    assert figures
    for i, figure in enumerate(figures):
        target = tmp_path / f"{path.stem}-{i}.png"
        figure.savefig(target, dpi=60)
        pixels = image.imread(target)[..., :3]
        assert np.mean(np.any(pixels != 1.0, axis=-1)) > 0.01

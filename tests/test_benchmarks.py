"""Benchmarks: no circle of imports, results whole or absent, questions that exist."""

import ast
import json
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "benchmarks"
FILES = sorted(ROOT.rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 300, 40


def module_name(path):
    """Such as scaling.report; a package has the name of its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path):
    """Modules of the benchmarks that a file imports, wherever it does."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
    return names


MODULES = {module_name(path): path for path in FILES}


def test_imports_go_round_in_no_circle():
    """Neither between modules nor between the packages that hold them."""
    graph = {name: imports(path) & set(MODULES) for name, path in MODULES.items()}
    packages = {}
    for name, needed in graph.items():
        package = name.split(".")[0]
        others = {other.split(".")[0] for other in needed} - {package}
        packages.setdefault(package, set()).update(others)
    assert packages["scaling"] == {"harness", "rivals"}
    assert packages["harness"] == set()
    for edges in (graph, packages):
        TopologicalSorter(edges).prepare()  # raises CycleError


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_and_functions_fit_in_a_head(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            assert not body or body[-1].end_lineno - body[0].lineno < LONGEST_FUNCTION


def test_every_question_is_listed_with_what_it_answers():
    done = subprocess.run(
        [sys.executable, str(ROOT)], capture_output=True, text=True, check=True
    )
    for name in ("convergence", "kernels", "memory_ranks", "training_bias"):
        assert f"\n{name} " in done.stdout


def test_results_are_whole_or_absent(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT)
    from harness.results import load, save

    path = tmp_path / "new" / "results.json"
    rows = [{"depth": 4, "error": [0.5, None]}, {"depth": 8, "error": []}]
    results = {"study": {"machine": {"cores": 2}, "rows": rows}, "empty": []}
    save(path, results)
    assert load(path) == results
    assert json.dumps(rows[0]) + "," in path.read_text().splitlines()
    with pytest.raises(TypeError):
        save(path, {"rows": [{"depth": object()}]})
    assert load(path) == results
    assert [p.name for p in path.parent.iterdir()] == [path.name]

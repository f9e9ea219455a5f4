"""What the pages name is there: files, links, modules, public and inner names."""

import importlib
import re

import pytest
from pages import PAGES, ROOT

import mgresnet as mg

INNER = [ROOT / "docs" / name for name in ("architecture.md", "notation.md")]
FOLDERS = ("mgresnet", "tests", "benchmarks", "docs", "notebooks", "tools")
SOURCES = "\n".join(
    path.read_text() for path in sorted(ROOT.glob("mgresnet/**/*.py"))
).splitlines()
WORDS = {word for line in SOURCES for word in re.findall(r"\w+", line)}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def quoted(page):
    """Short pieces of code in the text of a page, without its blocks of code."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    return re.findall(r"`([^`\n]+)`", text)


@each_page
def test_files_are_there(page):
    paths = [
        q for q in quoted(page) if re.fullmatch(r"[\w./-]+", q) and "NAME" not in q
    ]
    paths = [path for path in paths if path.startswith(tuple(f"{f}/" for f in FOLDERS))]
    made = "demo-output", "benchmarks/results"
    missing = [p for p in paths if not (ROOT / p).exists() and not p.startswith(made)]
    assert not missing


@each_page
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if "://" not in link]
    assert not [link for link in local if not (page.parent / link).exists()]


@each_page
def test_names_of_the_package_are_there(page):
    for name in set(re.findall(r"\bmg\.(\w+)", page.read_text())):
        assert hasattr(mg, name), f"mg.{name}"
    for name in set(re.findall(r"\bmgresnet(?:\.\w+)+", " ".join(quoted(page)))):
        module, _, member = name.rpartition(".")
        if not hasattr(importlib.import_module(module), member):
            importlib.import_module(name)


@pytest.mark.parametrize("page", INNER, ids=lambda page: page.name)
def test_inner_names_are_there(page):
    """Words such as `Slab.own`; those of the mathematics have one or two letters."""
    names = [q for q in quoted(page) if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", q)]
    parts = {part for name in names for part in name.split(".") if len(part) > 2}
    assert parts - WORDS <= {"NAME", "lint", "cfg", "Matplotlib"}

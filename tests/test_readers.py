"""Readers of files, fed with anything: an error that is documented, and little memory.

Ten minutes for each are run by hand: MGRESNET_EXAMPLES=100000 pytest -k NAME.
"""

import gzip
import io
import json
import os
import tracemalloc
import warnings
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mgresnet as mg
from mgresnet.arrays.files import read_json, write_json
from mgresnet.commands.history import read_history
from mgresnet.commands.model import _machine, read_rates
from mgresnet.commands.options import options_of
from mgresnet.commands.resume import read_config
from mgresnet.commands.saved import read_table
from mgresnet.data import load_own, read_idx
from mgresnet.data.cifar import read_cifar
from mgresnet.data.numbers import read_numbers
from mgresnet.perfmodel.configuration import Configuration
from mgresnet.studies.carrying_out import read_rows
from mgresnet.studies.study import Request

EXAMPLES = int(os.environ.get("MGRESNET_EXAMPLES", "60"))
MEMORY = 2**26  # bytes that a small file may make a reader take
DOCUMENTED = ValueError, TypeError, OSError
NET = mg.Network(mg.Dense(2), 4, head=mg.Linear(2, 1))
CONFIG = Configuration(NET, 4, 8, mg.MGRITOptions((2,)), mg.MGRITOptions((2,)))
REQUEST = Request()


def idx(shape, values):
    sizes = b"".join(size.to_bytes(4, "big") for size in shape)
    return bytes([0, 0, 8, len(shape)]) + sizes + values


def npz(compress=False, **arrays):
    file = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(file, **arrays)
    return file.getvalue()


def saved_network():
    folder = Path(os.environ.get("PYTEST_TMP", "/tmp"))
    path = folder / f"readers-{os.getpid()}.npz"
    mg.save(path, NET, NET.init(1))
    content = path.read_bytes()
    path.unlink()
    return content


JSON = {
    "machine": {"name": "a", "latency": 1e-6, "bandwidth": 1e9, "source": "b"},
    "rates": {"rates": [{}, {"relax": [[1], [[[1, 2], [1, 2]]]]}, {}, 0.0, 0.0]},
    "rows": {"rows": [{"case": {"a": 1}, "result": {}}], "quick": False},
    "config": {"depth": 4, "coarsening": [4], "relaxations": [0]},
}

# What a reader is called with, its name for the file, and a good content.
READERS = {
    "idx": (read_idx, "a.gz", idx((2, 3), b"abcdef")),
    "cifar": (lambda path: read_cifar(path, 1), "a.bin", bytes(2 * 3073)),
    "table": (read_numbers, "a.csv", b"x,y\n1,2\n3,4\n5,6\n"),
    "own": (lambda path: load_own(path, ["y"]), "a.csv", b"x,y\n1,2\n3,4\n5,6\n"),
    "csv": (lambda path: read_table("inputs", path), "a.csv", b"a,b\n1,2\n3,4\n"),
    "npz": (
        lambda path: read_table("inputs", path),
        "a.npz",
        npz(inputs=np.ones((3, 2))),
    ),
    "network": (mg.load, "a.npz", saved_network()),
    "config": (
        lambda path: options_of(read_config(path), output=path, progress=False),
        "config.json",
        json.dumps(JSON["config"]).encode(),
    ),
    "machine": (
        lambda path: _machine(str(path)),
        "machine.json",
        json.dumps(JSON["machine"]).encode(),
    ),
    "rates": (
        lambda path: read_rates(path, "step", CONFIG),
        "model.json",
        json.dumps(JSON["rates"]).encode(),
    ),
    "rows": (
        lambda path: read_rows(path, REQUEST),
        "study.json",
        json.dumps(JSON["rows"]).encode(),
    ),
    "history": (
        lambda path: read_history(path.parent, 1),
        "records.jsonl",
        b'{"step": 0}\n',
    ),
    "manifest": (
        lambda path: mg.load_checkpoint(path.parent, NET),
        "step-00000001.json",
        b'{"checksum": "", "checkpoint": {"format": 1, "files": []}}',
    ),
}


@st.composite
def contents(draw, good):
    """Good content with some bytes changed, cut, repeated or put in; perhaps zipped."""
    data = bytearray(good)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        some = draw(st.binary(max_size=6) | st.sampled_from(ODD))
        how = draw(st.sampled_from(("replace", "insert", "cut", "repeat")))
        if how == "replace":
            data[place : place + len(some)] = some
        elif how == "insert":
            data[place:place] = some
        elif how == "cut":
            del data[place:]
        else:
            data += data[place:]
    content = bytes(data)
    return gzip.compress(content) if draw(st.integers(0, 5)) == 0 else content


ODD = (
    *(b"\xff" * 4, b"\0" * 8, b"1e999", b"nan", b"-", b"null", b"[" * 2000, b"{}"),
    *(b'"a"', b",", b"\n", b"\x1f\x8b", b"PK\x03\x04", b"9" * 5000, b"[]", b"-1"),
)


def read_or_refuse(reader, path):
    """Other errors than documented ones, and warnings, are raised."""
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reader(path)
    except DOCUMENTED:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MEMORY


@pytest.mark.parametrize("name", READERS)
def test_anything_is_read_or_refused(name, tmp_path_factory):
    reader, file, good = READERS[name]
    folder = tmp_path_factory.mktemp(name)

    @settings(
        max_examples=EXAMPLES,
        derandomize=EXAMPLES <= 60,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(contents(good))
    def feed(content):
        (folder / file).write_bytes(content)
        read_or_refuse(reader, folder / file)

    feed()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("idx", gzip.compress(idx((2**20, 2**10), bytes(2**28)))),
        ("idx", idx((2**31, 2**31), b"")),
        ("cifar", gzip.compress(bytes(2**28))),
    ],
)
def test_little_bytes_that_stand_for_many(name, content, tmp_path):
    reader, file, _ = READERS[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match="expected"):
        reader(tmp_path / file)


def test_an_archive_that_claims_too_much_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inputs.npy", bytes(2**21))
    data = path.read_bytes()
    claim = (2**21).to_bytes(4, "little")
    path.write_bytes(data.replace(claim, (2**31).to_bytes(4, "little")))
    for read in (partial(read_table, "inputs"), partial(load_own, targets=())):
        with pytest.raises(ValueError, match=r"claim to be 2147483648\)"):
            read(path)
    write_json(tmp_path / "a.json", {"a": 1})
    assert read_json(tmp_path / "a.json", "any") == {"a": 1}


def table(values, targets="y"):
    return "x,y\n" + "".join(f"{x!r},{y!r}\n" for x, y in values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([(i, 0.1) for i in range(10)], "target 'y' is the same in all 8"),
        ([(i, 1e200 * (-1) ** i) for i in range(10)], "whose square overflows"),
        ([(1e200 * i, i) for i in range(10)], "whose square overflows"),
    ],
)
def test_columns_that_cannot_be_scaled_are_refused(values, said, tmp_path):
    path = tmp_path / "some.csv"
    path.write_text(table(values))
    with pytest.raises(ValueError, match=said):
        load_own(path, ["y"])


def test_an_input_that_does_not_vary_is_zero(tmp_path):
    """The deviation of ten times 0.1 is not zero in floating point."""
    path = tmp_path / "some.csv"
    path.write_text("a,x,y\n" + "".join(f"{0.1!r},{i},{i * i}\n" for i in range(10)))
    inputs = load_own(path, ["y"]).train.inputs
    assert not inputs[:, 0].any()
    assert inputs[:, 1].any()


@pytest.mark.parametrize("name", ["npz", "network"])
def test_a_part_of_an_archive_is_no_larger_than_the_archive(name, tmp_path):
    """Room would be made for what a part claims to have in the file."""
    reader, file, good = READERS[name]
    start = good.index(b"PK\x01\x02") + 20  # of its size, in the list of contents
    claim = (2**27).to_bytes(4, "little")
    path = tmp_path / file
    path.write_bytes(good[:start] + claim + good[start + 4 :])
    read_or_refuse(reader, path)
    with pytest.raises(ValueError, match=r"bytes that claim to be 1342\d{5}"):
        reader(path)

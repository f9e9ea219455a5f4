"""One argument is wrong: a message of a few lines, or the right numbers; never more."""

import os
import signal
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from wrong_arguments import ODD, THINGS, calls, check

# 10 000 are run by hand: MGRESNET_EXAMPLES=10000 pytest tests/test_wrong_arguments.py
EXAMPLES = int(os.environ.get("MGRESNET_EXAMPLES", "300"))
GUARDED = Path(__file__).with_name("guarded_pages.py")

made = lru_cache(maxsize=None)(calls)


@settings(
    max_examples=EXAMPLES, derandomize=EXAMPLES <= 300, deadline=None, database=None
)
@given(
    seed=st.integers(0, 40 + EXAMPLES // 50),
    name=st.sampled_from(sorted(calls(0))),
    data=st.data(),
)
def test_a_wrong_argument_is_refused_or_understood(seed, name, data):
    call = made(seed)[name]
    key = data.draw(st.sampled_from(sorted(call.arguments)))
    clean = call.arguments[key]
    if isinstance(clean, np.ndarray):
        odd = data.draw(st.sampled_from(sorted(ODD)))
        try:
            value = ODD[odd](clean)
        except (IndexError, ValueError):  # no such variant of an empty array
            reject()
    else:
        value = data.draw(st.sampled_from(THINGS))
    check(call, key, value)


def guarded(*arguments):
    """Run the program with arrays at the end of memory."""
    return subprocess.run(
        [sys.executable, "-W", "error", str(GUARDED), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs mprotect")


@on_linux
def test_nothing_reads_behind_its_arrays():
    run = guarded(str(2 * EXAMPLES))
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout == f"{2 * EXAMPLES} calls\n"


@on_linux
def test_a_read_behind_an_array_would_be_seen():
    assert guarded("crash").returncode == -signal.SIGSEGV

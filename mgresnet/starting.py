"""Ctrl-C while the program ``mgresnet`` is loaded, which takes most of a second.

Nothing has begun by then: the program ends at once, and without a traceback.
"""

import signal
import sys
from pathlib import Path


def is_program() -> bool:
    """Whether this process is ``mgresnet`` or ``python -m mgresnet``."""
    (first,) = sys.argv[:1] or ("",)
    if first != "-m":
        return Path(first).name == "mgresnet"
    words = sys.orig_argv  # argv has only "-m" as yet
    return words[words.index("-m") + 1 :][:1] == ["mgresnet"]


def listen_again() -> None:
    """Let Ctrl-C raise KeyboardInterrupt from now on."""
    if is_program() and signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if is_program() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

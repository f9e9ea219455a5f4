"""What is printed, on terminals of any kind and where nobody reads."""

import logging
import os
import signal
import sys
from contextlib import suppress

from mgresnet.parallel import TimeComm

LOG = logging.getLogger("mgresnet")  # of what the package itself has to say


def open_streams() -> None:
    """Let anything be printed: to closed streams, and in characters that they have."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started this program
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def listen(comm: TimeComm) -> None:
    """Show on stderr of rank 0 what the package says of itself."""
    if comm.rank == 0 and not LOG.handlers:
        LOG.addHandler(logging.StreamHandler())
        LOG.setLevel(logging.INFO)


def say(comm: TimeComm, text: str) -> None:
    """Print on rank 0; without a reader the program ends as if it was told to."""
    if comm.rank > 0:
        return
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        signal.raise_signal(signal.SIGTERM)


def tell(text: str) -> None:
    """Print on stderr, if it can be written."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)

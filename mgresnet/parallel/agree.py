"""Ranks compare what a call was given before they compute with it.

Each sends one row of numbers: whether it is there, and digests of plain texts for all
facts.  If the rows are alike, that was it.  Otherwise they send the texts, and every
rank raises an error that says who has what.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import numpy as np

from mgresnet.parallel.describe import texts_of
from mgresnet.parallel.roll import (
    ENDED,
    Roll,
    absent,
    is_unanimous,
    leave,
    roll_call,
    row_of,
)

CALL, ERROR = "call", "error"  # names of two facts
MOST = 6  # differences, and ranks on one side of them, that a message names
NONE: Mapping[str, Any] = {}
Texts = dict[str, str]  # of all facts of a rank
Sides = dict[str, list[int]]  # ranks by what they have


@contextmanager
def agreement(
    comm: Roll, call: str, given: Mapping[str, Any], known: Mapping[str, Any] = NONE
) -> Iterator[dict[str, Any]]:
    """Check arguments in the body of a ``with``; ranks that do not agree all raise.

    Parameters
    ----------
    comm : TimeComm or ProcessGrid
        All of its ranks come here.
    call : str
        What they are about to do.
    given : mapping
        What has to be the same on all ranks, by name.
    known : mapping, optional
        At most two facts, compared between those who know them; None is unknown.

    Yields
    ------
    dict
        The facts, to which the body may add.

    Raises
    ------
    ValueError
        If the facts are not the same, or the body raises on another rank.
    RuntimeError
        If another rank has left.
    """
    facts = {CALL: call, ERROR: "", **given}
    if comm.size == 1:
        yield facts
        return
    try:
        yield facts
    except Exception as error:
        facts[ERROR] = f"{type(error).__name__}: {error}"
        _disagreement(comm, facts, NONE)
        raise
    except BaseException:
        leave(comm, ENDED)
        raise
    found = _disagreement(comm, facts, known)
    if found is not None:
        raise found


def _disagreement(
    comm: Roll, facts: Mapping[str, Any], known: Mapping[str, Any]
) -> Exception | None:
    """What an error is to say on every rank, or None if all is well."""
    texts = {k: t for name, fact in facts.items() for k, t in texts_of(name, fact)}
    where_known = {k: "" if fact is None else str(fact) for k, fact in known.items()}
    digests = (_digest(t) if t else 0 for t in where_known.values())
    rows = roll_call(comm, row_of(_digest(*texts, *texts.values()), *digests))
    if is_unanimous(rows):
        return None
    if left := absent(rows):
        return RuntimeError(_about_absence(left, texts[CALL]))
    told = np.frombuffer(json.dumps(texts | where_known).encode() + b"\n", np.uint8)
    lines = comm.gather(told).tobytes().splitlines()
    return ValueError(_about_differences([*map(json.loads, lines)], [*where_known]))


def _digest(*texts: str) -> int:
    """Number other than zero that stands for texts."""
    found = blake2b("\0".join(texts).encode(), digest_size=8).digest()
    return int.from_bytes(found, "little", signed=True) or 1


def _about_absence(left: dict[int, int], call: str) -> str:
    """Who left when."""
    reason = next(iter(left.values()))
    when = "its program has ended"
    if reason > 0:
        when = f"it left a training after {reason} step(s)"
    return (
        f"{_names([*left])} cannot take part in {call}: {when}; let all ranks make the "
        "same calls, and leave a training in the same step, by what is the same on all "
        "of them, such as record.loss"
    )


def _about_differences(told: list[Texts], where_known: list[str]) -> str:
    """Who has what, for the first few facts that are not the same on all ranks."""
    differing: dict[str, Sides] = {}
    for name in dict.fromkeys(name for texts in told for name in texts):
        sides = _sides(told, name)
        if name in where_known:
            sides.pop("", None)
        explained = any(name.startswith(f"{whole}.") for whole in differing)
        if len(sides) > 1 and not explained and sides not in differing.values():
            differing[name] = sides
    call = told[0][CALL]
    if CALL in differing:
        return f"ranks do not make the same call: {_list(differing[CALL])}"
    if ERROR in differing:
        differing[ERROR].pop("", None)
        return f"{call} fails on some ranks: {_list(differing[ERROR])}"
    listed = [f"{name}: {_list(sides)}" for name, sides in differing.items()]
    if len(listed) > MOST:
        listed[MOST:] = [f"and {len(listed) - MOST} more"]
    return f"ranks do not agree in {call} on {'; '.join(listed)}; give all the same"


def _sides(told: list[Texts], name: str) -> Sides:
    """Ranks by what they have."""
    sides: Sides = {}
    for rank, texts in enumerate(told):
        sides.setdefault(texts.get(name, "nothing"), []).append(rank)
    return sides


def _list(sides: Sides) -> str:
    """The few before the many."""
    ordered = sorted(sides.items(), key=lambda side: len(side[1]))
    return ", ".join(f"{text} on {_names(ranks)}" for text, ranks in ordered)


def _names(ranks: list[int]) -> str:
    """Such as: ranks 0, 2."""
    named = ", ".join(map(str, ranks[:MOST]))
    more = f" and {len(ranks) - MOST} more" if len(ranks) > MOST else ""
    return f"rank{'s' if len(ranks) > 1 else ''} {named}{more}"

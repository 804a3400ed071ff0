"""How long each chapter took from nothing, and where: noted in the store as it is computed, committed with the results.

A record's own seconds cannot say it: what was interrupted, or computed anew after a change of code, found its networks
in the store.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rankstudy import UsageError
from rankstudy.files import write_atomically
from rankstudy.study import provenance, questions

NAME = "times.json"  # in the store, and beside the committed results: profile -> experiment -> seconds, where, since
Times = dict[str, dict[str, dict[str, Any]]]


def note(experiment: str, seconds: float, where: str, *, afresh: bool) -> None:
    """Add the time that an experiment has just taken; `afresh`: nothing of it was there before, so it begins at 0."""
    path = questions.store().root / NAME
    times, chosen = _read(path), questions.profile()
    entry = {} if afresh else times.get(chosen, {}).get(experiment, {})
    if not entry and not afresh:
        return  # begun before anybody took the time
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    times.setdefault(chosen, {})[experiment] = {
        "seconds": round(entry.get("seconds", 0.0) + seconds, 1),
        "where": where,
        "date": today,
        "commit": provenance.commit(),
    }
    _write(path, times)


def publish(names: Sequence[str]) -> int:
    """Commit the times that the store has of these experiments under the current profile; how many there were."""
    chosen = questions.profile()
    noted = _read(questions.store().root / NAME).get(chosen, {})
    found = {name: noted[name] for name in names if name in noted}
    path = questions.PUBLISHED.with_name(NAME)
    times = _read(path)
    times[chosen] = {**times.get(chosen, {}), **found}
    if found:
        _write(path, times)
    return len(found)


def earlier(names: Sequence[str], profile: str) -> str:
    """What the experiments took together under the profile, when they were last computed from nothing for the committed
    results, and where; "" if that is not known of each."""
    times = _read(questions.PUBLISHED.with_name(NAME)).get(profile, {})
    if not names or any(name not in times for name in names):
        return ""
    seconds = sum(times[name]["seconds"] for name in names)
    where = "; ".join(dict.fromkeys(times[name]["where"] for name in names))
    return f"{provenance.duration(seconds)} on {where}"


def _read(path: Path) -> Times:
    """Nothing where there is nothing, or nothing that can be read: no result depends on it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, times: Times) -> None:
    try:
        write_atomically(path, (json.dumps(times, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error

"""Results from one machine to another: one file of measured records, verified on the way in.

The file is a plain zip of the store's own files, without weights. A record's name carries the hash of its bytes, so
importing verifies each by name; it never overwrites and never leaves the store's folder.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path

from rankstudy import UsageError
from rankstudy.experiments import study
from rankstudy.store import SUFFIX, Record, Store, digest_of, write_atomically


def export(path: Path) -> int:
    """Write every measured record that today's code accepts, the newest of each question, to a zip file."""
    from rankstudy.run import accepted

    newest: dict[str, Record] = {}
    for record in study.store().records("measured"):
        if accepted(record) and record.experiment in study.CHAPTERS.values():
            newest[record.key] = record
    if not newest:
        raise UsageError(f"the store {study.store().root} has no result that today's code accepts; run first")
    if path.is_dir():
        raise UsageError(f"FILE {path} is a folder; name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for record in newest.values():
                archive.write(record.path, f"measured/{record.path.name}")
            file.flush()
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    print(f"rankstudy: {len(newest)} results, {path.stat().st_size / 1e6:.2f} MB, in {path}")
    return 0


def import_(path: Path, into: Store | None = None) -> int:
    """Read the records of such a file into the store.

    Raises:
        UsageError: it is no such file, or a record in it is damaged or misnamed. Nothing is written then.
    """
    memory = into or study.store()
    try:
        with zipfile.ZipFile(path) as archive:
            if (bad := archive.testzip()) is not None:
                raise UsageError(f"FILE {path} is damaged at {bad}; nothing is imported")
            contents = {name: archive.read(name) for name in archive.namelist()}
    except OSError as error:
        raise UsageError(f"FILE {path} cannot be read: {error.strerror}") from error
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise UsageError(f"FILE {path} is not an export of rankstudy ({error})") from error
    for name, content in contents.items():
        kind, _, stem = name.partition("/")
        key, _, hash_ = stem.removesuffix(SUFFIX).partition("-")
        if kind != "measured" or not stem.endswith(SUFFIX) or not (key.isalnum() and hash_ == digest_of(content)):
            raise UsageError(f"FILE {path} holds {name!r}, which is damaged or no result; nothing is imported")
    new = 0
    for name, content in contents.items():
        target = memory.root / name
        if not target.exists():
            try:
                write_atomically(target, content)
            except OSError as error:
                raise UsageError(f"the store {memory.root} cannot be written: {error.strerror}") from error
            new += 1
    print(f"rankstudy: imported {new} results, {len(contents) - new} were there already")
    return 0

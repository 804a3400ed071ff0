"""Results from one machine to another: one file of measured records, verified on the way in.

The file is a plain zip of the store's own files, without weights. A record's name carries the hash of its bytes, so
importing verifies each by name; it never overwrites and never leaves the store's folder.
"""

from __future__ import annotations

import argparse
import io
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from rankstudy import UsageError
from rankstudy.files import write_atomically
from rankstudy.study import contents, questions, times
from rankstudy.study.store import Record, decode, exported

LARGEST = 5_000_000  # bytes of the export that is committed


def export_(argv: Sequence[str]) -> int:
    """`export FILE [CHAPTER …]`, or `export --published [CHAPTER …]`."""
    parser = argparse.ArgumentParser(
        prog="python -m rankstudy export",
        description="Write results to a file that other machines can import.",
        usage="%(prog)s [-h] (FILE [CHAPTER ...] | --published [CHAPTER ...] | --times)",
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="what today's code accepts goes into it")
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help="as in 3, rank or 03-rank; all by default")
    parser.add_argument(
        "--published", nargs="*", metavar="CHAPTER", help="what the profile shows, into the committed file"
    )
    parser.add_argument("--times", action="store_true", help="only how long the profile took, into the committed file")
    options = parser.parse_args(argv[1:])
    asked = [options.file is not None, options.published is not None, options.times]
    if sum(asked) != 1:
        parser.error(f"one of FILE, --published and --times is wanted, got {sum(asked)}")
    if options.times:
        count = times.publish(list(questions.known()))
        print(f"rankstudy: what {count} chapters took under profile {questions.profile()} is committed")
        return 0
    if options.published is None:
        return export(options.file, contents.experiments(options.chapters))
    return publish(contents.experiments(options.published))


def export(path: Path, names: Sequence[str]) -> int:
    """Write the experiments' records that today's code accepts, the newest of each question, to a zip file."""
    newest: dict[str, Record] = {}
    for record in questions.store().records("measured"):
        if record.experiment in names and questions.accepted(record):
            newest[record.key] = record
    if not newest:
        raise UsageError(f"the store {questions.store().root} has no result that today's code accepts; run first")
    return _write(path, [*newest.values()])


def publish(names: Sequence[str] = ()) -> int:
    """Write the results that the current profile shows to the export that is committed: `published/results.zip`, or
    where RANKSTUDY_DATASET names another data set than MNIST, that one's, which the book compares.

    Args:
        names: experiments to replace in it, where not all are computed on one day; the others stay as they are
            there, and their pages say so where code has moved on since. By default all.

    Raises:
        UsageError: a chapter's result is missing, all are too large together, or the profile computes nothing.
    """
    chosen = questions.profile()
    if chosen == "published":
        raise UsageError("RANKSTUDY_PROFILE is published, which computes nothing; publish full, quick or smoke")
    wanted = names or list(questions.known())
    found = {name: questions.record(name) for name in wanted}
    if missing := [name for name, record in found.items() if record is None]:
        raise UsageError(f"profile {chosen} has no result of {', '.join(missing)} yet; run first")
    path = questions.archive(os.environ.get("RANKSTUDY_DATASET", "").strip().lower())
    kept = {}
    if len(found) < len(questions.known()) and path.exists():
        for name, content in exported(path).items():
            if (record := decode(name, content)) and record.experiment not in found:
                kept[name] = content
    code = _write(path, [record for record in found.values() if record], LARGEST, kept)
    if path == questions.PUBLISHED:
        times.publish(wanted)
    return code


def import_(argv: Sequence[str]) -> int:
    """`import FILE`: add the records of an exported file to the store."""
    parser = argparse.ArgumentParser(
        prog="python -m rankstudy import", description="Read results that `export` wrote; nothing is overwritten."
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    path = parser.parse_args(argv[1:]).file
    memory = questions.store()
    found, new = exported(path), 0
    for name, content in found.items():
        try:
            decode(Path(name).name, content)
        except ValueError as error:
            raise UsageError(f"FILE {path} holds {name!r}, which is no result") from error
    for name, content in found.items():
        target = memory.root / name
        if not target.exists():
            try:
                write_atomically(target, content)
            except OSError as error:
                raise UsageError(f"the store {memory.root} cannot be written: {error.strerror}") from error
            new += 1
    print(f"rankstudy: imported {new} results, {len(found) - new} were there already")
    return 0


def _write(
    path: Path, records: Sequence[Record], largest: float = float("inf"), kept: Mapping[str, bytes] | None = None
) -> int:
    if path.is_dir():
        raise UsageError(f"FILE {path} is a folder; name a file")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for record in records:
            archive.write(record.path, f"{record.kind}/{record.path.name}")
        for name, old in (kept or {}).items():
            archive.writestr(name, old)
    size = len(content.getvalue())
    if size > largest:
        raise UsageError(f"the results take {size / 1e6:.1f} MB; allowed are {largest / 1e6:.0f} MB")
    try:
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise UsageError(f"FILE {path} cannot be written: {error.strerror}") from error
    and_kept = f" (and {len(kept)} as they were)" if kept else ""
    print(f"rankstudy: {len(records)} results{and_kept}, {size / 1e6:.2f} MB, in {path}")
    return 0

"""`analyze`, `compress` and `extract` on the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rankstudy import UsageError

SOURCE = "safetensors, torch's state dict, .npz, or a folder of shards or of a peft adapter"


def analyze(argv: Sequence[str]) -> int:
    """`analyze FILE …`."""
    from rankstudy.tools import checkpoint

    parser = _parser("analyze", "The ranks of every weight matrix, or of the update against --base.")
    parser.add_argument("file", help=SOURCE)
    parser.add_argument("--base", help="the network before fine-tuning: analyse the update")
    parser.add_argument("--rank-error", type=float, default=checkpoint.RANK_ERROR, metavar="ERROR",
                        help="relative Frobenius error that ranks are given for (default %(default)s)")  # fmt: skip
    _which(parser)
    _outputs(parser)
    parser.add_argument("--spectra", action="store_true", help="with --json: all singular values")
    parser.add_argument("--markdown", metavar="FILE", help="write table and reading as Markdown to this file")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw rank by depth (.svg, .png, .pdf)")
    parser.add_argument(
        "--panels", metavar="REGEX", help="with --figure: the spectra of these matrices instead, at most 24"
    )
    options = parser.parse_args(argv[1:])
    found = checkpoint.analyze(options.file, options.base, rank_error=options.rank_error, include=options.include,
                    exclude=options.exclude, progress=True)  # fmt: skip

    def picture() -> bytes:
        from rankstudy.tools.figure import drawn

        return drawn(found, options.figure, options.panels)

    _give(
        found.table,
        {
            options.json: lambda: found.json(options.spectra).encode(),
            options.csv: lambda: found.csv().encode(),
            options.markdown: lambda: found.markdown().encode(),
            str(options.figure) if options.figure else None: picture,
        },
    )
    return 0


def compress(argv: Sequence[str]) -> int:
    """`compress FILE OUT …`."""
    from rankstudy.tools import compression

    parser = _parser("compress", "Write a checkpoint with low-rank factors where they pay, the rest as it was.")
    parser.add_argument("file", help=SOURCE)
    parser.add_argument("out", type=Path, help="safetensors file to write; of shards, a folder")
    amount = _amounts(parser)
    amount.add_argument("--keep", type=float, metavar="SHARE", help="share of their parameters, allotted (default 0.5)")
    _which(parser)
    parser.add_argument("--min-saving", type=float, default=compression.MIN_SAVING, metavar="SHARE",
                        help="of a matrix's parameters; what saves less stays (default %(default)s)")  # fmt: skip
    parser.add_argument("--dense", action="store_true", help="write the products in the original shapes")
    _outputs(parser)
    options = parser.parse_args(argv[1:])
    asked = {name: getattr(options, name) for name in ("rank", "rank_error", "energy", "keep", "include", "exclude")}
    done = compression.compress(
        options.file, options.out, **asked, min_saving=options.min_saving, dense=options.dense, progress=True
    )
    _give(done.table, {options.json: lambda: done.json().encode(), options.csv: lambda: done.csv().encode()})
    return 0


def extract(argv: Sequence[str]) -> int:
    """`extract BASE TUNED OUT …`."""
    from rankstudy.tools.extraction import extract_adapter

    parser = _parser("extract", "Write the update TUNED − BASE as a LoRA adapter that peft loads.")
    parser.add_argument("base", help=SOURCE)
    parser.add_argument("tuned", help="the same after fine-tuning")
    parser.add_argument("out", type=Path, help="folder to write")
    amount = _amounts(parser)
    amount.add_argument("--budget", type=int, metavar="NUMBER", help="parameters of the adapter, allotted")
    _which(parser)
    parser.add_argument("--fan-in-fan-out", action="store_true", help="weights are (in, out), as in GPT-2")
    _outputs(parser, csv=False)
    options = parser.parse_args(argv[1:])
    asked = {name: getattr(options, name) for name in ("rank", "rank_error", "energy", "budget", "include", "exclude")}
    done = extract_adapter(options.base, options.tuned, options.out, **asked, fan_in_fan_out=options.fan_in_fan_out)
    _give(done.table, {options.json: lambda: done.json().encode()})
    return 0


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"python -m rankstudy {name}", description=description)


def _amounts(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--rank", type=int, help="the same for every matrix")
    group.add_argument("--rank-error", type=float, metavar="ERROR", help="relative Frobenius error of each, at most")
    group.add_argument("--energy", type=float, metavar="SHARE", help="of the squared norm that each keeps, at least")
    return group


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--include", action="append", metavar="REGEX", help="only names that match; may be given again")
    parser.add_argument("--exclude", action="append", metavar="REGEX", help="not names that match; may be given again")


def _outputs(parser: argparse.ArgumentParser, csv: bool = True) -> None:
    parser.add_argument("--json", metavar="FILE", help="write everything as JSON to this file; - prints it, alone")
    if csv:
        parser.add_argument("--csv", metavar="FILE", help="write the table, all columns, to this file")
    else:
        parser.set_defaults(csv=None)


def _give(table: Callable[[], str], outputs: dict[str | None, Callable[[], bytes]]) -> None:
    """Print, and write the files: none of them before all are made.

    Raises:
        UsageError: a file cannot be written.
    """
    made = {name: make() for name, make in outputs.items() if name is not None}
    text = table()
    for name, content in made.items():
        if name != "-":
            from rankstudy.files import write_atomically

            try:
                write_atomically(Path(name), content)
            except OSError as error:
                raise UsageError(f"{name} cannot be written: {error.strerror}") from error
    sys.stdout.write(made["-"].decode() if "-" in made else text + "\n")

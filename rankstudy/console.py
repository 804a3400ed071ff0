"""A console is never the reason that a command fails or that a result is lost.

- Whoever reads our output may stop to (`| head`): the command goes on, and what nobody reads is dropped.
- A console that is not UTF-8 gets what its encoding can say: "-" for "−", "x" for "×".
- A stream that was closed before we began (`2>&-`) is an empty one; its number must not go to the next file opened.
- What cannot be written for another reason (a full disk) is one line, as any error of the system is.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata
from collections.abc import Callable
from typing import TextIO

# what decomposition (NFKD) does not turn into ASCII
ASCII = {
    "−": "-", "–": "-", "—": "-", "×": "x", "·": "*", "±": "+-", "→": "->", "≤": "<=", "≥": ">=", "≈": "~", "‖": "||",
    "“": '"', "”": '"', "‘": "'", "’": "'", "√": "sqrt", "σ": "sigma", "α": "alpha", "λ": "lambda", "ε": "epsilon",
}  # fmt: skip
INTERRUPTED = 130  # 128 + SIGINT, as shells count it


def run(main: Callable[[], int]) -> None:
    """Run a program's `main` on streams that withstand whatever is at their other end, and exit with its code."""
    prepare()
    try:
        code: int | str | None = main()
    except SystemExit as end:  # argparse
        code = end.code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except OSError as error:
        print(f"rankstudy: {described(error)}", file=sys.stderr)
        code = 2
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            print(f"rankstudy: {described(error)}", file=sys.stderr)
            code = 2
    sys.exit(code)


def prepare() -> None:
    """Make the standard streams such streams."""
    _fill_descriptors()
    codecs.register_error("rankstudy", _replaced)
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")
    sys.stdout = _lasting(sys.stdout or open(1, "w", encoding="utf-8", closefd=False))
    sys.stderr = _lasting(sys.stderr or open(2, "w", encoding="utf-8", closefd=False))


def described(error: Exception) -> str:
    """An error of the system in a line: what is wrong, and with which file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


class _Lasting(io.RawIOBase):
    """A stream that fails once at most, and not at all where its reader has gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream  # kept, since it takes the raw stream along when it goes
        self._raw = getattr(stream.buffer, "raw", stream.buffer)  # python -u has no buffer between
        self._lost = False

    def write(self, content: bytes) -> int:  # type: ignore[override]  # collections.abc.Buffer came with 3.12
        size = memoryview(content).nbytes
        if self._lost:
            return size
        try:
            return self._raw.write(content)
        except BrokenPipeError:
            self._lost = True
            return size
        except OSError:
            self._lost = True
            raise

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()


def _lasting(stream: TextIO) -> TextIO:
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Lasting(stream)),
        encoding=stream.encoding,
        errors="rankstudy",
        line_buffering=stream.line_buffering or stream is sys.stderr,
        write_through=getattr(stream, "write_through", False),
    )


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """For `codecs`: ASCII that means the same."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = []
    for character in error.object[error.start : error.end]:
        plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
        found.append(ASCII.get(character) or plain or "?")
    return "".join(found), error.end


def _fill_descriptors() -> None:
    """Open what is closed of 0, 1 and 2, lest a file of the store become what C libraries print errors to."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free

"""Where a result comes from: a digest of the code that computed it, and the machine, versions and commit.

The digest of a result covers the modules of this package that its computation can reach by imports. Comments,
docstrings and blank lines do not count, so prose never makes a result stale; nor do refusals, `if ...: raise ...`: what
was computed has passed them. Any other change to those modules does.
"""

from __future__ import annotations

import ast
import hashlib
import io
import platform
import subprocess
import sys
import time
import tokenize
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeGuard

PACKAGE = Path(__file__).parents[1]

# what networks and their histories depend on; editing anything else retrains nothing
TRAINED = ("study.starts", "layers", "data", "training", "config")
# these ask, keep and tell results; they do not compute them
NOT_COMPUTING = {
    "",
    "registry",  # what its entries do is in the key of every question that names them
    "sources",  # what it finds is in every key, by its checksum
    "study.jobs",
    "study.profiles",  # what it gives is in every key
    "study.observers",  # what a run was observed by is in its key: a change there takes another name
    "study.typed",
    "study",
    "study.store",
    "study.provenance",
    "study.questions",
    "study.experiments",
    "device",
    "files",
}
# what a refusal's condition may call: it looks at values and changes none
LOOKS = frozenset(
    "abs all any bool callable float getattr hasattr int isfinite isinstance issubclass len list max min range set "
    "sorted str tuple type".split()
)


@cache
def digest(*modules: str) -> str:
    """Digest of the normalised source of modules (named inside the package) and of all that they import from it.

    Raises:
        ValueError: a module is not part of the package.
    """
    names = sorted(reached(*modules))
    content = "\n".join(f"# {name}\n{normalised(_path(name).read_text(encoding='utf-8'))}" for name in names)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


@cache
def normalised(source: str) -> str:
    """Source without comments, docstrings, refusals, blank lines and trailing blanks.

    Works on the text, because `ast.dump` and `ast.unparse` differ between Python versions: the syntax tree says
    where docstrings and refusals are, the tokenizer where comments are, and the rest is kept as it was written.
    """
    lines = source.splitlines()
    in_text: set[int] = set()  # rows where a blank line is part of a string
    gone: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            in_text.update(range(node.lineno - 1, node.end_lineno or node.lineno))
        if _refuses(node):
            rows = range(node.lineno - 1, node.end_lineno or node.lineno)
            lines[rows.start : rows.stop] = [""] * len(rows)
            gone.update(rows)
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) or not node.body:
            continue
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            assert first.end_lineno is not None, "a parsed node knows where it ends"
            before = lines[first.lineno - 1].encode()[: first.col_offset].decode()  # "def f(): " of a one-line body
            after = lines[first.end_lineno - 1].encode()[first.end_col_offset :].decode()
            lines[first.lineno - 1 : first.end_lineno] = [before + after] + [""] * (first.end_lineno - first.lineno)
            gone.update(range(first.lineno - 1, first.end_lineno))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row = token.start[0]
            if lines[row - 1].endswith(token.string):  # not so where the line was a docstring and is gone
                lines[row - 1] = lines[row - 1][: -len(token.string)]
    blank = in_text - gone
    return "\n".join(line.rstrip() for row, line in enumerate(lines) if line.strip() or row in blank)


def _refuses(node: ast.AST) -> TypeGuard[ast.If]:
    """Whether it is an `if` that can do nothing but raise, so that what went past it is what would be without it."""
    if not isinstance(node, ast.If) or node.orelse or not all(isinstance(each, ast.Raise) for each in node.body):
        return False
    for part in ast.walk(node.test):
        called = part.func if isinstance(part, ast.Call) else None
        name = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
        if isinstance(part, (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)) or (called and name not in LOOKS):
            return False
    return True


def describe(device: str, seconds: float) -> dict[str, object]:
    """Provenance of a result that was just computed on the device in that time."""
    return {
        "device": device,
        "seconds": round(seconds, 3),
        "peak_memory": _peak_memory(),  # bytes, of the process so far
        "created": time.time(),  # seconds since 1970
        "commit": commit(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        **{name: _version(name) for name in ("rankstudy", "torch", "numpy", "scipy")},
    }


def duration(seconds: float) -> str:
    """3 s, 2 min 5 s, 1 h 20 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@cache
def commit() -> str:
    """The commit of the checkout, with "+" where the work tree differs from it; empty outside a checkout."""

    def git(*words: str) -> str:
        try:
            done = subprocess.run(["git", *words], cwd=PACKAGE, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.strip()

    name = git("rev-parse", "--short=12", "HEAD")
    return name + "+" if name and git("status", "--porcelain", "--untracked-files=no") else name


def reached(*modules: str) -> set[str]:
    """The modules whose code a digest of these covers: all that they import, but for those that compute nothing."""
    found: set[str] = set()
    waiting = [name for name in modules]
    while waiting:
        name = waiting.pop()
        if name in found or name in NOT_COMPUTING:
            continue
        found.add(name)
        imported = _imported(_path(name).read_text(encoding="utf-8"))
        waiting += [candidate for candidate in imported if _is_module(candidate)]
    return found


@cache
def _imported(source: str) -> list[str]:
    """What may be modules of this package (named inside it) in the imports of a source."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rankstudy":
            parent = ".".join((node.module or "").split(".")[1:])
            found += [parent] + [f"{parent}.{alias.name}".lstrip(".") for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("rankstudy.")]
    return found


def _is_module(name: str) -> bool:
    path = PACKAGE.joinpath(*name.split("."))
    return bool(name) and (path.with_suffix(".py").is_file() or (path / "__init__.py").is_file())


def _path(name: str) -> Path:
    path = PACKAGE.joinpath(*name.split("."))
    if not _is_module(name):
        raise ValueError(f"modules names {name!r}, which is no module of rankstudy")
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _peak_memory() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

"""python -m benchmarks NAME [options of that benchmark]"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from rankstudy import UsageError

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))

if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
    sys.exit(f"usage: python -m benchmarks NAME [options]\nNAME is one of {', '.join(NAMES)}")
try:
    import_module(f"benchmarks.{sys.argv[1]}").main(sys.argv[2:])
except UsageError as error:
    print(f"benchmarks: {error}", file=sys.stderr)
    sys.exit(2)

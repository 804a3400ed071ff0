"""python -m tests.mutants [NAME ...]: see the package's docstring. Exit status 1 if a mutant survives."""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path

from tabulate import tabulate

from tests.mutants._trial import tests_of

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))
# slow to import, not ours: imported once, into the process that the others are forked from
PRELOADED = ["torch", "numpy", "scipy.linalg", "hypothesis", "hypothesis.extra.numpy", "pytest"]


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise SystemExit(f"no mutants of {', '.join(unknown)}; there are mutants of {', '.join(NAMES)}")
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload(PRELOADED)
    os.environ["OMP_NUM_THREADS"] = "1"  # a process a core
    rows, survivors = [], 0
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context, max_tasks_per_child=1) as pool:
        unchanged = {name: pool.submit(tests_of, name, None) for name in names or NAMES}
        tried = [
            (name, wrong, pool.submit(tests_of, name, number))
            for name in unchanged
            for number, (wrong, _, _) in enumerate(import_module(f"tests.mutants.{name}").MUTANTS)
        ]
        try:
            for name, future in unchanged.items():
                if failed := future.result()[0]:
                    raise SystemExit(f"without any mutant of {name}, {failed} fails")
            for name, wrong, future in tried:
                test, seconds = future.result()
                survivors += not test
                rows.append([name, wrong, test or "SURVIVED", f"{seconds:.0f} s"])
                print(*rows[-1], sep=" | ", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    print("\n" + tabulate(rows, headers=["file", "what is wrong", "noticed by", "time"], tablefmt="pipe"))
    print(f"\n{len(rows) - survivors} of {len(rows)} mutants killed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

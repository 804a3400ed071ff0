"""python -m rankstudy: compute the study, look at the store, render the book."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module

from rankstudy import UsageError

# command -> (module with main(argv), one line of help); each module is imported only when it is called
COMMANDS = {
    "run": ("rankstudy.study.run", "compute what the chapters need and the store does not have"),
    "list": ("rankstudy.study.run", "show the store: each result, its age, size, and whether today's code accepts it"),
    "prune": ("rankstudy.study.run", "remove the results that today's code would not accept, after asking"),
    "export": ("rankstudy.study.run", "write the results (without weights) to a file"),
    "import": ("rankstudy.study.run", "read results from such a file; never overwrites"),
    "report": ("rankstudy.book.render", "run, then render the book (HTML and PDF) with Quarto, or else the preview"),
    "preview": ("rankstudy.book.preview", "render the chapters to HTML without Quarto"),
    "readme": ("rankstudy.book.readme", "write the README's findings and figure from the stored results"),
    "analyze": ("rankstudy.tools.commands", "the ranks of every weight matrix of a checkpoint"),
    "compress": ("rankstudy.tools.commands", "write a checkpoint with low-rank factors where they pay"),
    "extract": ("rankstudy.tools.commands", "write what a fine-tuning changed as a LoRA adapter that peft loads"),
}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="python -m rankstudy",
        description="What is the rank of a trained neural network, and what is it good for?",
        epilog="\n".join(f"  {name:9} {text}" for name, (_, text) in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the commands below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="COMMAND --help says which")
    command = parser.parse_args(arguments[:1]).command
    begun = time.perf_counter()
    try:
        return import_module(COMMANDS[command][0]).main([command, *arguments[1:]])
    except UsageError as error:
        print(f"rankstudy: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"\nrankstudy: stopped after {time.perf_counter() - begun:.0f} s; finished results are kept, "
            f"the same command goes on from there",
            file=sys.stderr,
        )
        return 130


if __name__ == "__main__":
    code = main()
    if code == 130:  # Ctrl-C: nothing is left to be written, and taking torch apart takes most of a second
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)

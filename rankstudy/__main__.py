"""python -m rankstudy: compute the study, look at the store, render the book."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module

from rankstudy import UsageError, console

# command -> (module with the function, its name, one line of help); a module is imported only when it is called
COMMANDS = {
    "run": ("study.run", "main", "compute what the chapters need and the store does not have"),
    "list": ("study.listing", "show", "show the store: each result, its age and size, whether today's code accepts it"),
    "prune": ("study.listing", "prune", "remove the results that today's code would not accept, after asking"),
    "export": ("study.portable", "export_", "write the results (without weights) to a file"),
    "import": ("study.portable", "import_", "read results from such a file; never overwrites"),
    "report": ("book.render", "main", "run, then render the book (HTML and PDF) with Quarto, or else the preview"),
    "preview": ("book.preview", "main", "render the chapters to HTML without Quarto"),
    "readme": ("book.readme", "main", "write the README's findings and figure from the stored results"),
    "tutorial": ("book.tutorial", "main", "execute tutorial.ipynb and keep its outputs in it"),
    "analyze": ("tools.commands", "analyze", "the ranks of every weight matrix of a checkpoint"),
    "compress": ("tools.commands", "compress", "write a checkpoint with low-rank factors where they pay"),
    "extract": ("tools.commands", "extract", "write what a fine-tuning changed as a LoRA adapter that peft loads"),
}
STUDY = {"run", "export", "report", "preview", "readme"}  # the commands that a profile is about


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the words after `python -m rankstudy` say; the exit code.

    Whatever the user or the machine can mend is one line on stderr and code 2: a wrong word, a file that cannot be read
    or is damaged, a full disk, too little memory. A traceback is a fault of the program.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="python -m rankstudy",
        description="What is the rank of a trained neural network, and what is it good for?",
        epilog="\n".join(f"  {name:9} {text}" for name, (*_, text) in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the commands below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="COMMAND --help says which")
    if not arguments:
        parser.print_help()
        return 0
    command = parser.parse_args(arguments[:1]).command
    module, function, _ = COMMANDS[command]
    begun = time.perf_counter()
    try:
        if command in STUDY:
            _say_which_profile()
        return getattr(import_module(f"rankstudy.{module}"), function)([command, *arguments[1:]])
    except UsageError as error:
        print(f"rankstudy: {error}", file=sys.stderr)
    except MemoryError:
        print("rankstudy: there is not enough memory for this", file=sys.stderr)
    except RecursionError:
        print("rankstudy: a file is nested too deeply; it is damaged, or no file of this kind", file=sys.stderr)
    except OSError as error:
        print(f"rankstudy: {console.described(error)}", file=sys.stderr)
    except KeyboardInterrupt:
        print(
            f"\nrankstudy: stopped after {time.perf_counter() - begun:.0f} s; finished results are kept, "
            f"the same command goes on from there",
            file=sys.stderr,
        )
        return console.INTERRUPTED
    return 2


def program() -> None:
    """The same as a program."""
    console.run(main)


def _say_which_profile() -> None:
    """PROFILE is make's word; who sets it for us should not have to guess whether it was heard."""
    from rankstudy.study.questions import PROFILES

    short, wanted = (os.environ.get(name, "").strip().lower() for name in ("PROFILE", "RANKSTUDY_PROFILE"))
    if short in PROFILES and short != wanted:
        heard = f"is not heard, RANKSTUDY_PROFILE={wanted} is" if wanted else "is taken as RANKSTUDY_PROFILE"
        print(f"rankstudy: PROFILE={short} {heard}", file=sys.stderr)


if __name__ == "__main__":
    program()

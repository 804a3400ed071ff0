"""Whatever is at the other end of the output, nothing that was asked for is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from rankstudy import console
from rankstudy.__main__ import COMMANDS, main

pytestmark = pytest.mark.skipif(os.name != "posix", reason="descriptors as POSIX has them")
ROOT = Path(__file__).parents[1]
SIGN = "−×·±—…‖σ₁²é☃"


def program(tmp_path: Path, body: str, redirection: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """A `main` with that body as a program of its own, in a shell that redirects its streams."""
    path = tmp_path / "program.py"
    lines = "\n    ".join(body.splitlines())
    path.write_text(
        f"import sys\nfrom rankstudy import console\n\ndef main():\n    {lines}\nconsole.run(main)\n", "utf-8"
    )
    return subprocess.run(
        f'"{sys.executable}" "{path}" {redirection}',
        shell=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )


MANY = "for number in range(100_000):\n    print(number)\nopen('result', 'w').write('whole')\nreturn 0"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_ends_nothing(tmp_path, unbuffered):
    done = program(tmp_path, MANY, "| head -n 1", PYTHONUNBUFFERED=unbuffered)
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert (tmp_path / "result").read_text() == "whole"


@pytest.mark.parametrize("encoding, expected", [("utf-8", SIGN), ("ascii", "-x*+--...||sigma12e?")])
def test_a_console_gets_what_its_encoding_can_say(tmp_path, encoding, expected):
    done = program(tmp_path, f"print({SIGN!r})\nprint({SIGN!r}, file=sys.stderr)\nreturn 3", PYTHONIOENCODING=encoding)
    assert (done.stdout, done.stderr, done.returncode) == (f"{expected}\n", f"{expected}\n", 3)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_an_empty_one(tmp_path, closed):
    """Nor does the first file that is opened take its number, so that errors would be written into it."""
    body = (
        "import os\nfrom tqdm import tqdm\nwith open('result', 'w') as file:\n"
        "    file.write('whole')\n    [os.write(number, b'error') for number in (1, 2)]\n"
        "    list(tqdm([1]))\n    print('out')\n    print('err', file=sys.stderr)\n"
        "assert sys.stdin.read() == ''\nreturn 0"
    )
    done = program(tmp_path, body, closed, **({} if "<" in closed else {"_": ""}))
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert (tmp_path / "result").read_text() == "whole"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_one_line(tmp_path):
    done = program(tmp_path, MANY, "> /dev/full")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "No space left" in done.stderr


def test_what_was_asked_for_is_written_though_nobody_reads_on(tmp_path):
    save_file({f"layer{index}": np.eye(3, 4, dtype=np.float32) for index in range(3)}, tmp_path / "a.safetensors")
    command = f'"{sys.executable}" -m rankstudy analyze "{tmp_path}/a.safetensors" --csv "{tmp_path}/a.csv" | true'
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == "" and (tmp_path / "a.csv").read_text().count("layer") == 3


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_can_be_said_in_ascii(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    said = capsys.readouterr().out
    assert end.value.code == 0 and said.startswith(f"usage: python -m rankstudy {command}")
    console.prepare  # noqa: B018  registers what follows where a program begins
    console.codecs.register_error("rankstudy", console._replaced)
    assert "?" not in said.encode("ascii", "rankstudy").decode()


FAULTS = {
    "a full disk": (OSError(28, "No space left on device", "/store/x"), "/store/x: No space left on device"),
    "no more memory": (MemoryError(), "not enough memory"),
    "nesting": (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
    "something without a number": (OSError("No pandoc was found\nby that name"), "No pandoc was found"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_the_machine_lacks_is_one_line(name, capsys, monkeypatch):
    error, expected = FAULTS[name]

    def fail(argv):
        raise error

    monkeypatch.setattr("rankstudy.study.listing.show", fail)
    assert main(["list"]) == 2
    said = capsys.readouterr().err
    assert expected in said and said.count("\n") == 1


def test_a_fault_of_the_program_is_not_hidden(monkeypatch):
    monkeypatch.setattr("rankstudy.study.listing.show", lambda argv: [][1])
    with pytest.raises(IndexError):
        main(["list"])

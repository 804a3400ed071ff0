"""Results go from one machine to another and are shown there without torch; nothing in an export can harm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest

from rankstudy import UsageError
from rankstudy.__main__ import main
from rankstudy.study import portable, questions, store
from tests.conftest import PROFILE, without_torch
from tests.test_run import ROOT, files


def test_export_and_import(fresh, capsys, monkeypatch):
    main(["run", "01", "02"])
    assert main(["export", str(fresh / "out" / "a.zip")]) == 0
    monkeypatch.setenv("RANKSTUDY_RESULTS", str(fresh / "other"))
    assert main(["import", str(fresh / "out" / "a.zip")]) == 0
    assert files(fresh / "other" / "measured") == files(fresh / "results" / "measured")
    capsys.readouterr()
    assert main(["import", str(fresh / "out" / "a.zip")]) == 0 and "2 were there already" in capsys.readouterr().out
    assert main(["run", "01", "02"]) == 0 and "nothing to compute" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", ["../../escape.safetensors", "measured/../../x.safetensors", "trained/x.safetensors", "x.txt"]
)
def test_import_refuses_what_is_no_result(name, fresh, capsys):
    with zipfile.ZipFile(fresh / "a.zip", "w") as archive:
        archive.writestr(name, b"content")
    assert main(["import", str(fresh / "a.zip")]) == 2
    assert "damaged or no result" in capsys.readouterr().err
    assert sorted(path.name for path in fresh.iterdir()) == ["a.zip"]


def test_import_notices_damage(fresh, capsys, monkeypatch):
    main(["run", "02"])
    main(["export", str(fresh / "a.zip")])
    with zipfile.ZipFile(fresh / "a.zip") as archive:
        (name,) = archive.namelist()
        content = bytearray(archive.read(name))
    content[-1] ^= 1
    with zipfile.ZipFile(fresh / "b.zip", "w") as archive:
        archive.writestr(name, bytes(content))
    monkeypatch.setenv("RANKSTUDY_RESULTS", str(fresh / "other"))
    assert main(["import", str(fresh / "b.zip")]) == 2
    content = (fresh / "a.zip").read_bytes()
    (fresh / "c.zip").write_bytes(content[: len(content) // 2])
    assert main(["import", str(fresh / "c.zip")]) == 2
    assert not (fresh / "other").exists()


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """Chapters 1 and 2 under smoke; the thorough profile takes all."""
    folder = tmp_path_factory.mktemp("computed")
    environment = {**os.environ, "RANKSTUDY_RESULTS": str(folder), "RANKSTUDY_PROFILE": "smoke"}
    environment.pop("RANKSTUDY_DATASET", None)
    chapters = (
        questions.CHAPTERS if PROFILE == "thorough" else {number: questions.CHAPTERS[number] for number in ("01", "02")}
    )
    command = [sys.executable, "-m", "rankstudy", "run", *chapters]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return folder, chapters


@pytest.fixture
def clone(tmp_path, computed, monkeypatch):
    """Another clone of the project that has the export of these chapters as its published results."""
    for name in ("rankstudy", "report"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_quarto.yml", "index.qmd", "tutorial.ipynb"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "published").mkdir()
    shutil.copy(ROOT / "published" / "example.safetensors", tmp_path / "published")
    monkeypatch.setenv("RANKSTUDY_RESULTS", str(computed[0]))
    monkeypatch.setenv("RANKSTUDY_PROFILE", "smoke")
    monkeypatch.setattr(questions, "CHAPTERS", computed[1])
    monkeypatch.setattr(questions, "PUBLISHED", tmp_path / "published" / "results.zip")
    assert main(["export", "--published"]) == 0
    return tmp_path


def words(folder: Path, page: str) -> str:
    """A page's HTML without its line breaks: where they fall depends on how long the processor's name is."""
    return " ".join((folder / "_preview" / f"{page}.html").read_text(encoding="utf-8").split())


def test_published_results_are_shown_without_torch(clone):
    """In another clone; the page says where its numbers come from and that the code is the same."""
    assert (done := without_torch(clone, "run", *questions.CHAPTERS)).returncode == 0, done.stderr
    assert "nothing is computed" in done.stdout
    pages = [] if len(questions.CHAPTERS) > 2 else ["01-data", "02-training"]
    assert (done := without_torch(clone, "preview", *pages)).returncode == 0, done.stderr
    assert not (clone / "results").exists()
    for page in pages or ["index", *(path.stem for path in (clone / "report").glob("0*.qmd"))]:
        text = words(clone, page)
        assert "Profile <code>published</code>, computed under <code>smoke</code>" in text or (
            "Published results of profile smoke" in text
        ), page
        assert "its code has changed since" not in text, page


def test_a_page_says_that_the_code_has_moved_on(clone):
    path = clone / "rankstudy" / "study" / "experiments" / "training.py"
    path.write_text(path.read_text(encoding="utf-8") + "\n\nMOVED = True\n", encoding="utf-8")
    assert (done := without_torch(clone, "preview", "02-training", "01-data")).returncode == 0, done.stderr
    assert "its code has changed since" in words(clone, "02-training")
    assert "its code has changed since" not in words(clone, "01-data")


def test_nothing_published_is_one_line(clone):
    done = without_torch(clone, "run")
    assert done.returncode == 2 and "no result of rank, " in done.stderr, done.stderr
    questions.PUBLISHED.unlink()
    done = without_torch(clone, "run")
    assert done.returncode == 2 and "nothing is published yet" in done.stderr and "Traceback" not in done.stderr


def test_one_chapter_can_be_published_anew(clone, capsys):
    before = store.exported(questions.PUBLISHED)
    record = questions.record("training")
    old = [name for name, content in before.items() if store.decode(name, content).experiment == "training"]
    with zipfile.ZipFile(questions.PUBLISHED, "w") as archive:
        for name, content in before.items():
            if name not in old:
                archive.writestr(name, content)
    assert main(["export", "--published", "02"]) == 0
    assert f"1 results (and {len(before) - len(old)} as they were)" in capsys.readouterr().out
    assert store.exported(questions.PUBLISHED) == before
    assert questions.published()["training"].path == Path() and record.path.name in str(before.keys())


def test_what_is_published_is_small(clone, monkeypatch):
    monkeypatch.setattr(portable, "LARGEST", 1000)
    before = questions.PUBLISHED.read_bytes()
    with pytest.raises(UsageError, match="allowed are"):
        portable.publish()
    assert questions.PUBLISHED.read_bytes() == before


def test_the_committed_results_are_whole_and_small_and_whether_code_has_moved_on(monkeypatch):
    """Moved on is no failure: it is said here and on the pages, and `export --published` refreshes it."""
    if not questions.PUBLISHED.exists():
        pytest.skip("nothing is published yet")
    assert questions.PUBLISHED.stat().st_size <= portable.LARGEST
    assert set(questions.CHAPTERS.values()) <= questions.published().keys() <= questions.known().keys()
    monkeypatch.setenv("RANKSTUDY_PROFILE", "published")
    if moved := [name for name in questions.published() if questions.result(name).stale]:
        warnings.warn(f"published/results.zip: code has moved on for {', '.join(moved)}", stacklevel=1)


def encrypted(content: bytes) -> bytes:
    """A zip whose entries say that they are encrypted."""
    changed = bytearray(content)
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = -1
        while (position := content.find(mark, position + 1)) >= 0:
            changed[position + flags] |= 1
    return bytes(changed)


def record_of(header: str) -> tuple[str, bytes]:
    """A record with that header, and its name inside an export: its hash is right, whatever else is not."""
    text = json.dumps({"__metadata__": {"record": header}}).encode()
    content = len(text).to_bytes(8, "little") + text
    return f"measured/abc-{store.digest_of(content)}.safetensors", content


DEEP = "[" * 100_000


@pytest.mark.parametrize("header", [DEEP, "[]", "{}", '{"format": 1}', "no JSON"])
def test_a_record_that_is_none_is_refused_and_set_aside(header, fresh, capsys):
    name, content = record_of(header)
    with zipfile.ZipFile(fresh / "a.zip", "w") as archive:
        archive.writestr(name, content)
    assert main(["import", str(fresh / "a.zip")]) == 2
    said = capsys.readouterr().err
    assert "which is no result" in said and said.count("\n") == 1
    path = fresh / "results" / name  # as if somebody had copied it there
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert main(["list"]) == 0
    assert "is damaged: set aside" in capsys.readouterr().err and not path.exists()


def test_an_encrypted_or_torn_export_is_one_line(fresh, capsys):
    with zipfile.ZipFile(fresh / "whole.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(*record_of("x" * 1000))
    content = (fresh / "whole.zip").read_bytes()
    for torn in (encrypted(content), content[:100], content[:-30], b"", b"PK\x03\x04"):
        (fresh / "a.zip").write_bytes(torn)
        assert main(["import", str(fresh / "a.zip")]) == 2
        said = capsys.readouterr().err
        assert "a.zip" in said and said.count("\n") == 1
    assert not (fresh / "results").exists()


def test_every_flipped_byte_of_an_export_is_refused(fresh):
    """Either the zip is unreadable, or a record's bytes are not those that its name stands for; or nothing changed."""
    main(["run", "02"])
    path = fresh / "a.zip"
    main(["export", str(path)])
    content, right = path.read_bytes(), store.exported(path)
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 0x55
        path.write_bytes(damaged)
        try:
            assert store.exported(path) == right, position  # a time or a comment of the zip
        except UsageError:
            pass

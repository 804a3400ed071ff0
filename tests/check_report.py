"""The rendered book in a real browser: `make check-report`, after `make report`. Not part of `make test`.

Every page is opened at the width of a desk (light) and of a phone (dark), with the web out of reach. Whatever a reader
would stumble over is a fault: an error in the console, a missing image, a page that scrolls sideways, a link or
reference that leads nowhere, a request to the web, and what axe-core finds against WCAG AA or in the order of headings.
"""

from __future__ import annotations

import functools
import http.server
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest

from rankstudy.book import render

api = pytest.importorskip("playwright.sync_api", reason="the browser walk needs playwright: pip install -e '.[check]'")
axe = pytest.importorskip("axe_playwright_python.base", reason="it needs axe-core too: pip install -e '.[check]'")

BOOK = Path(os.environ.get("RANKSTUDY_BOOK", Path(__file__).parents[1] / "_book")).resolve()
SCHEMES = {1280: "light", 390: "dark"}  # width in CSS pixels -> colours
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")  # else playwright's own
AXE = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]},
    "rules": {"heading-order": {"enabled": True}},
    "resultTypes": ["violations"],
}
LOOK = """async () => {
    const images = [...document.images], width = document.documentElement.clientWidth;
    await Promise.all(images.map(image => image.decode().catch(() => {})));
    const scrolls = e => e && e !== document.documentElement
        && (getComputedStyle(e).overflowX !== 'visible' || scrolls(e.parentElement));
    const wide = [...document.querySelectorAll('main *')]
        .filter(e => e.getBoundingClientRect().right > width + 1 && !scrolls(e.parentElement));
    const torn = e => [...e.childNodes].some(node => {  // a word on three lines or more
        if (node.nodeType !== Node.TEXT_NODE || e.offsetWidth < 2) return false;  // for screen readers alone
        return [...node.data.matchAll(/[^\\s-]{4,30}/g)].some(found => {
            const range = document.createRange();
            range.setStart(node, found.index);
            range.setEnd(node, found.index + found[0].length);
            const boxes = [...range.getClientRects()].filter(box => box.width > 1);
            return new Set(boxes.map(box => Math.round(box.top))).size > 2;
        });
    });
    return {
        torn: [...document.querySelectorAll('main *')].filter(torn).map(e => e.textContent.slice(0, 40)),
        missing: images.filter(image => !image.naturalWidth).map(image => image.src),
        wide: document.documentElement.scrollWidth > width ? wide.slice(0, 3).map(e => e.outerHTML.slice(0, 90)) : null,
        links: [...document.querySelectorAll('a[href]')].map(link => link.href),
    };
}"""


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    with api.sync_playwright() as playwright:
        installed = next(filter(None, map(shutil.which, BROWSERS)), None)
        try:
            found = playwright.chromium.launch(executable_path=installed)
        except api.Error as error:
            pytest.skip(f"no browser for the walk, try `playwright install chromium`: {str(error).splitlines()[0]}")
        yield found
        found.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which the folder is served: browsers run no modules and search no index from disk."""
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    with served(BOOK) as address:
        yield address


@functools.cache
def anchors(page: Path) -> set[str]:
    return set(re.findall(r"""\s(?:id|name)=["']([^"']+)""", page.read_text(encoding="utf-8")))


def lands(folder: Path, link: str) -> bool:
    """Whether a link below the folder's address arrives, at its anchor too; a folder stands for its index.html."""
    name, _, anchor = link.partition("#")
    path = folder / unquote(name).lstrip("/")
    path = path / "index.html" if path.is_dir() else path
    return path.is_file() and (not anchor or unquote(anchor) in anchors(path))


def faults(browser: object, folder: Path, site: str, name: str, width: int, audit: bool = True) -> list[str]:
    """What is wrong with a page of the folder, opened below the address `site`, one line each; `audit` asks axe-core.

    Without it the page may come from disk, where the browser itself complains in the console: that is left out."""
    found = []
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=SCHEMES[width])

    def near(route: object) -> None:
        if route.request.url.startswith((site, "data:", "blob:")):
            return route.continue_()
        found.append(f"asks the web for {route.request.url}")
        route.abort()

    page.route("**/*", near)
    if audit:
        page.on("console", lambda said: said.type == "error" and found.append(f"console: {said.text}"))
        page.on("pageerror", lambda error: found.append(f"script: {error}"))
    try:
        page.goto(f"{site}/{name}")
        seen = page.evaluate(LOOK)
        found += [f"missing image: {image}" for image in seen["missing"]]
        found += [f"torn to letters: {text}" for text in seen["torn"]]
        found += [f"scrolls sideways: {seen['wide']}"] if seen["wide"] is not None else []
        own = sorted({link for link in seen["links"] if link.startswith(site)})
        found += [f"dead link: {link}" for link in own if not lands(folder, link.removeprefix(site))]
        if audit:
            page.evaluate(axe.AXE_SCRIPT)
            for violation in page.evaluate("options => axe.run(options)", AXE)["violations"]:
                for node in violation["nodes"]:
                    why = " ".join(node.get("failureSummary", "").partition(":")[2].split())
                    found.append(f"{violation['id']}: {' '.join(map(str, node['target']))}: {why}")
    finally:
        page.close()
    return list(dict.fromkeys(found))


PAGES = [page.relative_to(BOOK).as_posix() for page in sorted(BOOK.rglob("*.html"))]


def test_the_book_is_there_and_every_reference_in_it_is_resolved():
    assert (BOOK / "index.html").is_file(), f"no book in {BOOK}: `make report` makes it"
    render.check(BOOK)


@pytest.mark.parametrize("width", SCHEMES)
@pytest.mark.parametrize("name", PAGES)
def test_a_reader_stumbles_over_nothing(browser, site, name, width):
    assert faults(browser, BOOK, site, name, width) == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opened_from_disk_is_whole_and_asks_nobody(browser, name):
    assert faults(browser, BOOK, BOOK.as_uri(), name, 1280, audit=False) == []


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="no pdftotext")
def test_no_page_of_the_pdf_is_blank():
    (pdf,) = BOOK.glob("*.pdf")
    pages = subprocess.run(["pdftotext", pdf, "-"], capture_output=True, text=True, check=True).stdout.split("\f")[:-1]
    assert pages and [number for number, page in enumerate(pages, 1) if not re.search("[A-Za-z]{3}", page)] == []


def words(page: str) -> list[tuple[float, float, float, float, str]]:
    """Left, top, right, bottom and text of the words of a page as `pdftotext -bbox` writes it, from left to right."""
    sides = " ".join(f'{side}="([-\\d.]+)"' for side in ("xMin", "yMin", "xMax", "yMax"))
    return sorted((*map(float, found[:4]), found[4]) for found in re.findall(rf"<word {sides}>(.*?)</word>", page))


def crowded(page: str) -> list[tuple[str, str]]:
    """Pairs of words on one line of which one stands on the other, and words beyond the page's edge."""
    found = []
    width = float(re.search(r'width="([\d.]+)"', page)[1])
    shown = words(page)
    for index, (_, top, right, bottom, word) in enumerate(shown):
        if right > width:
            found.append((word, "the edge"))
        for left, other_top, _, other_bottom, other in shown[index + 1 :]:
            if left > right - 1.5:  # points
                break
            if abs(top + bottom - other_top - other_bottom) < 0.6 * (bottom - top):
                found.append((word, other))
    return found


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="no pdftotext")
def test_no_word_of_the_pdf_stands_on_another():
    """A table too wide for its page prints its cells into each other, and says nothing."""
    (pdf,) = BOOK.glob("*.pdf")
    found = subprocess.run(["pdftotext", "-bbox", pdf, "-"], capture_output=True, text=True, check=True).stdout
    pages = found.split("<page ")[1:]
    assert {number: pairs for number, page in enumerate(pages, 1) if (pairs := crowded(page))} == {}


def test_search_finds_a_chapter(browser, site):
    page = browser.new_page()
    page.goto(f"{site}/index.html", wait_until="networkidle")
    page.keyboard.press("/")
    page.keyboard.type("Sylvester", delay=20)
    page.locator('.aa-Item a[href*="03-rank"]').first.wait_for(timeout=10_000)
    page.close()

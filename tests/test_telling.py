"""Pages are told truly: their sentences follow the verdicts, their open cells run, what says a direction is bound."""

from __future__ import annotations

import ast
import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
import numpy as np
import pypandoc
import pytest

from rankstudy.book import claims, display, notebook, preview
from rankstudy.rank import eliminate, rank_tolerance
from rankstudy.study import questions
from tests import page_checks

ROOT = Path(__file__).parents[1]
FILTER = ROOT / "report" / "styles" / "telling.lua"
EVIDENCE = (
    "01-data",
    "02-training",
    "03-rank",
    "04-overfitting",
    "05-approximation",
    "06-low-rank-training",
    "08-lora",
)
APPENDICES = ("report/09-intrinsic-dimension.qmd", *(f"report/evidence/{page}.qmd" for page in EVIDENCE))
PAGES = [*page_checks.DONE, *APPENDICES]  # told on the new layer
VERDICT = {
    "verdict": "supported",
    "sentence": "Rank *falls* with depth.",
    "summary": "−3.1 ± 0.9, n = 5",
    "page": "evidence/03-rank",
    "anchor": "claim-x",
}


def told(**changes: str | bool) -> str:
    claim = VERDICT | changes
    claim |= {"word": claim["verdict"].capitalize()}
    content = {"claims": {"x": claim}, "provenance": "Profile full · MNIST", "warning": ""}
    return f"::: {{.told}}\n````{{.json}}\n{json.dumps(content)}\n````\n:::\n\n"


def rendered(text: str, to: str = "html") -> str:
    command = [pypandoc.get_pandoc_path(), "-f", "markdown", "-t", to, "--wrap=none", "--lua-filter", str(FILTER)]
    done = subprocess.run(command, input=text, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def visible(page: str) -> str:
    """What is read on a page of HTML."""
    page = re.sub(r"<(style|script|annotation|svg)\b.*?</\1>", " ", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).replace("\u00a0", " ").split())


@pytest.mark.parametrize(
    "place",
    [
        'Before. [**It falls:** deeper layers are lower.]{{claim="x"}} After.',
        '::: {{#fig-a}}\n![](a.png)\n\n[**It falls:** deeper layers are lower.]{{claim="x"}}\n:::',
        '::: {{.short-answer task="3"}}\nWhat?\n:   [**It falls:** deeper layers are lower.]{{claim="x"}}\n:::',
        '# [**It falls:** deeper layers are lower.]{{claim="x"}}',
    ],
)
def test_a_bound_sentence_is_printed_under_its_verdict_alone(place):
    place = place.format()
    seen = visible(rendered(told() + place))
    assert "It falls: deeper layers are lower. ✓" in seen and "Hypothesis" not in seen
    for verdict in ("refuted", "inconclusive"):
        seen = visible(rendered(told(verdict=verdict) + place))
        assert "deeper layers are lower" not in seen and "It falls" not in seen
        assert f"Hypothesis: Rank falls with depth. {verdict.capitalize()} (−3.1 ± 0.9, n = 5)." in seen


def test_a_sentence_can_be_written_for_another_verdict_and_a_number_can_carry_the_mark_alone():
    text = '[It rises.]{claim="x" when="refuted"} It changes by 2[]{claim="x"} a layer.'
    seen = visible(rendered(told(verdict="refuted") + text))
    assert "It rises. (expected otherwise)" in seen and "changes by 2 (expected otherwise) a layer" in seen
    assert "It rises" not in visible(rendered(told() + text))


def test_a_sentence_can_be_written_for_an_effect_that_is_only_too_small():
    page = '[They are alike.]{claim="x" when="small"}'
    assert "They are alike." in visible(rendered(told(verdict="refuted", small=True) + page))
    for other in ({"verdict": "refuted", "small": False}, {"verdict": "supported"}, {"verdict": "inconclusive"}):
        assert "They are alike." not in visible(rendered(told(**other) + page))


def test_a_mark_leads_to_the_evidence_and_says_why():
    page = rendered(told() + '[It falls.]{claim="x"}')
    assert 'href="evidence-03-rank.html#claim-x"' in page
    assert 'data-tip="Supported: −3.1 ± 0.9, n = 5"' in page and "aria-label=" in page


def test_a_sentence_bound_to_nothing_is_an_error():
    with pytest.raises(RuntimeError, match="no claim has the id 'y'"):
        rendered(told() + '[It falls.]{claim="y"}')


def test_a_link_to_a_claim_leads_to_its_evidence():
    page = rendered(told() + '```{=html}\n<a href="claim:x">x</a> <a href="claims.html">other</a>\n```')
    assert '<a href="evidence-03-rank.html#claim-x">x</a> <a href="claims.html">' in page
    with pytest.raises(RuntimeError, match="no claim has the id 'y'"):
        rendered(told() + '```{=html}\n<a href="claim:y">y</a>\n```')


def test_provenance_ends_the_page_wherever_it_was_told():
    seen = visible(rendered("# One\n\n" + told() + "Text.\n\n## Two\n\nMore."))
    assert seen.endswith("More. Profile full · MNIST")
    whole = rendered(told() + "Text.\n\n# Next chapter\n\nMore.", "plain")  # the PDF is one document
    assert whole.index("Text.") < whole.index("Profile full") < whole.index("Next chapter")
    assert visible(rendered("::: {.provenance}\nOld *way*\n:::\n\nText.")) == "Text. Old way"


def test_numbers_and_terms_can_be_reached_by_keyboard_and_read_aloud():
    page = rendered('[67 %]{.number data-tip="67.1 ± 0.2 %"} of [rank]{.term def="A \\"count\\"."}')
    assert page.count('tabindex="0"') == 2 and "(67.1 ± 0.2 %)" in visible(page)
    assert 'data-tip="A &quot;count&quot;."' in page
    pdf = rendered('[67 %]{.number data-tip="67.1 ± 0.2 %"} of [rank]{.term def="A count."}', "typst")
    assert "67.1" not in pdf and "#footnote[A count.]" in pdf


def test_an_answer_folds_on_the_page_and_is_printed_in_the_pdf():
    text = "::: {.answer}\nIt is 5.\n:::"
    assert re.search(
        r"<details class=\"answer\"><summary>Answer</summary>\s*<p>It is 5.</p>\s*</details>", rendered(text)
    )
    assert "It is 5." in rendered(text, "typst")


@pytest.mark.parametrize("text", ["98 %", "3 ± 2", "12 MB", "n = 5", "τ = 0.5", "W − W₀", "Task 3", "p = 0.01"])
def test_numbers_are_not_torn_from_their_units(text):
    assert text.replace(" ", "\u00a0") in html.unescape(rendered(f"It is {text}, and more."))


def test_a_figures_text_goes_onto_its_panels():
    page = rendered(
        '::: {#fig-a fig-alt="Two \\"curves\\", 5 % apart."}\n```{=html}\n<div class="panels"></div>\n```\n\nC.\n:::'
    )
    assert 'class="panels" role="img" aria-label="Two &quot;curves&quot;, 5 % apart."' in page


# pages


def book(folder: Path) -> Path:
    """The book with the pages told on the new layer; of the others only the headings that these may lead to."""
    shutil.copytree(ROOT / "report", folder / "report")
    shutil.copy(ROOT / "_quarto.yml", folder)
    for name in ("index.qmd", "tutorial.ipynb"):
        shutil.copy(ROOT / name, folder)
    for page in notebook.listed(folder):
        if page.relative_to(folder).as_posix() not in PAGES:
            text = page.read_text(encoding="utf-8")
            page.write_text("\n\n".join(re.findall(r"^#+ .*\{#sec-.*$", text, re.M)) or "# Other\n", encoding="utf-8")
    return folder


def bound(text: str) -> list[tuple[str, str]]:
    """(sentence, claim) of each bound sentence of a page's source that has words; inline numbers are `{python} N`."""
    text = notebook.CODE.sub(lambda match: "`{python} N`" if match["inline"] else "", text)
    found = re.findall(r"\[((?:[^\[\]]|\[[^\[\]]*\](?:\{[^}]*\})?)+)\]\{claim=\"([\w-]+)\"\}", text)
    return [(sentence, claim) for sentence, claim in found if re.search(r"[a-z]{3}", sentence)]


def test_a_bound_sentence_is_a_whole_one():
    """Under another verdict a hypothesis stands in its place, and ends as a sentence does."""
    pages = [path.read_text(encoding="utf-8") for path in notebook.listed(ROOT)]
    found = [words for page in pages for words, _ in bound(re.sub(r' when="[^"]*"', "", page))]
    assert len(found) > 100
    assert [words for words in found if not words.rstrip("*").endswith((".", "?", "!"))] == []


def _told_alone(match: re.Match[str]) -> str:
    """A cell that gives the page its verdicts, as it is; no other one, and a letter for an inline number."""
    if match["inline"]:
        return "N"
    return match[0] if "told.page(" in match[0] else ""


def told_here(paths: Sequence[Path]) -> list[nbformat.NotebookNode]:
    """As `notebook.execute_all` pages that only `_told_alone` is left of, without a kernel for each."""
    books = [notebook.read(path) for path in paths]
    for cell in (cell for book in books for cell in book.cells if cell.cell_type == "code"):
        *before, last = ast.parse(cell.source).body
        names: dict = {}
        exec(compile(ast.Module(before, []), cell.metadata.where, "exec"), names)
        said = eval(compile(ast.Expression(last.value), cell.metadata.where, "eval"), names)
        cell.execution_count = 1
        cell.outputs = [nbformat.v4.new_output("display_data", {"text/markdown": said._repr_markdown_()})]
    return books


def previewed(folder: Path, verdict: str, chosen: Sequence[str] = ()) -> dict[str, str]:
    """The pages as a reader sees them where every claim has that verdict. What depends on none is left out for time."""
    for page in PAGES:
        sentences = notebook.CODE.sub(_told_alone, (folder / page).read_text(encoding="utf-8"))
        (folder / page).write_text(sentences, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_PROFILE", "published")
        patch.setenv(claims.PLANT, verdict)
        patch.setenv(display.PAGE, "1")
        patch.setattr(preview, "execute_all", told_here)
        patch.setattr(preview.handout, "write", lambda *_: None)
        preview.preview(folder, folder / "_preview", chosen)
    return read(folder / "_preview")


def read(folder: Path) -> dict[str, str]:
    return {page: visible((folder / preview.page_of(Path(page))).read_text(encoding="utf-8")) for page in PAGES}


@pytest.mark.skipif(not questions.PUBLISHED.exists(), reason="nothing is published yet")
def test_every_page_can_be_read_without_torch(published_book):
    """A chapter that asks for what an older result has not got would leave the reader with no book at all."""
    pages = {page.stem for page in (published_book / "_preview").glob("*.html")}
    assert pages == {Path(preview.page_of(path)).stem for path in notebook.listed(ROOT)}
    assert not (published_book / "results").exists()


@pytest.mark.parametrize("page", PAGES)
def test_every_number_of_the_published_book_is_one(published_book, page):
    text = (published_book / "_preview" / preview.page_of(Path(page))).read_text(encoding="utf-8")
    assert "no value" not in text and not re.search(r"(?<![A-Za-z])nan(?![A-Za-z])", text, re.I)
    assert "This is not MNIST" not in text and "rofile full" in text


@pytest.fixture(scope="module", params=["", *claims.VERDICTS])
def shown(request, tmp_path_factory):
    """The pages under the verdicts of the published results, and under each verdict for all claims."""
    if request.param:
        return request.param, previewed(book(tmp_path_factory.mktemp("book")), request.param)
    return "", read(request.getfixturevalue("published_book") / "_preview")


def computed(text: str) -> str:
    """A page's source without what rests on controls that are not published."""
    missing = "|".join(name for name in questions.CONTROLS if name not in questions.published()) or "none"
    return re.sub(rf'^(:{{3,}}) \{{\.control[^}}\n]*of="(?:{missing})"\}}\n.*?^\1\n', "", text, flags=re.M | re.S)


def pieces(sentence: str) -> list[str]:
    """The words of a sentence as they will stand on the page, between its inline numbers and references."""
    sentence = notebook.CODE.sub("\n", sentence)
    sentence = re.sub(r"@[\w-]+|\]\{[^}]*\}|[*\[]", "\n", sentence)
    return [part.strip(" ,.:;'’") for part in sentence.split("\n") if len(part.split()) >= 3]


@pytest.mark.parametrize("page", PAGES)
def test_no_sentence_stands_under_a_verdict_it_was_not_written_for(shown, page):
    verdict, pages = shown
    sentences = bound(computed((ROOT / page).read_text(encoding="utf-8")))
    assert sentences or page in APPENDICES
    for sentence, claim in sentences:
        for part in sorted(pieces(sentence), key=len)[None if verdict == "supported" else -1 :]:
            if verdict != "supported" and len(part.split()) < 4:
                continue  # so few words stand elsewhere, too
            if verdict == "supported":
                assert part.replace("'", "’") in pages[page].replace("'", "’"), (claim, part)
            elif verdict:
                assert part.replace("'", "’") not in pages[page].replace("'", "’"), (claim, part)


DIRECTIONS = re.compile(
    r"\b(?:lower|higher|fewer|smaller|larger|more|less|rises?|rose|falls?|fell|grows?|shrinks?|increases?|decreases?"
    r"|lifts?|above|below|beats?|best|worst|better|worse|faster|slower|outperforms?|exceeds?|no effect|full rank"
    r"|concentrated)\b",
    re.I,
)
NEUTRAL = {  # sentences with such a word that say nothing about a result, or something a test of its own checks
    "index.qmd": (
        "Train a plain ReLU network to 95 % or more.",  # the assignment's questions
        "How does the rank increase as we go to deeper layers?",
        "How good is it on average as you increase r?",
        "Does it converge faster or slower?",
        "Each answer above leads to its chapter",
    ),
    "report/01-data.qmd": ("has no higher rank than that, whatever was learned",),  # mathematics
    "report/02-training.qmd": ("on the machine named below",),  # at the foot of the page
    "report/evidence/01-data.qmd": ("in one run on the device named below",),
    "report/03-rank.qmd": (
        "subtracts from every row below it",
        "A full rank says little: any random matrix has it.",  # mathematics
        "so it has to exceed a tolerance",
        "The random start has full rank.",  # mathematics
        "would have to end below the tolerance",
        "is the best one near W",  # Eckart and Young
        "counts one less",
        "does so more strictly",
        "Each pivot and each singular value of this matrix stands above the tolerance: it has full rank.",  # as tested
        "What is the rank of a trained network",
        "How does the rank increase as we go to deeper layers?",  # the assignment's question
        "and small ones as less",  # a definition
        "a tolerance just above it",
        "what training adds concentrated",
        "singular values above τ",
    ),
    "report/04-overfitting.qmd": (
        "How does the rank increase as we go to deeper layers?",  # the assignment's question
        "Every network does better on the images that it was trained on.",
        "if it was better before",  # a definition
        "above the lowest that it had after any epoch",  # likewise
        "Does memorising take more directions?",
        "a random start has full rank",  # mathematics
        "to the end by N of full rank",
        "Does weight decay, the textbook’s remedy, lower it?",
        "if its test *accuracy* ended below its best",  # a definition
        "The best of several epochs is never below the last one",  # of any numbers
        "How low can weight decay alone push a rank?** A step",
        "No rank exceeds the smaller side of its matrix",  # mathematics
    ),
    "report/evidence/04-overfitting.qmd": (
        "Shares: entropy rank of W − W₀ in per cent of full rank",
        "at equal distance, less that without decay",
        "it was above the width for each that learned",
    ),
    "report/05-approximation.qmd": (
        "How good is it on average as you increase r?",  # the assignment's question
        "how far it is above that, as a share of it",  # a definition
        "it allows N more errors",  # arithmetic
        "where you know what the matrix is used for: the inputs, as above",
        "Each is the best of its rank in its own norm",  # Eckart and Young
    ),
    "report/07-conclusions.qmd": (
        "Each has a limit, named below.",
        "The cells below check it.",
        "A random matrix has full rank.",  # mathematics
        "Why full rank?",
        "Why is the update concentrated?",
        "Is it the low rank, or only the number of parameters?",
        "maps the unit circle to an ellipse (@fig-conclusions-ellipse), in more dimensions",
        "The best it can do is to spend",  # Eckart and Young
        "is the best matrix with that column space",
        "For a dense matrix of moderate size the SVD is simply better.",
        "Gradients projected to low rank shrink",  # as published
        "How far is its product from `best`?",
        "Add noise to `best`, a matrix of rank 32",
        "Which rank comes nearest to `best` again?",
        "it is better to give them up",  # its test is below
        "How far is `best` off in it?",
        "No matrix of that rank does better in this norm either.",  # Mirsky
    ),
    "report/09-intrinsic-dimension.qmd": (
        "can have full rank in every layer",  # mathematics
        "Does pre-training lower",  # what is asked
        "smaller initial weights, a falling learning rate and fewer epochs",  # settings
        "For a larger network and all images the authors report",
        "since less is left to learn",
    ),
    "report/06-low-rank-training.qmd": ("Does it converge faster or slower?",),  # the assignment's question
    "report/08-lora.qmd": ("says that LoRA forgets less, its section",),  # somebody else's title
    "report/evidence/05-approximation.qmd": ("the largest rank compared below the effective one",),
    "report/evidence/03-rank.qmd": (
        "A singular value above the 95 % quantile",
        "singular values above $\\tau$",
        "Pivots and singular values above the tolerance in",
        "it counts the singular values above what rounding",
        "exceeds $\\sigma_1$ and means nothing",
        "In transformers the smallest singular values were found to matter more",  # published
    ),
}


def unbound(text: str, neutral: tuple[str, ...] = ()) -> list[str]:
    """Sentences of a page's source that say a direction and are bound to no hypothesis."""
    text = notebook.CODE.sub(lambda match: "N" if match["inline"] else "", text)
    text = re.sub(r"^(```+).*?^\1 *$", "", text, flags=re.M | re.S)
    text = re.sub(r"\[(?:[^\[\]]|\[[^\[\]]*\](?:\{[^}]*\})?)*\]\{claim=[^}]*\}", "", text)
    text = re.sub(r"\[([^\[\]]*)\]\{\.term[^}]*\}", r"\1", text)
    text = re.sub(r"^:::.*$|\{#[^}]*\}", "", text, flags=re.M)
    for phrase in neutral:
        text = re.sub(re.escape(phrase), "", text, flags=re.I)
    sentences = re.split(r"(?<=[.?!])\s+|\n\s*\n", text)
    return [" ".join(each.split()) for each in sentences if DIRECTIONS.search(each)]


@pytest.mark.parametrize("page", PAGES)
def test_what_says_a_direction_is_bound(page):
    assert unbound((ROOT / page).read_text(encoding="utf-8"), NEUTRAL.get(page, ())) == []


@pytest.mark.parametrize(
    "planted", ["The rank falls with depth.", "**It rises.** And so on.", "W has a lower rank than\nW₀."]
)
def test_an_unbound_direction_is_found(planted):
    assert unbound(f"# Title\n\nText. {planted}\n") != []
    assert unbound(f'# Title\n\nText. [{planted}]{{claim="x"}}\n') == []


@pytest.mark.parametrize("page", page_checks.DONE)
def test_a_page_that_is_done_keeps_within_the_limits(page):
    assert page_checks.beyond(page, (ROOT / page).read_text(encoding="utf-8")) == []


def test_a_page_beyond_the_limits_is_noticed():
    text = (ROOT / "report" / "03-rank.qmd").read_text(encoding="utf-8")
    for planted, fault in (
        ("Word " * 1000, "words"),
        ("It is 3 ± 1.", "±"),
        ("From 1 to 2, 3 and 4.", "numbers"),
        ("::: {#fig-x}\n:::\n" * 3, "figures"),
        ('```{python}\n#| code-fold: false\nprint("' + 70 * "x" + '")\n```', "columns"),
        ("```{python}\n#| code-fold: false\nx = 1\n```", "public"),
    ):
        assert any(fault in each for each in page_checks.beyond("report/03-rank.qmd", f"{text}\n\n{planted}\n"))
    assert any("short answer" in each for each in page_checks.beyond("report/03-rank.qmd", "# Title\n\nText."))


@pytest.mark.parametrize(
    "page", [each for each in page_checks.DONE if page_checks.open_cells((ROOT / each).read_text(encoding="utf-8"))]
)
def test_open_cells_run_alone_in_order_and_print_what_the_page_prints(page, tmp_path, published_book, monkeypatch):
    monkeypatch.setenv("RANKSTUDY_PROFILE", "published")
    text = (ROOT / page).read_text(encoding="utf-8")
    program = "\n".join(page_checks.open_cells(text)) + "\nimport sys\nassert 'torch' not in sys.modules\n"
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = (published_book / "_preview" / preview.page_of(Path(page))).read_text(encoding="utf-8")
    printed = re.findall(r"<pre><code>(.*?)</code></pre>", shown, re.S)
    lines = (line for block in printed for line in html.unescape(block).splitlines())
    assert [line for line in done.stdout.splitlines() if line] == [line for line in lines if line] != []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_no_loop_and_no_definition(page):
    kinds = (
        ast.For,
        ast.While,
        ast.FunctionDef,
        ast.ClassDef,
        ast.Lambda,
        ast.ListComp,
        ast.DictComp,
        ast.GeneratorExp,
    )
    for _, code in page_checks.cells((ROOT / page).read_text(encoding="utf-8")):
        assert not [node for node in ast.walk(ast.parse(code)) if isinstance(node, kinds)], code


def test_the_book_package_holds_no_prose():
    """Strings of eight words or more are hypotheses, errors, docstrings or what a reader is shown as a label."""
    labels = {"told.py": ("This is not MNIST", "A quick run")}  # printed beside a result, whatever it is
    templates = {"published.py", "images.py", "drawing.py", "explorer.py"}  # what papers measured; markup
    makers = ("preview", "render", "readme", "notebook", "handout", "tutorial")  # they make pages, and fill none
    tools = {f"{name}.py" for name in makers}
    for path in sorted((ROOT / "rankstudy" / "book").rglob("*.py")):
        if path.name in templates | tools:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        allowed = set()
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
                allowed.add(id(node.body[0].value))
            if isinstance(node, ast.Raise) or (
                isinstance(node, ast.Call) and getattr(node.func, "id", "") == "hypothesis"
            ):
                allowed |= {id(each) for each in ast.walk(node)}
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Constant) and isinstance(node.value, str)) or id(node) in allowed:
                continue
            words = [word for word in node.value.split() if re.search(r"[A-Za-z]{2}", word)]
            known = any(node.value.startswith(start) for start in labels.get(path.name, ()))
            assert len(words) < 8 or known, f"{path.name}: {node.value!r}"


def test_a_chapter_that_is_not_executed_is_shown_without_verdicts(tmp_path):
    pages = previewed(book(tmp_path), "supported", ["index"])
    assert "As high as it can be." in pages["report/03-rank.qmd"] and "✓" not in pages["report/03-rank.qmd"]
    assert "✓" in pages["index.qmd"]


def test_what_chapter_3_says_of_the_example_network_s_inputs():
    """Random errors on its inputs, untrained or trained, make an update of fewer directions than the start has."""
    from rankstudy import example_network
    from rankstudy.spectrum import effective_rank, input_baseline

    network = example_network()
    for layer in range(3):
        start = effective_rank(network.initial[layer])
        for inputs in (network.inputs_before[layer], network.inputs_after[layer]):
            made = effective_rank(input_baseline(inputs, network.trained[layer].shape[0]))
            assert made.mean() + 2 * made.std() < start


def test_what_chapter_7_says_of_its_cells():
    """No direction is stretched further than σ₁, no competitor comes nearer than the truncated SVD, alternating updates
    reach it, and strong noise leaves the nearest rank below the signal's."""
    page = (ROOT / "report/07-conclusions.qmd").read_text(encoding="utf-8")
    names: dict = {}
    exec("\n".join(page_checks.open_cells(page)), names)
    assert np.linalg.norm(names["W"] @ names["x"], axis=0).max() < names["sigma"][0]
    assert names["errors"].shape == (200,) and names["errors"].min() > 1 - 1e-12
    assert 0 <= names["fit"].gap < 1e-3
    weak, strong = names["off"].argmin(axis=1) + 1
    assert weak == names["r"] > strong


def test_what_chapter_3_says_of_pivoting():
    """What goes wrong is partial pivoting at elimination's own tolerance; above τ the same pivots are right."""
    random = np.random.default_rng(0)
    for shape, rank in (((512, 392), 250), ((1024, 784), 500)):
        a = random.normal(size=(shape[0], rank)) @ random.normal(size=(rank, shape[1]))
        tau = rank_tolerance(a)
        assert eliminate(a, pivoting="partial").rank > rank == eliminate(a).rank
        assert eliminate(a, pivoting="partial", tol=tau).rank == rank and eliminate(a).tolerance < tau

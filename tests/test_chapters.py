"""Chapters 1, 2 and 7 and the home page: computed under smoke, drawn, claimed. (The others have files of their own.)"""

from __future__ import annotations

import pytest

from rankstudy import claims
from rankstudy.chapters import data, training
from rankstudy.chapters.common import banner
from rankstudy.experiments import study


@pytest.fixture(scope="module", autouse=True)
def smoke(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKSTUDY_RESULTS", str(tmp_path_factory.mktemp("results")))
        patch.setenv("RANKSTUDY_PROFILE", "smoke")
        yield


@pytest.mark.parametrize("module", [data, training])
def test_a_chapter_has_text_figures_and_claims(module):
    chapter = module.Chapter()
    assert all(isinstance(text, str) and text for text in chapter.text.values())
    for claim in chapter.claims():
        assert claim.verdict in claims.VERDICTS and claim.evidence
    for name in ("examples", "counts", "mean_picture", "curves", "accuracies", "tuning"):
        if hasattr(chapter, name):
            getattr(chapter, name)()


def test_the_stand_in_is_said_on_the_page():
    assert "This is not MNIST" in banner(study.result("data"))


def test_a_claim_flips_with_its_data():
    """Lower one network's stored accuracy below the target: sentence and verdict change."""
    chapter = training.Chapter()
    accuracy = chapter.history["test_accuracy"].copy()
    accuracy[:, -1] = 0.96
    chapter.history = {**chapter.history, "test_accuracy": accuracy}
    (before,) = chapter.claims()
    assert before.verdict == "holds" and "at least 95 %" in before.sentence
    accuracy[0, -1] = 0.94
    (after,) = chapter.claims()
    assert after.verdict == "fails" and "Not every network" in after.sentence

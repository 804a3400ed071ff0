"""A claim prints the sentence that its data bear out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rankstudy.book.chapters import statements as claims
from rankstudy.book.stats import Estimate, estimate

SENTENCES = {"holds": "It does.", "fails": "It does not.", "open": "Who knows."}


@pytest.mark.parametrize(
    ("effect", "above", "verdict"),
    [
        (Estimate(2.0, 1.0, 5), True, "holds"),
        (Estimate(-2.0, 1.0, 5), True, "fails"),
        (Estimate(0.5, 1.0, 5), True, "open"),
        (Estimate(-2.0, 1.0, 5), False, "holds"),
        (Estimate(2.0, 1.0, 5), False, "fails"),
        (estimate([2.0]), True, "open"),
        (Estimate(1.0, 1.0, 5), True, "open"),
    ],
)
def test_the_interval_decides(effect, above, verdict):
    found = claims.compare("a", effect, above=above, evidence="n", **SENTENCES)
    assert found.verdict == verdict and found.sentence == SENTENCES[verdict]


def test_every_network_or_none():
    assert claims.every("a", [True, True], holds="All.", fails="Not all.", evidence="n").verdict == "holds"
    assert claims.every("a", [True, False], holds="All.", fails="Not all.", evidence="n").sentence == "Not all."
    alone = claims.every("a", [True], holds="All.", fails="Not all.", evidence="n")
    assert alone.verdict == "open" and "too few" in alone.sentence


def test_correction_turns_a_lucky_claim_open():
    lucky = claims.Claim("a", "holds", "A.", "n", confirmatory=True, p=0.04)
    sure = claims.Claim("b", "holds", "B.", "n", confirmatory=True, p=0.001)
    descriptive = claims.Claim("c", "holds", "C.", "n", p=0.04)
    found = {claim.name: claim for claim in claims.corrected([lucky, sure, descriptive])}
    assert [found[name].verdict for name in "abc"] == ["holds", "holds", "holds"]
    other = claims.Claim("d", "holds", "D.", "n", confirmatory=True, p=0.03)
    unlucky = replace(lucky, otherwise="Who knows about A.")
    found = {claim.name: claim for claim in claims.corrected([unlucky, sure, other])}
    assert found["a"].sentence == "Who knows about A."
    assert (found["a"].verdict, found["b"].verdict, found["d"].verdict) == ("open", "holds", "open")
    assert "Holm" in found["a"].evidence


def test_markdown_shows_verdict_sentence_and_evidence():
    text = claims.markdown([claims.Claim("a", "fails", "It does not.", "n = 3")])
    assert text == "- **✗ expected otherwise.** It does not. *(n = 3)*"


def test_p_is_of_the_threshold_that_was_asked_about():
    """Against the same question shifted to zero: mean and threshold 2 lower."""
    values = np.array([2.1, 2.4, 1.9, 2.6])
    words = {"holds": "yes", "fails": "no", "open": "who knows", "evidence": "n = 4"}
    shifted = claims.compare("a", estimate(values - 2), **words)
    assert claims.compare("a", estimate(values), 2.0, **words).p == pytest.approx(shifted.p, rel=1e-9)


def test_a_refutation_has_to_survive_the_correction_too_and_is_corrected_once():
    words = {"holds": "yes", "fails": "no", "open": "who knows", "evidence": "n = 3", "confirmatory": True}
    weak = [claims.compare(str(i), estimate([-1.0, -1.2, -1.9]), **words) for i in range(5)]
    assert {claim.verdict for claim in weak} == {"fails"}
    found = claims.corrected(claims.corrected(weak))
    assert {(claim.verdict, claim.sentence) for claim in found} == {("open", "who knows")}
    assert all(claim.evidence.count("Holm") == 1 for claim in found)


def test_an_interval_that_touches_zero_on_the_page_decides_nothing():
    """−6.24 ± 6.16 lies below zero, and −6.2 ± 6.2, which is printed, does not."""
    touching, clear = Estimate(-0.0624, 0.0616, 10), Estimate(-0.0634, 0.0616, 10)
    assert touching.high < 0 and touching.points() == touching.printed().points() == "−6.2 ± 6.2 points"
    assert claims.compare("x", touching, **SENTENCES, evidence="").verdict == "open"
    assert claims.compare("x", clear, **SENTENCES, evidence="").verdict == "fails"

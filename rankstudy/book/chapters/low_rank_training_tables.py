"""Chapter 6: its tables, each from the chapter's result."""

from __future__ import annotations

from typing import Any

import numpy as np

from rankstudy.book.chapters import rates
from rankstudy.book.chapters.common import Markdown, table
from rankstudy.book.chapters.low_rank_training_claims import LEVELS
from rankstudy.book.chapters.published import TRUNCATION_TUNED, TRUNCATION_WHOLE, compared, direction
from rankstudy.book.stats import estimate, number_text, percent, signed
from rankstudy.study.experiments.low_rank_training import DENSE, PLAIN

MEANINGS = {
    DENSE: "every layer one matrix (the control)",
    PLAIN: "every layer B·C, both factors at the standard initialisation",
    "variance": "factors scaled so that B·C has the dense layer's variance",
    "spectral": "B·C begins as the truncated SVD of the dense initialisation",
    "decay": "standard initialisation, decay on ‖B·C‖² (Frobenius decay)",
    "spectral + decay": "both",
    "warm": "{dense} dense epochs, then cut to r and trained for {own} more, {total} in all; the dense arm has {whole}",
    "trained": "chapter 5's trained network, {dense} dense epochs, cut to r and then fine-tuned for {own}, {total} in "
    "all; the dense arm has {whole}",
}


def memory(chapter: Any) -> Markdown:
    rows = []
    variants = [(*name.partition(" ")[::2], held) for name, held in chapter.result["memory"].items()]
    for kind, rank, held in sorted(variants, key=lambda variant: (variant[0], int(variant[1] or 0))):
        label = {"dense": "dense", "rank": f"every layer, r = {rank}", "spared": f"all but the last, r = {rank}"}
        rows.append(
            [
                label[kind],
                _counted(held),
                percent(held["parameters"] / chapter.result["memory"]["dense"]["parameters"], 1),
                *(
                    number_text(held[part] / 1e6, 2)
                    for part in ("file", "weights", "gradients", "optimizer", "activations")
                ),
            ]
        )
    return table(
        [
            "layers as B·C",
            "parameters",
            "of dense",
            "file",
            "weights",
            "gradients",
            "optimiser",
            "saved",
        ],
        rows,
    )


def _counted(held: Any) -> str:
    """The parameters counted, and the formula's number where it is another."""
    counted, formula = (number_text(held[key]) for key in ("parameters", "formula"))
    return counted if counted == formula else f"{counted} (by formula {formula})"


def accuracies(chapter: Any) -> Markdown:
    rows = [
        [
            name,
            "dense" if arm["rank"] is None else str(arm["rank"]),
            f"{arm['learning_rate']:g}",
            *(estimate(chapter.final(name, split)).percent(2) for split in ("train", "validation", "test")),
            "" if name == DENSE else chapter.against(name).text(2, 100.0, sign=True),
        ]
        for name, arm in chapter.arms.items()
    ]
    return table(["arm", "r", "rate", "train", "validation", "test", "test − dense (points)"], rows)


def meanings(chapter: Any) -> Markdown:
    lines = []
    for name in chapter.arms:
        if name in MEANINGS:
            dense, own = chapter.epochs(name)
            _, whole = chapter.epochs(DENSE)
            told = MEANINGS[name].format(dense=dense, own=own, total=dense + own, whole=whole)
            lines.append(f"- *{name}*: {told}")
    if any(name.startswith("rank ×") for name in chapter.arms):
        lines.append("- *rank × k*: the standard initialisation at k times the effective rank")
    return Markdown("\n".join(lines))


def convergence(chapter: Any) -> Markdown:
    """Epochs and seconds to given validation accuracies."""
    levels = [level for level in LEVELS if any(chapter.reached(name, level)[0] for name in chapter.arms)]
    rows = []
    for name, arm in chapter.arms.items():
        count, row = len(arm["history"]["seeds"]), [name]
        for level in levels:
            epochs, seconds = chapter.reached(name, level)
            note = "" if len(epochs) == count else f" ({len(epochs)} of {count})"
            row.append(
                f"{number_text(np.mean(epochs), 1)} / {number_text(np.mean(seconds), 1)}{note}" if epochs else "never"
            )
        rows.append([*row, number_text(chapter.epoch_seconds(name).mean(), 2)])
    return table(["arm", *(percent(level, 0) for level in levels), "seconds per epoch, all"], rows)


def tuning(chapter: Any) -> Markdown:
    rows = []
    for name, arm in chapter.arms.items():
        tried = arm["tuning"]
        if tried:
            accuracies = [accuracy.mean() for accuracy in tried["validation_accuracy"]]
            edge = rates.mark(rates.arm_at_edge(arm))
            cells = rates.scores(tried["learning_rate"], accuracies, 2)
            rows.append([name, cells, f"{arm['learning_rate']:g}{edge}"])
        else:
            rows.append([name, "one rate only, not tuned", f"{arm['learning_rate']:g}"])
    return table(["arm", "learning rate: validation accuracy", "taken"], rows)


def latencies(chapter: Any) -> Markdown:
    """Median and interquartile range of a forward pass, and images per second."""
    timing = chapter.result["inference"]
    rows = []
    for what in ("layer", "network"):
        compiled = [variant for variant in timing[what] if variant.endswith("compiled")]
        for variant in ("dense", f"rank {chapter.rank}", "merged", *compiled):
            for index, batch in enumerate(timing["batches"]):
                found = timing[what][variant]
                rows.append(
                    [
                        f"{what}, {variant}",
                        number_text(int(batch)),
                        "{} ({})".format(*(number_text(1e3 * found[key][index], 3) for key in ("median", "iqr"))),
                        number_text(batch / found["median"][index]),
                        number_text(chapter.speedup(what, variant)[index], 2),
                    ]
                )
    return table(["what", "batch", "ms (IQR)", "images per second", "times dense"], rows)


# Published effects on accuracy in points, secondary (from notes on the papers) but for the last:
# arm -> control, (source, value). Khodak et al.: ResNet32×2 on CIFAR-10 with a tenth of the parameters; Wang et al.:
# ResNet-18; Agarwal: see `published.TRUNCATION`.
PUBLISHED = {
    PLAIN: (DENSE, [("Khodak et al. 2021", 93.59 - 94.49), ("Wang et al. 2021", 93.75 - 95.09)]),
    "spectral": (PLAIN, [("Khodak et al. 2021", 92.52 - 93.59)]),
    "decay": (PLAIN, [("Khodak et al. 2021", 92.92 - 93.59)]),
    "spectral + decay": (PLAIN, [("Khodak et al. 2021", 94.34 - 93.59)]),
    "warm": (PLAIN, [("Wang et al. 2021", 94.87 - 93.75)]),
    "trained": (DENSE, [("Agarwal 2019", 100 * (TRUNCATION_TUNED - TRUNCATION_WHOLE))]),
}


def published(chapter: Any) -> Markdown:
    """Effects reported by others, beside ours: differences in test accuracy, in points."""
    rows = []
    for name, (control, values) in PUBLISHED.items():
        effect = chapter.against(name, control) if name in chapter.arms else None
        ours = "not run under this profile" if effect is None else effect.text(2, 100.0, sign=True)
        theirs = "; ".join(f"{signed(value, 2)} ({source})" for source, value in values)
        sign = 1 if values[0][1] > 0 else -1  # where there are two sources they agree in it
        rows.append([f"{name} − {control}", theirs, ours, direction(effect, sign)])
    return compared(["comparison", "published (points)", "ours (points)"], rows, chapter.result.data)

"""What a matrix does to directions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rankstudy.book.plots.drawing import INK, Drawing, colour, panel


def ellipse(a: Sequence[Sequence[float]] | np.ndarray) -> Drawing:
    """The unit circle and what a 2 × 2 matrix makes of it, with the right singular vectors v in the one and σu in the
    other."""
    a = np.asarray(a, dtype=float)
    u, sigma, vt = np.linalg.svd(a)
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    reach = 1.35 * max(1.0, float(sigma[0]))
    drawn = []
    for title, curve, arrows, names in (
        ("directions x", circle, vt.T, ("v₁", "v₂")),
        ("what A makes of them, Ax", a @ circle, u * sigma, ("σ₁u₁", "σ₂u₂")),
    ):
        figure, axes = panel(title, size=(3.2, 3.2))
        axes.plot(*curve, color=INK, linewidth=1.2)
        for index, (name, (x, y)) in enumerate(zip(names, arrows.T, strict=True)):
            shade = colour("weights" if index == 0 else "update")
            axes.plot([0, x], [0, y], color=shade)
            beyond = 12 * np.array([x, y]) / (np.hypot(x, y) or 1.0)  # points past the tip: no line crosses the name
            axes.annotate(
                name, (x, y), beyond, "data", "offset points",
                color=shade, weight="bold", ha="center", va="center",
            )  # fmt: skip
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        drawn.append(figure)
    return Drawing(drawn)


def competitors(distance: np.ndarray, excess: np.ndarray) -> Drawing:
    """How far each competitor's column space is from the best one, against its error over the least, as a share of
    that; both (competitors,)."""
    figure, axes = panel(size=(4.6, 2.9))
    axes.loglog(distance, excess, ".", color=colour("error"), markersize=4)
    axes.set(xlabel="distance from the SVD’s column space", ylabel="error above the least, as a share")
    return Drawing([figure], columns=1)

"""The book's figures. Each function takes typed results or arrays and returns a `Drawing`; none returns a sentence.

One colour for one thing through the whole book: W₀ grey, W blue, W − W₀ orange, accuracy green, error purple. Panels
are drawings of their own and stack on a phone; lines carry their names instead of a legend.
"""

from rankstudy.book.plots.curves import by_rank, convergence, curves, trade_off
from rankstudy.book.plots.drawing import Drawing, beside
from rankstudy.book.plots.forest import forest
from rankstudy.book.plots.images import digits, mean_image, slider, truncation, weight_images
from rankstudy.book.plots.motion import by_distance, settling, tenths
from rankstudy.book.plots.ranks import by_condition, by_layer, by_tolerance, trajectory
from rankstudy.book.plots.spectra import sizes, spectra

__all__ = [
    "Drawing",
    "beside",
    "by_condition",
    "by_distance",
    "by_layer",
    "by_rank",
    "by_tolerance",
    "convergence",
    "curves",
    "digits",
    "forest",
    "mean_image",
    "settling",
    "sizes",
    "slider",
    "spectra",
    "tenths",
    "trade_off",
    "trajectory",
    "truncation",
    "weight_images",
]

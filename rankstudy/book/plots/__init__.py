"""The book's figures. Each function takes typed results or arrays and returns a `Drawing`; none returns a sentence.

One colour for one thing through the whole book: W₀ grey, W blue, W − W₀ orange, accuracy green, error purple. Panels
are drawings of their own and stack on a phone; lines carry their names instead of a legend.
"""

from rankstudy.book.plots.costs import against, by_batch, parts
from rankstudy.book.plots.curves import by_rank, convergence, curves, trade_off
from rankstudy.book.plots.dimensions import by_dimension
from rankstudy.book.plots.drawing import Drawing, beside
from rankstudy.book.plots.explorer import explorer
from rankstudy.book.plots.finetuning import by_setting, forgetting, frontier, step_times, steps, update_spectra
from rankstudy.book.plots.forest import forest
from rankstudy.book.plots.geometry import competitors, ellipse
from rankstudy.book.plots.images import digits, mean_image, slider, truncation, weight_images
from rankstudy.book.plots.motion import by_distance, settling, tenths
from rankstudy.book.plots.paths import by_width, learned_by_distance, turn, turns
from rankstudy.book.plots.ranks import by_condition, by_layer, by_tolerance, trajectory
from rankstudy.book.plots.spectra import sizes, spectra

__all__ = [
    "Drawing",
    "against",
    "beside",
    "by_batch",
    "by_condition",
    "by_dimension",
    "by_distance",
    "by_layer",
    "by_rank",
    "by_setting",
    "by_tolerance",
    "by_width",
    "competitors",
    "convergence",
    "curves",
    "digits",
    "ellipse",
    "explorer",
    "forest",
    "forgetting",
    "frontier",
    "learned_by_distance",
    "mean_image",
    "parts",
    "settling",
    "sizes",
    "slider",
    "spectra",
    "step_times",
    "steps",
    "tenths",
    "trade_off",
    "trajectory",
    "truncation",
    "turn",
    "turns",
    "update_spectra",
    "weight_images",
]

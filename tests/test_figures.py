"""Figures: the shared pieces that have something to get wrong."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.image import imread

from rankstudy.book import figures


def test_the_png_shows_sign_and_size():
    """Read back by another library: white at zero, blue below it, red above, symmetric in strength."""
    values = np.array([[-1.0, -0.5, 0.0, 0.5, 1.0]])
    pixels = imread(io.BytesIO(figures.signed_png(values)))[0, :, :3]  # (5, 3) in [0, 1]
    red, blue = pixels[:, 0], pixels[:, 2]
    assert pixels[2].min() > 0.95
    assert (blue[:2] > red[:2]).all() and (red[3:] > blue[3:]).all()
    strength = 3 - pixels.sum(axis=1)
    assert strength[0] > strength[1] > strength[2] < strength[3] < strength[4]


def test_a_row_of_weights_has_its_name():
    figure = figures.weights(np.zeros((2, 3, 4, 4)), ["r = 1", "W"])
    assert [axis.get_ylabel() for axis in figure.axes] == ["r = 1", "", "", "W", "", ""]


@pytest.mark.parametrize(("networks", "lines", "bands"), [(1, 1, 0), (2, 3, 0), (3, 1, 1)])
def test_two_networks_are_drawn_as_they_are_and_more_get_a_band(networks, lines, bands):
    values = np.arange(networks)[:, None] + np.arange(4.0)
    _, axes = figures.panels()
    figures.curve(axes[0, 0], np.arange(4), values, "mean")
    assert len(axes[0, 0].lines) == lines and len(axes[0, 0].collections) == bands
    np.testing.assert_array_equal(axes[0, 0].lines[0].get_ydata(), values.mean(axis=0))
    assert [line.get_label() for line in axes[0, 0].lines if not line.get_label().startswith("_")] == ["mean"]

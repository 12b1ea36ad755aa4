import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba

from gd_lightning.plots import Frame, film_strip, prediction_figure


def scatters(axes):
    return {collection.get_label(): collection for collection in axes.collections}


def test_prediction_figure_is_the_article_s_picture(article):
    preds = article.y * 0.5
    figure = prediction_figure(
        article.t, article.y, preds, -article.y, title="a title", labels=("time", "speed"), ylim=(-100, 100)
    )
    axes = figure.axes[0]
    drawn = scatters(axes)
    assert np.allclose(drawn["data"].get_offsets()[:, 1], article.y)
    assert np.allclose(drawn["prediction"].get_offsets()[:, 1], preds)
    assert np.allclose(drawn["prediction at the start"].get_offsets()[:, 1], -article.y)
    assert tuple(drawn["data"].get_facecolor()[0]) == to_rgba("C0")
    assert tuple(drawn["prediction"].get_facecolor()[0]) == to_rgba("red")
    assert axes.get_ylim() == (-100, 100)
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("a title", "time", "speed")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(drawn)


@pytest.mark.parametrize("panels", [1, 2, 6])
def test_film_strip_has_a_panel_for_each_frame(article, panels):
    frames = [Frame(f"after {step}", article.y * step / 6) for step in range(1, panels + 1)]
    figure = film_strip(article.t, article.y, frames, ylim=(-100, 100))
    assert len(figure.axes) == panels
    for axes, frame in zip(figure.axes, frames, strict=True):
        assert axes.get_title() == frame.title
        assert axes.get_ylim() == (-100, 100)
        assert np.allclose(scatters(axes)["prediction"].get_offsets()[:, 1], frame.preds)
        assert "prediction at the start" not in scatters(axes)


def test_limits_follow_the_data_where_none_are_given():
    t = torch.arange(3.0)
    figure = prediction_figure(t, t * 1000, t * 1000)
    assert figure.axes[0].get_ylim()[1] > 2000


def test_pyplot_is_left_alone():
    code = "import sys, gd_lightning.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

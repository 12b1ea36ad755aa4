import json
import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from test_sweep_members import curvatures

from gd_lightning.levenberg_marquardt import LevenbergMarquardt
from gd_lightning.optim import SGD
from gd_lightning.sweep import sweep


def test_what_lies_above_the_limit_grows_and_what_lies_below_does_not(article):
    largest = curvatures(article.t)[-1]
    lrs = [share * 2 / largest for share in (0.3, 0.9, 0.99, 1.01, 1.1, 2)]
    found = sweep("quadratic", article.t, article.y, lrs=lrs, init=article.init, steps=3000)
    assert found.limit == pytest.approx(2 / largest, rel=1e-6)
    last = np.array(found.rmse)
    assert (last[:3] < 18.1).all()
    assert all(status == "diverged" or rose for status, rose in zip(found.status[3:], found.rose[3:], strict=True))
    assert found.status[-1] == "diverged"
    assert math.isnan(last[-1])
    assert found.rose[:3] == [False] * 3
    assert found.best == 2
    assert found.settled[-1] is None


def test_all_may_diverge(article):
    found = sweep("quadratic", article.t, article.y, lrs=[1, 10], init=article.init, steps=100)
    assert found.best is None
    assert found.status == ["diverged", "diverged"]
    assert isinstance(found.plot(), Figure)
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_figure(article):
    found = sweep("quadratic", article.t, article.y, steps=50)
    courses, ends, bar = found.plot().axes
    assert [axes.get_xlabel() for axes in (courses, ends)] == ["step", "lr"]
    assert bar.get_title() == "lr"
    dashed = [line for line in courses.lines if line.get_linestyle() == "--"]
    assert len(dashed) == found.status.count("diverged")
    limit = [line.get_xdata()[0] for line in ends.lines if line.get_linestyle() == "--"]
    assert limit == [found.limit]
    assert [text.get_text() for text in ends.texts] == [f"largest stable lr {found.limit:.3g}"]
    labels = [text.get_text() for text in found.plot().legends[0].get_texts()]
    assert labels == ["best fit: 1.467", f"lowest: {min(found.rmse):.4g} at lr {found.lrs[found.best]:.3g}"]
    dots = ends.collections[0].get_offsets()
    finite = [i for i, rmse in enumerate(found.rmse) if math.isfinite(rmse)]
    assert dots[:, 0].tolist() == pytest.approx([found.lrs[i] for i in finite])
    assert dots[:, 1].tolist() == pytest.approx([found.rmse[i] for i in finite])


def test_the_figure_of_rules_names_each_in_a_row_the_best_at_the_top(article):
    rules = [(SGD, 1e-5), (SGD, 1.0), LevenbergMarquardt]
    found = sweep("quadratic", article.t, article.y, rules=rules, steps=50)
    _, ends = found.plot().axes
    assert [label.get_text() for label in ends.get_yticklabels()] == ["LevenbergMarquardt", "SGD lr=1e-05", "SGD lr=1"]
    assert [text.get_text() for text in ends.texts][-1] == "diverged"
    low, high = ends.get_ylim()
    assert low > high

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.text import Text

from gd_lightning.landscape import Landscape
from gd_lightning.plots import (
    film_strip,
    landscape_figure,
    observed_figure,
    observed_strip,
    path_figure,
    prediction_figure,
    series_grid,
    worst_median_best,
)
from gd_lightning.prediction_drawing import Frame, Panel


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
    assert (axes.get_title(), figure.axes[1].get_xlabel(), axes.get_ylabel()) == ("a title", "time", "speed")
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


def test_what_given_limits_leave_out_is_told(article):
    preds = article.y * 0.5
    figure = prediction_figure(article.t, article.y, preds, ylim=(-100, 100))
    assert figure.legends[0].get_title().get_text() == "data outside the picture: 1"  # t = 19, y = 110.5
    assert prediction_figure(article.t, article.y, preds, ylim=(-100, 120)).legends[0].get_title().get_text() == ""
    figure = prediction_figure(article.t, article.y, preds + 500, ylim=(-100, 120))
    assert figure.legends[0].get_title().get_text() == "prediction outside the picture"
    preds[3] = math.nan
    frames = [Frame("a", preds), Frame("b", preds - 500), Frame("c", preds * math.nan)]
    figure = film_strip(article.t, article.y, frames, ylim=(-100, 100))
    assert figure.legends[0].get_title().get_text().splitlines() == [
        "predictions that are not finite: 22",
        "data outside the picture: 1",
        "prediction outside the picture in 1 of 3 panels",
    ]
    figure = observed_strip(article.y, frames, ylim=(-100, 100))
    assert figure.legends[0].get_title().get_text().splitlines()[1:] == ["data outside the picture: 1"]
    assert overlaps(film_strip(article.t, article.y, frames, ylim=(-100, 100))) == []


@pytest.mark.parametrize("points", [20, 50])
def test_a_start_that_nobody_can_see_is_left_out(points):
    t = torch.linspace(0, 10, points)
    y = t**2
    seen = "prediction at the start"
    for start, there in (
        (y + 20, True),
        (y + 0.01, False),
        (y, False),
        (y + 1e4, False),
        (torch.full_like(y, 50), True),
    ):
        figure = prediction_figure(t, y, y, start, ylim=(-10, 150))
        assert (seen in entries(figure)) is there
        assert (seen in {artist.get_label() for artist in figure.axes[0].get_children()}) is there
        strip = film_strip(t, y, [Frame("a", y), Frame("b", y + 40)], start, ylim=(-10, 150))
        assert [seen in {a.get_label() for a in axes.get_children()} for axes in strip.axes] == [
            there,
            bool((start < 150).all()),
        ]
        grid = series_grid({"row": [Panel("a", t, y, y, start)]})
        assert (seen in entries(grid)) is (there and bool((start < 1e3).all()))
    figure = prediction_figure(t, y, y * math.nan, y, ylim=(-10, 150))
    assert seen in entries(figure)


def test_no_residual_is_cut_by_the_frame(article):
    beneath = prediction_figure(article.t, article.y, article.y * 0.5).axes[1]
    beneath.figure.canvas.draw()
    dots = beneath.transData.transform(offsets(beneath, "data"))[:, 1]
    radius = math.sqrt(36) / 2 * beneath.figure.dpi / 72
    assert beneath.bbox.y0 < dots.min() - radius < dots.max() + radius < beneath.bbox.y1


def test_pyplot_is_left_alone():
    code = "import sys, gd_lightning.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def by_label(artists):
    """What shares a label is told apart by its kind: dots, error bars, line."""
    return {artist.get_label(): artist for artist in artists}


def offsets(axes, label):
    return np.asarray(scatters(axes)[label].get_offsets())


def line(axes, label="prediction"):
    return np.column_stack(by_label(axes.lines)[label].get_data())


def bars(container):
    """Where the error bars stand, and their lower and upper ends."""
    segments = np.array(container.lines[2][0].get_segments())
    return segments[:, 0, 0], segments[:, 0, 1], segments[:, 1, 1]


def entries(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def pairs(x, y):
    return np.column_stack([x, y])


def overlaps(figure):
    """The pairs of texts that are drawn over each other, and texts that leave the figure."""
    figure.canvas.draw()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    # tick labels beyond the limits of their axis exist but are not drawn
    ticks = {text for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for text in axis.get_ticklabels()}
    drawn = {id(text): text.get_window_extent() for text in texts if text not in ticks}
    boxes = list(drawn.values())
    page = figure.bbox
    outside = [box for box in boxes if box.x0 < -1 or box.y0 < -1 or box.x1 > page.x1 + 1 or box.y1 > page.y1 + 1]
    return outside + [a for i, a in enumerate(boxes) for b in boxes[:i] if a.shrunk(0.9, 0.9).overlaps(b)]


def test_residuals_are_prediction_minus_data_and_share_t(article):
    figure = prediction_figure(article.t, article.y, article.y * 0.5, labels=("time", "speed"))
    axes, beneath = figure.axes
    assert np.allclose(offsets(beneath, "data"), pairs(article.t, article.y * -0.5))
    assert [list(zero.get_ydata()) for zero in beneath.lines] == [[0, 0]]
    figure.canvas.draw()
    assert axes.get_xlim() == beneath.get_xlim()
    assert axes.bbox.height == pytest.approx(3 * beneath.bbox.height)
    assert (axes.get_xlabel(), beneath.get_xlabel()) == ("", "time")
    assert "prediction" in beneath.get_ylabel()


def test_error_bars_and_points_that_are_none(article):
    sigma = torch.linspace(1, 2, 20)
    sigma[4], targets, preds = math.inf, article.y.clone(), article.y * 0.5
    targets[4] = preds[4] = math.nan
    figure = prediction_figure(article.t, targets, preds, -article.y, sigma=sigma)
    there = torch.arange(20) != 4
    axes, beneath = figure.axes
    for name, y in (("data", article.y), ("prediction", preds), ("prediction at the start", -article.y)):
        assert np.allclose(offsets(axes, name), pairs(article.t[there], y[there]))
    for panel, y in ((axes, targets), (beneath, preds - targets)):
        assert np.allclose(offsets(panel, "data"), pairs(article.t[there], y[there]))
        [container] = panel.containers
        assert np.allclose(bars(container), torch.stack([article.t, y - sigma, y + sigma])[:, there])
    assert entries(figure) == ["data", "prediction at the start", "prediction"]
    assert figure.legends[0].get_title().get_text() == ""


@pytest.mark.parametrize("sigma", [None, torch.tensor([1.0, 2.0])])
def test_what_was_kept_out_is_told_apart(article, sigma):
    t, y, preds = torch.tensor([20.0, 21.0]), torch.tensor([120.0, 150.0]), torch.tensor([100.0, 155.0])
    figure = prediction_figure(article.t, article.y, article.y * 0.5, holdout=(t, y, preds, sigma))
    axes, beneath = figure.axes
    assert np.allclose(offsets(axes, "kept out"), pairs(t, y))
    assert np.allclose(offsets(beneath, "kept out"), pairs(t, preds - y))
    assert np.allclose(offsets(axes, "data"), pairs(article.t, article.y))
    assert np.allclose(offsets(axes, "prediction")[-2:], pairs(t, preds))
    for panel in figure.axes:
        holdout = scatters(panel)["kept out"]
        assert tuple(holdout.get_edgecolor()[0]) == to_rgba("C1")
        assert not len(holdout.get_facecolor())
        assert [container.get_label() for container in panel.containers] == ([] if sigma is None else ["kept out"])
    assert entries(figure) == ["data", "kept out", "prediction"]


@pytest.mark.parametrize(("points", "dots"), [(40, True), (41, False)])
def test_beside_a_line_there_are_dots_only_where_points_are_few(points, dots):
    t = torch.arange(points).double()
    grid = torch.linspace(-5, 50, 200)
    figure = prediction_figure(t, t, t**2, t**3, line=(grid.flip(0), grid.flip(0) ** 2))
    axes = figure.axes[0]
    assert np.allclose(line(axes), pairs(grid, grid**2))
    assert by_label(axes.lines)["prediction"].get_color() == "red"
    assert by_label(axes.lines)["prediction"].get_zorder() > scatters(axes)["data"].get_zorder()
    assert ("prediction" in scatters(axes)) is dots
    assert ("prediction at the start" in scatters(axes)) is dots
    assert entries(figure) == ["data", "prediction at the start", "prediction"]


def test_many_predictions_are_a_line_in_the_order_of_t():
    t = torch.randperm(3000, generator=torch.Generator().manual_seed(1)).float()
    figure = prediction_figure(t, t * 2, t * 3, -t)
    axes, beneath = figure.axes
    assert np.array_equal(line(axes), pairs(range(3000), 3 * np.arange(3000)))
    assert np.array_equal(line(axes, "prediction at the start"), pairs(range(3000), -np.arange(3000)))
    for panel in (axes, beneath):
        specks = scatters(panel)["data"]
        assert specks.get_sizes()[0] < 10
        assert specks.get_alpha() < 1
    [shown] = figure.legends[0].findobj(PathCollection)
    assert shown.get_alpha() == 1


def test_a_strip_of_many_points_has_lines():
    t = torch.arange(41.0).flip(0)
    sigma = torch.ones(41)
    sigma[0] = math.inf
    figure = film_strip(t, t, [Frame("a", t * 2), Frame("b", t * 3)], -t, sigma=sigma)
    for axes, factor in zip(figure.axes, (2, 3), strict=True):
        assert np.array_equal(line(axes), pairs(range(40), factor * np.arange(40)))
        assert np.array_equal(line(axes, "prediction at the start"), pairs(range(40), -np.arange(40)))
        assert len(offsets(axes, "data")) == len(bars(axes.containers[0])[0]) == 40


def test_the_panels_of_a_strip_share_limits_that_hold_all_of_them():
    t = torch.arange(5.0)
    frames = [Frame("a", t), Frame("b", t * 100), Frame("c", t * -100)]
    for figure in (film_strip(t, t, frames), observed_strip(t * 100, frames), observed_strip(t, frames)):
        [limits] = {(*axes.get_xlim(), *axes.get_ylim()) for axes in figure.axes}
        drawn = np.concatenate([offsets(axes, "data") for axes in figure.axes])
        assert limits[0] <= drawn[:, 0].min() < drawn[:, 0].max() <= limits[1]
    low, high = film_strip(t, t, frames).axes[0].get_ylim()
    assert low < -400 < 400 < high


def test_a_pole_leaves_the_picture_and_the_points_stay():
    t = torch.linspace(0, 1, 30)
    grid = torch.linspace(0, 1, 1001)
    axes = prediction_figure(t, t, t + 1, line=(grid, 1 / (grid - 0.5001))).axes[0]
    assert np.abs(line(axes)[:, 1]).max() > 1000
    low, high = axes.get_ylim()
    assert -3 < low < 0
    assert 2 < high < 5


def test_observed_against_predicted():
    targets, preds = torch.tensor([1.0, 2.0, 3.0, 9.0]), torch.tensor([1.5, 2.5, 2.0, 0.0])
    sigma, holdout = (
        torch.tensor([0.1, 0.2, 0.3, math.inf]),
        (torch.tensor([4.0]), torch.tensor([5.0]), torch.tensor([2.0])),
    )
    figure = observed_figure(targets, preds, sigma=sigma, holdout=holdout, title="a title", label="price")
    axes, beneath = figure.axes
    assert np.allclose(offsets(axes, "data"), pairs(preds[:3], targets[:3]))
    assert np.allclose(offsets(axes, "kept out"), [[5, 4]])
    assert np.allclose(offsets(beneath, "data"), pairs(preds[:3], (preds - targets)[:3]))
    assert np.allclose(offsets(beneath, "kept out"), [[5, 1]])
    assert [container.get_label() for container in axes.containers] == ["data", "kept out"]
    diagonal = line(axes, "prediction = data")
    assert np.array_equal(diagonal[:, 0], diagonal[:, 1])
    assert (diagonal.min(), diagonal.max()) == pytest.approx((0.9, 6))
    assert (axes.get_title(), axes.get_ylabel(), beneath.get_xlabel()) == ("a title", "price", "predicted price")
    assert entries(figure) == ["data", "kept out", "prediction = data"]


def test_a_strip_of_observed_against_predicted():
    targets, sigma = torch.arange(100.0), torch.ones(100)
    sigma[7] = math.inf
    there = torch.arange(100) != 7
    frames = [Frame("a", targets * 0.5), Frame("b", targets + 1)]
    figure = observed_strip(targets, frames, sigma=sigma, title="a title", label="price", ylim=(-9, 200))
    for axes, frame in zip(figure.axes, frames, strict=True):
        assert np.allclose(offsets(axes, "data"), pairs(frame.preds, targets)[there])
        diagonal = line(axes, "prediction = data")
        assert np.array_equal(diagonal[:, 0], diagonal[:, 1])
        assert axes.get_xlabel().split() == ["predicted", "price"]
        assert (axes.get_title(), axes.get_ylim()) == (frame.title, (-9, 200))
    assert (figure.get_suptitle(), figure.axes[0].get_ylabel()) == ("a title", "price")
    assert entries(figure) == ["data", "prediction = data"]


def test_a_grid_of_series():
    t, grid = torch.arange(5.0), torch.linspace(0, 6, 50)
    holdout = (torch.tensor([6.0]), torch.tensor([7.0]), torch.tensor([8.0]))

    def panel(i):
        ones = torch.ones(5)
        return Panel(f"series {i}\nRMSE {i}", t, t * i, t, sigma=ones, line=(grid, grid * i), holdout=holdout)

    rows = {"worst": [panel(1), panel(2)], "median": [], "best": [panel(3)]}
    figure = series_grid(rows, title="three", labels=("time", "speed"))
    assert [axes.get_title() for axes in figure.axes] == [f"series {i}\nRMSE {i}" for i in (1, 2, 3)]
    assert [axes.get_ylabel() for axes in figure.axes] == ["worst", "", "best"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "time", "time"]
    for i, axes in enumerate(figure.axes, start=1):
        assert np.allclose(offsets(axes, "data"), pairs(t, t * i))
        assert np.allclose(offsets(axes, "kept out"), [[6, 7]])
        assert np.allclose(line(axes), pairs(grid, grid * i))
        assert np.allclose(bars(axes.containers[0])[1], t * i - 1)
        assert "prediction" not in scatters(axes)
    assert (figure.get_suptitle(), figure.get_supylabel()) == ("three", "speed")
    assert entries(figure) == ["data", "kept out", "prediction"]


def test_a_grid_without_series_is_a_page_with_a_title():
    assert series_grid({"worst": []}, title="none").axes == []


@pytest.mark.parametrize(
    ("series", "shared"),
    [
        (0, ([], [], [])),
        (1, ([], [0], [])),
        (2, ([0], [], [1])),
        (3, ([0], [1], [2])),
        (4, ([0], [1, 2], [3])),
        (5, ([0, 1], [2], [3, 4])),
        (7, ([0, 1], [2, 3, 4], [5, 6])),
        (8, ([0, 1, 2], [3, 4], [5, 6, 7])),
        (9, ([0, 1, 2], [3, 4, 5], [6, 7, 8])),
        (10, ([0, 1, 2], [3, 4, 5], [7, 8, 9])),
        (101, ([0, 1, 2], [49, 50, 51], [98, 99, 100])),
    ],
)
def test_worst_median_and_best(series, shared):
    errors = torch.arange(series, 0, -1.0, requires_grad=True)
    assert worst_median_best(errors) == dict(zip(("worst", "median", "best"), shared, strict=True))


@pytest.mark.parametrize("each", [1, 2, 3, 5])
def test_no_series_is_chosen_twice_and_none_left_out_without_need(each):
    for series in range(20):
        chosen = [i for row in worst_median_best(torch.zeros(series), each).values() for i in row]
        assert len(set(chosen)) == len(chosen) == min(series, 3 * each)


def test_nan_is_the_worst():
    errors = torch.tensor([1.0, math.nan, 5.0, math.inf, 0.5])
    assert worst_median_best(errors, 1) == {"worst": [1], "median": [2], "best": [4]}


def every_figure(t, y, preds, sigma, title="", label="y"):
    """Each kind of picture with everything in it."""
    holdout, labels = (t + 1, y, preds, sigma), ("t", label)
    everything = Panel(title, t, y, preds, y, sigma, (t, preds), holdout)
    return [
        prediction_figure(t, y, preds, y, sigma=sigma, line=(t, preds), holdout=holdout, title=title, labels=labels),
        prediction_figure(t, y, preds, preds, title=title, labels=labels),
        prediction_figure(y, t, preds, title=title, labels=labels),
        film_strip(t, y, [Frame("a", preds), Frame("b", y)], preds, sigma=sigma, title=title, labels=labels),
        observed_figure(y, preds, sigma=sigma, holdout=(y, preds, sigma), title=title, label=label),
        observed_strip(y, [Frame("a", preds), Frame("b", y)], sigma=sigma, title=title, label=label),
        series_grid({"worst": [everything, everything], "best": [everything]}, title=title, labels=labels),
    ]


NUMBERS = {
    "one": [3.0],
    "none": [],
    "constant": [7.0] * 4,
    "a large constant": [1e16] * 4,
    "huge": [1e300, -1e300, 0.0],
    "almost too large for a double": [1.7e308, -1.7e308, 1.0],
    "tiny": [1e-300, 2e-300, 0.0],
    "the least": [5e-324, 0.0, 1e-320],
    "nothing finite": [math.nan, math.inf, -math.inf],
    "diverged": [1.0, 1e30, math.inf, math.nan],
    "many diverged": [1.5**i for i in range(30)] + [math.inf] * 30,
}


AT_ONCE = ("one", "almost too large for a double", "the least", "nothing finite", "diverged")


@pytest.mark.parametrize(
    "y",
    [pytest.param(y, marks=() if name in AT_ONCE else pytest.mark.slow, id=name) for name, y in NUMBERS.items()],
)
def test_whatever_the_numbers_it_is_drawn(y):
    y = torch.tensor(y, dtype=torch.float64)
    t = torch.arange(len(y)).double()
    for figure in [*every_figure(t, y, y.flip(0), y.abs()), *every_figure(t, t, y, None)]:
        figure.draw_without_rendering()


def test_predictions_that_are_not_finite_are_counted_and_left_out(article):
    preds = article.y * 0.5
    preds[3], preds[5:] = math.nan, math.inf
    shown = [0, 1, 2, 4]
    figure = prediction_figure(article.t, article.y, preds)
    axes, beneath = figure.axes
    assert np.allclose(offsets(axes, "prediction"), pairs(article.t, preds)[shown])
    assert np.allclose(offsets(beneath, "data"), pairs(article.t, preds - article.y)[shown])
    assert len(offsets(axes, "data")) == 20
    frames = [Frame("a", preds), Frame("b", article.y)]
    panels = {"worst": [Panel("", article.t, article.y, preds)]}
    strips = [film_strip(article.t, article.y, frames), observed_strip(article.y, frames)]
    for other in (figure, *strips, observed_figure(article.y, preds), series_grid(panels)):
        assert other.legends[0].get_title().get_text() == "predictions that are not finite: 16"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64])
def test_any_tensor_can_be_drawn(dtype):
    y = torch.arange(4).to(dtype)
    if dtype.is_floating_point:
        y.requires_grad_()
    for figure in every_figure(y, y, y * 2, y):
        figure.canvas.draw()
    assert np.array_equal(offsets(figure.axes[0], "data"), pairs(range(4), range(4)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_tensors_on_a_gpu_can_be_drawn():
    y = torch.arange(4.0).cuda().requires_grad_()
    for figure in every_figure(y, y, y * 2, y):
        figure.canvas.draw()


def test_names_are_no_formulas():
    name = r"$x_1$ \$ %"
    y = torch.arange(4.0)
    for figure in every_figure(y, y, y, y, name, name):
        figure.canvas.draw()
        written = [text for text in figure.findobj(Text) if name in text.get_text()]
        assert len(written) >= 2
        assert not any(text.get_parse_math() for text in written)


@pytest.mark.parametrize(
    "words", ["y", "a title of many words about sales_per_store_and_month_in_$ (100 %) " * 2, "x" * 200]
)
def test_no_text_lies_on_another_or_leaves_the_page(words):
    y = torch.arange(20.0)
    for figure in every_figure(y, y * 1e7, y * 1e7 + 1, y * 1e6, words, words):
        assert not overlaps(figure)


def test_a_line_break_in_a_title_stays():
    assert prediction_figure(*[torch.ones(1)] * 3, title="one\ntwo").axes[0].get_title() == "one\ntwo"


def bowl(steps=(0, 1, 2, 3), others=("c",), through=(0, 3), names=("a", "b"), is_rmse=True, **changes):
    """A landscape of height a**2 + b**2/100 + 1 over the plane, with a path that comes down to its middle."""
    a, b = torch.linspace(-4, 4, 31).double(), torch.linspace(-40, 40, 31).double()
    path = torch.stack([torch.linspace(3, 0.5, len(steps)), torch.linspace(-30, -10, len(steps))], dim=1).double()
    height = a[:, None] ** 2 + b**2 / 100 + 1
    path_height = path[:, 0] ** 2 + path[:, 1] ** 2 / 100 + 1
    if len(names) == 1:
        height, path, path_height = a**2 + 1, path[:, :1], path[:, 0] ** 2 + 1
    land = Landscape(
        names, (a, b)[: len(names)], height, steps, path, path_height, torch.zeros(len(names)).double(), 1.0, others,
        through, is_rmse,
    )  # fmt: skip
    return land._replace(**changes)


def step_numbers(axes):
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("is_rmse", [True, False])
def test_a_landscape_has_the_path_the_best_fit_and_round_levels(is_rmse):
    land = bowl(is_rmse=is_rmse)
    figure = landscape_figure(land, title="a title")
    axes, bar = figure.axes
    path = land.path.numpy()
    assert np.array_equal(np.column_stack(axes.lines[0].get_data()), path)
    names = ["step 0: 4.359", "step 3: 1.5"] if is_rmse else ["step 0: 19", "step 3: 2.25"]
    names.append("best fit: 1")
    assert entries(figure) == names
    for name, place, colour in zip(names, (path[0], path[-1], [0, 0]), ("0.6", "red", "C2"), strict=True):
        assert np.array_equal(offsets(axes, name), [place])
        assert tuple(scatters(axes)[name].get_facecolor()[0]) == to_rgba(colour)
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == ("a", "b", "RMSE" if is_rmse else "loss")
    assert (axes.get_xlim(), axes.get_ylim()) == ((-4, 4), (-40, 40))
    assert axes.get_title() == "a title\nc on the plane of best fit, steps 0 and 3"
    assert sorted(step_numbers(axes)) == ["0", "1", "2", "3"]
    levels = bar.get_yticks()
    assert 4 <= len(levels) <= 12
    assert (np.diff(levels) > 0).all()
    assert levels[0] > 1
    assert np.allclose(levels * 1000, (levels * 1000).round())


def test_a_contour_lies_where_its_height_is():
    land = bowl()
    axes, bar = landscape_figure(land).axes
    contours = axes.collections[1]
    for level, lines in zip(bar.get_yticks(), contours.get_paths(), strict=True):
        a, b = lines.vertices.T
        assert np.allclose(np.sqrt(a**2 + b**2 / 100 + 1), level, rtol=0.02)


@pytest.mark.parametrize(
    ("others", "through", "words"),
    [
        ((), (), ""),
        (("c",), (), "c as in the best fit"),
        (("c", "d"), (7,), "c, d on the plane of best fit, step 7"),
        (tuple("cdef"), (9, 0), "the others on the plane of best fit, steps 0 and 9"),
    ],
)
def test_it_says_where_the_other_parameters_are(others, through, words):
    assert landscape_figure(bowl(others=others, through=through)).axes[0].get_title() == words


def test_a_path_of_one_parameter_lies_on_its_curve():
    figure = landscape_figure(bowl(names=("a",), others=(), through=()))
    [axes] = figure.axes
    curve, path = (np.column_stack(line.get_data()) for line in axes.lines)
    assert np.allclose(curve[:, 1], np.sqrt(curve[:, 0] ** 2 + 1))
    assert np.allclose(path[:, 1], np.sqrt(path[:, 0] ** 2 + 1))
    assert np.array_equal(offsets(axes, "best fit: 1"), [[0, 1]])
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) == ("a", "RMSE", "linear")
    assert axes.get_xlim()[0] < -4 < 4 < axes.get_xlim()[1]


def test_a_deep_valley_is_drawn_in_powers_of_ten():
    land = bowl(names=("a",), others=())
    land = land._replace(loss=land.axes[0] ** 4 + 1e-6)
    assert landscape_figure(land).axes[0].get_yscale() == "log"


def test_of_many_steps_round_ones_are_numbered_and_none_on_another():
    steps = tuple(range(0, 20_001, 5))
    angle = torch.linspace(0, 3, len(steps)).double()
    figure = landscape_figure(bowl(steps, path=torch.stack([3 * angle.cos(), 30 * angle.sin()], dim=1)))
    shown = step_numbers(figure.axes[0])
    assert {"0", "20000", "5000", "10000"} <= set(shown) <= {"0", "5", *map(str, (500, 1000, 2000, 5000, 10000, 20000))}
    assert not overlaps(figure)


def test_a_landscape_with_holes_and_points_that_are_not_there():
    land = bowl(steps=(0, 1, 2, 3, 4))
    land.loss[:, 20:] = math.nan
    land.loss[0, :5] = math.inf
    land.path[3], land.path_loss[3] = math.nan, math.nan
    land.path[4] = torch.tensor([1e200, -1e250])
    figure = landscape_figure(land)
    assert not overlaps(figure)
    assert figure.axes[0].get_xlim() == (-4, 4)
    assert set(step_numbers(figure.axes[0])) <= {"0", "1", "2"}
    start, end, _ = (scatters(figure.axes[0])[name] for name in entries(figure))
    assert (start.get_clip_on(), end.get_clip_on()) == (False, True)  # what left the picture is not beside it
    landscape_figure(bowl(loss=torch.full((31, 31), math.nan))).canvas.draw()
    landscape_figure(bowl(steps=(0,), through=(0,))).canvas.draw()


def parameters_of(figure):
    return {axes.get_title(): by_label(axes.lines) for axes in figure.axes}


@pytest.mark.parametrize("count", [1, 2, 3, 6, 9])
@pytest.mark.parametrize("last", [10, 20_000])
def test_each_parameter_against_the_step(count, last):
    names = [f"p{i}" for i in range(count)]
    steps = [0, 1, 2, 5, last]
    values = torch.arange(5.0)[:, None] * torch.arange(1, count + 1)
    figure = path_figure(names, steps, values, torch.arange(count) - 7.0, title="a title")
    assert [axes.get_title() for axes in figure.axes] == names
    for i, axes in enumerate(figure.axes):
        dashed, path = axes.lines
        assert np.array_equal(np.column_stack(path.get_data()), pairs(steps, values[:, i]))
        assert set(dashed.get_ydata()) == {i - 7}
        assert dashed.get_linestyle() == "--"
        assert axes.get_xscale() == ("linear" if last == 10 else "symlog")
        assert axes.get_ylim()[0] < i - 7
        ticks = axes.get_xticks()
        assert np.array_equal(ticks, ticks.round())
    assert entries(figure) == ["best fit", "start", "end"]
    assert figure.get_suptitle() == "a title"
    assert not overlaps(figure)


def test_of_many_parameters_those_are_shown_that_moved_most():
    moved = torch.tensor([5.0, 1, 9, 3, 7, 2, 8, 4, 6, 0, 10, 11])
    values = torch.stack([100 + torch.zeros(12), 100 + moved]) * 10.0 ** torch.arange(-6, 6)
    figure = path_figure([f"p{i}" for i in range(12)], [0, 1], values, title="a title")
    assert [axes.get_title() for axes in figure.axes] == [f"p{i}" for i in (0, 2, 3, 4, 6, 7, 8, 10, 11)]
    assert figure.get_suptitle() == "a title\n9 of 12 parameters, those that moved most"
    assert entries(figure) == ["start", "end"]


@pytest.mark.parametrize("values", NUMBERS.values(), ids=NUMBERS)
def test_whatever_the_parameters_they_are_drawn(values):
    values = torch.tensor(values, dtype=torch.float64)
    steps = list(range(len(values)))
    both = torch.stack([values, values.flip(0)], dim=1)
    for optimum in (None, torch.tensor([math.nan, 1e305]), torch.zeros(2)):
        path_figure(["a", "b"], steps, both, optimum).draw_without_rendering()


@pytest.mark.parametrize(
    "words", ["y", "a title of many words about sales_per_store_and_month_in_$ (100 %) " * 2, "x" * 200]
)
def test_long_names_of_parameters(words):
    steps = [0, 10, 100]
    values = torch.arange(6.0).reshape(3, 2) * 1e7
    figures = [
        landscape_figure(bowl(names=(words, "b" + words), others=(words,)), title=words),
        landscape_figure(bowl(names=(words,), others=()), title=words),
        path_figure([words, words + "2"], steps, values, values[0], title=words),
    ]
    for figure in figures:
        assert not overlaps(figure)

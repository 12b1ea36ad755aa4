"""What candidates leave of series, beside NumPy's least squares and SciPy's within bounds."""

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear

from gd_lightning.curve import Curve
from gd_lightning.points import Points
from gd_lightning.projection import Candidates, Projection, as_rows, solved

DOUBLE = torch.float64
# Functions, the places of their linear parameters, and what remains where these are 0.
FUNCTIONS = {
    "a*exp(-k*t) + b*t + c": ([0, 2, 3], 0),
    "a*exp(-k*t) + sin(k*t)": ([0], 1),
    "exp(-k*t)": ([], 1),
}


def case(function, weights=False, own=False, length=12, series=5, count=7):
    rng = np.random.default_rng(0)
    curve = Curve(function)
    linear, _ = FUNCTIONS[function]
    t = np.sort(rng.uniform(0, 3, (series, length) if own else length))
    y = rng.normal(size=(series, length))
    sigma = rng.uniform(0.5, 2, y.shape) if weights else None
    if weights:
        sigma[2, 3] = np.inf
    values = np.zeros((count, len(curve.names)))
    values[:, curve.names.index("k")] = rng.uniform(0.2, 3, count)
    points = Points(torch.from_numpy(t), torch.from_numpy(y), None if sigma is None else torch.from_numpy(sigma))
    return curve, points, Candidates(torch.from_numpy(values), linear, [])


def systems(curve, points, candidates, s, g):
    """Columns and right-hand side of one series with one candidate, in units of sigma of the surest point."""
    t = points.t if points.t.dim() == 1 else points.t[s]
    values = candidates.values[g]

    def predict(params):
        with torch.no_grad():
            return curve.evaluate(t, params).expand(len(t)).numpy()

    root = np.sqrt(points.weights[s].numpy())
    at_zero = predict(values)
    columns = [predict(values.index_fill(0, torch.tensor(i), 1.0)) - at_zero for i in candidates.linear]
    matrix = np.stack(columns, axis=-1) if columns else np.zeros((len(t), 0))
    return root[:, None] * matrix, root * (points.targets[s].numpy() - at_zero)


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("weights", [False, True], ids=["even", "weighted"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_is_left_beside_lstsq(function, weights, own):
    curve, points, candidates = case(function, weights, own)
    losses = Projection(curve, points, candidates, 7).each(lambda losses: losses)
    assert losses.shape == (5, 7)
    for s in range(5):
        for g in range(7):
            matrix, y = systems(curve, points, candidates, s, g)
            best = np.linalg.lstsq(matrix, y, rcond=None)[0]
            assert losses[s, g].item() == pytest.approx(np.sum((y - matrix @ best) ** 2), rel=1e-9)


@pytest.mark.parametrize("weights", [False, True], ids=["even", "weighted"])
def test_linear_parameters_beside_lstsq(weights):
    curve, points, candidates = case("a*exp(-k*t) + b*t + c", weights)
    chosen = torch.tensor([4, 0, 6, 2, 2])
    starts = solved(curve, points, candidates.values[chosen], candidates.linear)
    for s, g in enumerate(chosen.tolist()):
        matrix, y = systems(curve, points, candidates, s, g)
        expected = np.linalg.lstsq(matrix, y, rcond=None)[0]
        np.testing.assert_allclose(starts[s, candidates.linear], expected, rtol=1e-9)
        assert starts[s, 1] == candidates.values[g, 1]


def test_one_linear_parameter_within_its_bounds_beside_scipy():
    function = "a*exp(-k*t) + sin(k*t)"
    _, points, candidates = case(function)
    curve = Curve(function, {"a": {"min": 0, "max": 0.3}})
    losses = Projection(curve, points, candidates, 7).each(lambda losses: losses)
    for s in range(5):
        for g in range(7):
            expected = lsq_linear(*systems(curve, points, candidates, s, g), (0, 0.3), tol=1e-14)
            assert losses[s, g].item() == pytest.approx(2 * expected.cost, rel=1e-8)


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
def test_columns_that_vanish_or_are_one_explain_nothing_more(own):
    t = torch.linspace(1, 3, 9, dtype=DOUBLE)
    points = Points(t.expand(1, 9) if own else t, torch.sin(9 * t).unsqueeze(0))
    curve = Curve("a*exp(-k*t) + b*exp(-m*t)")
    assert curve.names == ("a", "k", "b", "m")
    values = torch.tensor([[0, 1.0, 0, 1.0], [0, 1.0, 0, 400.0], [0, 400.0, 0, 400.0]], dtype=DOUBLE)
    losses = Projection(curve, points, Candidates(values, [0, 2], []), 3).each(lambda losses: losses)[0]
    column = torch.exp(-t)
    one = points.targets.square().sum() - (points.targets @ column).square().sum() / column.square().sum()
    torch.testing.assert_close(losses[:2], one.expand(2), rtol=1e-9, atol=0)
    torch.testing.assert_close(losses[2], points.targets.square().sum(), rtol=1e-12, atol=0)


def test_a_candidate_that_is_not_finite_is_never_the_best():
    t = torch.linspace(0, 1, 5, dtype=DOUBLE)
    curve = Curve("a*log(t + b)")
    values = torch.tensor([[0, -1.0], [0, 0.5], [0, 0.0]], dtype=DOUBLE)
    points = Points(t, torch.log(t + 0.6).unsqueeze(0))
    projection = Projection(curve, points, Candidates(values, [0], []), 3)
    assert projection.best().tolist() == [1]
    assert projection.losses(torch.tensor([0]))[0].isfinite().tolist() == [False, True, False]


def test_rows_are_flat_double_and_have_nothing_where_no_point_is():
    targets = torch.full((2, 3, 4), torch.nan)
    targets[..., :3] = 1.0
    sigma = torch.ones(4).index_fill(0, torch.tensor(3), torch.inf)
    rows = as_rows(Points(torch.arange(4.0), targets, sigma))
    assert rows.t.shape == (4,)
    assert rows.targets.dtype == DOUBLE
    np.testing.assert_array_equal(rows.targets, np.tile([1, 1, 1, 0], (6, 1)))
    assert rows.sigma.shape == (6, 4)

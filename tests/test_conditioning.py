"""Curvature and the learning rates it allows, against NumPy, closed forms, and descents that are run and measured."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from gd_lightning import fit
from gd_lightning.conditioning import Sample, auto_lr, curvatures, guidance, sampled_lr
from gd_lightning.curve import Curve
from gd_lightning.losses import mae, make_loss, mse
from gd_lightning.optim import SGD, Adam, Momentum, Nesterov, UpdateRule
from gd_lightning.points import Points

DOUBLE = torch.float64
T = torch.linspace(-1, 3, 12, dtype=DOUBLE)
CENTRED = torch.linspace(-1.7, 1.7, 12, dtype=DOUBLE)
# Linear in their parameters, with columns of their own, and with what a step may multiply.
FAMILIES = {
    "linear": lambda t: [t, t**0],
    "quadratic": lambda t: [t**2, t, t**0],
    "a*log(t + 2) + b*sqrt(t + 2)": lambda t: [np.log(t + 2), np.sqrt(t + 2)],
    "a*sin(t) + b*cos(t) + c*t": lambda t: [np.sin(t), np.cos(t), t],
}
KNOWN = {
    "SGD": (lambda params, lr: SGD(params, lr), 2.0),
    "Momentum": (lambda params, lr: Momentum(params, lr, beta=0.8), 2 * 1.8),
    "Nesterov": (lambda params, lr: Nesterov(params, lr, beta=0.8), 2 * 1.8 / 2.6),
    "torch SGD": (lambda params, lr: torch.optim.SGD(params, lr), 2.0),
    "torch momentum": (lambda params, lr: torch.optim.SGD(params, lr, momentum=0.5), 3.0),
    "torch Nesterov": (lambda params, lr: torch.optim.SGD(params, lr, momentum=0.5, nesterov=True), 1.5),
}


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def hessian(columns, weights=1.0):
    """2/n * X'WX."""
    columns = np.stack(columns, axis=1) if isinstance(columns, list) else np.asarray(columns)
    return 2 / len(columns) * (columns.T * weights) @ columns


def of_numpy(columns, weights=1.0):
    """The eigenvalues, the largest first."""
    return np.linalg.eigvalsh(hessian(columns, weights))[::-1]


def started(function, params=None, demands=None):
    curve = Curve(function, demands).double()
    if params is not None:
        curve.start(torch.as_tensor(params, dtype=DOUBLE))
    return curve


def told(curve, points, lr=0.1, rule=SGD, loss=mse, linear=True):
    return guidance(curve, points, rule([curve.params], lr), loss, linear=linear)


def errors_of(function, rule, lr, steps):
    """Distances from the least squares solution on `CENTRED` before and after each step, in double precision."""
    y = numbers(12)
    columns = np.stack(FAMILIES[function](CENTRED.numpy()), axis=1)
    best = torch.from_numpy(np.linalg.lstsq(columns, y.numpy(), rcond=None)[0])
    curve = started(function, best + numbers(len(best), seed=3))
    optimizer = rule([curve.params], lr)
    path = [(curve.params.detach() - best).clone()]
    for _ in range(steps):
        optimizer.zero_grad()
        mse(curve(CENTRED), y).backward()
        optimizer.step()
        path.append((curve.params.detach() - best).clone())
    return torch.stack(path)


def test_the_article_s_series(article):
    points, curve = Points(article.t, article.y), Curve("quadratic")
    expected = of_numpy(np.vander(article.t.double().numpy(), 3))
    assert expected == pytest.approx([5.65e4, 16.0, 0.259], rel=2e-3)
    assert curvatures(curve, points).tolist() == pytest.approx(expected, rel=1e-10)
    found = told(curve, points, lr=1e-5)
    assert found.largest_curvature == pytest.approx(expected[0], rel=1e-12)
    assert found.smallest_curvature == pytest.approx(expected[-1], rel=1e-10)
    assert found.condition_number == pytest.approx(expected[0] / expected[-1], rel=1e-10)
    assert found.sentences() == [
        "Largest curvature 5.65e+04, smallest 0.259: condition number 2.18e+05.",
        "Largest stable lr 3.54e-05 (2 / largest curvature), best fixed lr 3.54e-05.",
        "At lr 1e-05 the slowest direction needs about 387,000 steps per factor e.",
    ]
    assert found.warning() is None
    assert told(curve, points, lr=1e-4).warning() == (
        "lr=0.0001 is above the largest stable lr 3.54e-05 (2 / largest curvature), so that the loss will grow; "
        'use at most that, or lr="auto"'
    )
    assert "At lr 0.0001 the error grows by a factor of 4.65 a step." in told(curve, points, lr=1e-4).sentences()


def test_a_learning_rate_that_the_rounded_limit_would_allow(article):
    found = told(Curve("quadratic"), Points(article.t, article.y), lr=3.54e-5)
    assert 3.5398e-5 < found.largest_stable_lr < 3.54e-5
    assert "lr=3.54e-05 is above the largest stable lr 3.53986" in found.warning()


@pytest.mark.parametrize("function", FAMILIES)
@pytest.mark.parametrize("rule", KNOWN)
def test_below_the_limit_an_error_shrinks_and_above_it_grows(function, rule):
    make, factor = KNOWN[rule]
    steepest = of_numpy(FAMILIES[function](CENTRED.numpy()))[0]
    limit = told(started(function), Points(CENTRED, CENTRED), rule=make).largest_stable_lr
    assert limit == pytest.approx(factor / steepest, rel=1e-12)
    below = errors_of(function, make, 0.99 * limit, 300)
    above = errors_of(function, make, 1.01 * limit, 300)
    assert below[-20:].norm(dim=-1).max() < 0.5 * below[0].norm()
    assert above[-20:].norm(dim=-1).min() > 2 * above[0].norm()
    assert told(started(function), Points(CENTRED, CENTRED), 0.99 * limit, make).warning() is None
    assert (
        "is above the largest stable lr"
        in told(started(function), Points(CENTRED, CENTRED), 1.01 * limit, make).warning()
    )


@pytest.mark.parametrize("function", FAMILIES)
@pytest.mark.parametrize("rule", KNOWN)
@pytest.mark.parametrize("part", [0.03, 0.5, 0.97])
def test_steps_per_factor_e_are_those_of_a_descent(function, rule, part):
    make, _ = KNOWN[rule]
    curve, points = started(function), Points(CENTRED, CENTRED)
    lr = part * told(curve, points, rule=make).largest_stable_lr
    found = told(curve, points, lr, make)
    steps = int(min(max(20 * found.steps_per_e, 12), 900))
    sizes = errors_of(function, make, lr, steps).norm(dim=-1)
    window = steps // 5
    if steps == 900:  # too few to forget the start; so slow a direction does not swing
        assert window / math.log(sizes[-window] / sizes[-1]) == pytest.approx(found.steps_per_e, rel=0.05)
    else:  # the first of the last points is the highest, or next to it where the error swings
        fallen = math.log(sizes[0] / sizes[-window:].max())
        assert (steps - window) / fallen == pytest.approx(found.steps_per_e, rel=0.2)


@pytest.mark.parametrize("function", FAMILIES)
def test_the_slowest_direction_of_plain_descent_shrinks_as_told(function):
    matrix = hessian(FAMILIES[function](CENTRED.numpy()))
    values, vectors = np.linalg.eigh(matrix)
    found = told(started(function), Points(CENTRED, CENTRED), lr=0.3 / values[-1])
    along = errors_of(function, SGD, 0.3 / values[-1], 100) @ torch.from_numpy(vectors[:, 0])
    assert 50 / math.log(along[0] / along[50]) == pytest.approx(found.steps_per_e, rel=1e-9)


@pytest.mark.parametrize("function", FAMILIES)
@pytest.mark.parametrize("rule", KNOWN)
def test_the_best_fixed_rate_is_that_of_a_scan(function, rule):
    make, factor = KNOWN[rule]
    values = torch.from_numpy(of_numpy(FAMILIES[function](CENTRED.numpy())).copy())
    curve, points = started(function), Points(CENTRED, CENTRED)
    found = told(curve, points, rule=make)
    if factor == 2:
        assert found.best_lr == pytest.approx(2 / (values[0] + values[-1]).item(), rel=1e-12)
    best = told(curve, points, found.best_lr, make).growth
    scan = [told(curve, points, lr, make).growth for lr in np.linspace(0.02, 0.999, 60) * found.largest_stable_lr]
    assert best <= min(scan) + 1e-9
    assert best >= min(scan) - 0.02


def test_the_best_rate_of_nesterov_s_rule_where_the_condition_number_is_huge():
    t = torch.arange(20, dtype=DOUBLE)
    found = told(started("cubic"), Points(t, t), rule=lambda params, lr: Nesterov(params, lr, 0.8))
    assert found.condition_number > 1e7
    # both ends as slow: trace -(1 + beta)*(x - 1) at the steepest, next to its limit
    assert found.best_lr < found.largest_stable_lr
    assert found.best_lr == pytest.approx(found.largest_stable_lr, rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-9, 1e-25])
def test_condition_numbers_that_j_transposed_j_could_not_tell(scale):
    columns = np.stack([T.numpy(), np.cos(T.numpy())], axis=1)
    [a, b], [_, d] = hessian(columns)
    # of ((a, b s), (b s, d s**2)) for small s: the determinant over the largest
    smallest = (a * d - b * b) * scale**2 / a
    found = told(started(f"a*t + {scale!r}*b*cos(t)"), Points(T, T))
    if scale < 1:
        assert found.smallest_curvature == pytest.approx(smallest, rel=10 * scale**2 + 1e-12)
        assert found.condition_number == pytest.approx(a / smallest, rel=10 * scale**2 + 1e-12)
    else:
        assert found.condition_number == pytest.approx(np.linalg.cond(hessian(columns)), rel=1e-12)


def test_the_pace_of_a_direction_whose_factor_rounds_to_one():
    curve, points = started("a*t + 1e-12*b*cos(t)"), Points(T, T)
    found = told(curve, points)
    lr = 0.5 * found.largest_stable_lr
    for rule, speed in ((SGD, 1), (Momentum, 10), (Nesterov, 10)):
        steps = told(curve, points, lr, rule).steps_per_e
        assert steps == pytest.approx(1 / (speed * lr * found.smallest_curvature), rel=1e-5)
    assert "needs about 1.5" in told(curve, points, lr).sentences()[-1] or steps > 1e23


@pytest.mark.parametrize(
    ("demands", "columns"),
    [
        ({"b": {"fixed": 2}}, lambda t: [t]),
        ({"b": {"expr": "3*a"}}, lambda t: [t + 3]),
        ({"a": {"min": 0}}, lambda t: [t, 1 + 0 * t]),
    ],
)
def test_fixed_and_tied_parameters_have_no_direction_of_their_own(demands, columns):
    expected = of_numpy(columns(T.numpy()))
    assert curvatures(Curve("linear", demands), Points(T, T)).tolist() == pytest.approx(expected, rel=1e-12)
    found = told(Curve("linear", demands), Points(T, T))
    assert found.condition_number == pytest.approx(expected[0] / expected[-1], rel=1e-12)


def test_points_weigh_one_over_sigma_squared_and_what_is_no_point_nothing():
    sigma = 0.5 + numbers(12).abs()
    columns = np.vander(T.numpy(), 2)
    expected = of_numpy(columns, 1 / sigma.numpy() ** 2)
    assert curvatures(Curve("linear"), Points(T, T, sigma)).tolist() == pytest.approx(expected, rel=1e-12)
    sigma[8:] = torch.inf
    expected = of_numpy(columns[:8], 1 / sigma[:8].numpy() ** 2)
    assert curvatures(Curve("linear"), Points(T, T, sigma)).tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("loss", ["mse", "huber", "huber(0.5)", "cauchy", "cauchy(3)"])
@pytest.mark.parametrize("weighted", [False, True])
def test_next_to_a_perfect_fit_the_local_curvature_is_the_hessian_of_the_loss(loss, weighted):
    truth = torch.tensor([2.0, 0.7, 1.0], dtype=DOUBLE)
    curve, loss = started("a*exp(-b*t) + c", truth), make_loss(loss)
    off = 1e-7  # at 0 itself autograd takes the second derivative of abs(r)**2 for 0
    points = Points(T, curve(T).detach() - off, 0.5 + numbers(12).abs() if weighted else None)
    full = torch.autograd.functional.hessian(lambda p: loss(curve.evaluate(T, p), *points[1:]), truth)
    expected = np.linalg.eigvalsh(full.numpy())[::-1]
    assert curvatures(curve, points, loss).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", ["huber(0.5)", "cauchy(0.5)"])
def test_of_a_robust_loss_it_is_that_of_the_weighted_squares(loss):
    curve = started("quadratic", [0.3, -1.0, 0.5])
    y = 3 * numbers(12)
    r = (curve(T).detach() - y).abs().numpy()
    weights = np.minimum(1, 0.5 / r) if loss.startswith("huber") else 1 / (1 + (r / 0.5) ** 2)
    found = curvatures(curve, Points(T, y), make_loss(loss))
    assert found.tolist() == pytest.approx(of_numpy(np.vander(T.numpy(), 3), weights), rel=1e-10)
    full = torch.autograd.functional.hessian(lambda p: make_loss(loss)(curve.evaluate(T, p), y), curve.params.detach())
    assert np.linalg.eigvalsh(full.numpy())[-1] <= found[0].item()
    told_of = told(curve, Points(T, y), loss=make_loss(loss))
    assert not told_of.exact
    assert told_of.sentences()[-1] == "These figures are local: they hold near the present parameters."


def test_the_mean_absolute_error_has_no_curvature():
    found = told(started("linear"), Points(T, numbers(12)), loss=mae)
    assert math.isnan(found.largest_curvature)
    assert math.isnan(found.largest_stable_lr)
    assert found.warning() is None
    assert found.sentences()[0].startswith("The mean absolute error has no curvature")


def test_local_figures_say_so():
    curve = started("a*exp(-b*t)", [2.0, 0.7])
    found = told(curve, Points(T, T), lr=100.0, linear=False)
    assert found.sentences()[-1] == "These figures are local: they hold near the present parameters."
    assert "so that the loss may grow" in found.warning()


def test_of_several_series_the_steepest_and_the_flattest_count():
    curve, params = started("a*exp(-b*t)"), 1 + 0.3 * numbers(2, 2, 2)
    curve.start(params)
    points = Points(T, T.expand(2, 2, -1), 0.5 + numbers(2, 2, 12).abs())
    together = curvatures(curve, points)
    alone = []
    for i in range(4):
        curve.start(params.reshape(4, 2)[i])
        alone.append(told(curve, points.one(i), linear=False))
    assert together[..., 0].flatten().tolist() == pytest.approx([one.largest_curvature for one in alone], rel=1e-12)
    curve.start(params)
    found = told(curve, points, linear=False)
    largest, smallest = (
        max(one.largest_curvature for one in alone),
        min(one.smallest_curvature for one in alone),
    )
    assert found.series == 4
    assert alone[found.steepest].largest_curvature == pytest.approx(largest, rel=1e-12)
    assert alone[found.flattest].smallest_curvature == pytest.approx(smallest, rel=1e-12)
    assert found.largest_stable_lr == pytest.approx(2 / largest, rel=1e-12)
    assert found.best_lr == pytest.approx(2 / (largest + smallest), rel=1e-12)
    assert found.sentences()[0].startswith("Of 4 series, largest curvature")
    assert f"(series {found.steepest + 1}), smallest" in found.sentences()[0]


def test_a_series_of_which_nothing_is_known_does_not_hide_the_others():
    curve = started("sqrt(a)*t", [[4.0], [-1.0], [1.0]])
    found = told(curve, Points(T, T.expand(3, -1)), linear=False)
    steepest = 2 / 12 * float((T**2).sum()) / 4  # d sqrt(a) / da = 1/2 at a = 1
    assert found.steepest == 2
    assert found.flattest == 0
    assert found.largest_curvature == pytest.approx(steepest, rel=1e-12)
    assert found.condition_number == pytest.approx(4, rel=1e-12)


@pytest.mark.parametrize("rule", [SGD, Momentum, Nesterov])
def test_many_learning_rates_have_the_pace_of_the_map_they_make(rule):
    lr = torch.tensor([0.05, 0.3, 0.2], dtype=DOUBLE)
    matrix = np.diag(lr.numpy()) @ hessian(FAMILIES["quadratic"](CENTRED.numpy()))
    values = torch.from_numpy(np.linalg.eigvals(matrix).real.copy())
    found = told(started("quadratic"), Points(CENTRED, CENTRED), lr, rule)
    expected = rule([torch.nn.Parameter(torch.ones(1))], 0.1).growth(values).max().item()
    assert found.growth == pytest.approx(expected, rel=1e-12)
    assert found.steps_per_e == pytest.approx(-1 / math.log(expected), rel=1e-9)
    assert math.isnan(found.lr)
    assert found.warning() is None
    assert "At these lr" in found.sentences()[2]
    wild = told(started("quadratic"), Points(CENTRED, CENTRED), 100 * lr, rule)
    assert wild.warning().startswith("lr: some are too large: a step multiplies an error by ")


def test_a_learning_rate_for_each_series():
    curve, lr = started("linear", torch.zeros(2, 2)), torch.tensor([[0.1], [0.2]], dtype=DOUBLE)
    points = Points(torch.stack([T, 2 * T]), T.expand(2, -1))
    found = told(curve, points, lr)
    alone = [told(started("linear"), points.one(i), lr[i].item()).growth for i in range(2)]
    assert found.growth == pytest.approx(max(alone), rel=1e-12)


def test_a_rule_whose_growth_is_not_known():
    found = told(started("linear"), Points(T, T), rule=Adam)
    assert found.largest_curvature > 0
    assert found.sgd_limit == pytest.approx(2 / found.largest_curvature)
    for value in (found.largest_stable_lr, found.best_lr, found.growth, found.steps_per_e):
        assert math.isnan(value)
    assert found.warning() is None
    assert found.rule == "Adam"
    assert "What lr Adam can stand, the curvature does not tell" in found.sentences()[1]
    assert told(started("linear"), Points(T, T), rule=torch.optim.Adam).rule == "torch.optim.Adam"


class Implicit(UpdateRule):
    """theta <- theta - lr * g / (1 + lr * c): stable at any lr."""

    def update(self, theta, g, state, lr):
        return theta

    def growth(self, x):
        return 1 / (1 + x)


def test_a_rule_that_is_stable_at_any_rate():
    found = told(started("linear"), Points(T, T), rule=Implicit, lr=1e3)
    assert found.largest_stable_lr == math.inf
    assert found.warning() is None
    assert "Implicit is stable at any lr." in found.sentences()
    assert auto_lr(started("linear"), Points(T, T), mse, True, Implicit([torch.nn.Parameter(torch.ones(1))], 1.0)) > 0


def test_parameters_that_do_the_same_leave_a_flat_direction():
    found = told(started("a*t + b*t + c"), Points(T, T), lr=0.01)
    expected = of_numpy([np.sqrt(2) * T.numpy(), T.numpy() ** 0])
    assert found.smallest_curvature == 0
    assert found.condition_number == math.inf
    assert found.steps_per_e == math.inf
    assert found.best_lr == pytest.approx(2 / expected.sum(), rel=1e-12)
    assert found.sentences()[0].endswith("smallest 0: some combination of parameters does not change the predictions.")
    assert found.warning() is None


@pytest.mark.parametrize(
    ("function", "start"),
    [
        ("a*t*0 + b*0", [1, 1]),
        ("a*exp(b*t*1e6)", [1, 1]),
        ("sqrt(a - 5)*t", [1]),
        ("a*1e-170*t", [1]),
    ],
)
@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "cauchy"])
@pytest.mark.parametrize("rule", [SGD, Nesterov, Adam])
def test_where_no_curvature_can_be_told(function, start, loss, rule):
    curve, points = started(function, [float(value) for value in start]), Points(T, T)
    found = told(curve, points, rule=rule, loss=make_loss(loss))
    assert math.isnan(found.largest_stable_lr)
    assert math.isnan(found.steps_per_e)
    assert found.warning() is None
    assert len(found.sentences()) >= 1
    assert auto_lr(curve, points, make_loss(loss), True, rule([curve.params], 0.1)) == 1e-5


def test_a_curvature_beyond_the_largest_number():
    curve = started("a*1e170*t", [1.0])
    assert math.isnan(told(curve, Points(T, T)).largest_stable_lr)
    assert auto_lr(curve, Points(T, T), mse, True, SGD([curve.params], 0.1)) == 1e-5
    assert told(curve, Points(T, T), loss=make_loss("huber")).largest_curvature > 1e169  # whose weights are as small


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_points(count):
    found = told(started("quadratic"), Points(T[:count], T[:count]))
    expected = of_numpy(np.vander(T[:count].numpy(), 3))
    assert found.largest_curvature == pytest.approx(expected[0], rel=1e-10)
    if count < 3:
        assert found.smallest_curvature == 0
    else:
        assert found.smallest_curvature == pytest.approx(expected[-1], rel=1e-10)


@pytest.mark.parametrize("rule", [SGD, Momentum, Adam])
@pytest.mark.parametrize("function", ["linear", "a*t*0"])
def test_the_dictionary_is_plain(rule, function):
    content = told(started(function), Points(T, T), rule=rule).to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["rule"] == rule.__name__


def test_numbers_are_printed_with_the_digits_they_deserve():
    found = told(started("linear"), Points(T, T), lr=0.01)
    for steps, text in ((386942.1, "387,000"), (99.96, "100"), (3.14159, "3.1"), (2.5e15, "2.5e+15")):
        assert f"about {text} steps" in replace(found, steps_per_e=steps).sentences()[2]
    barely = replace(found, growth=1.000046)
    assert "grows by a factor of 1 + 4.6e-05 a step" in barely.sentences()[2]


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e5])
def test_the_limit_follows_the_units_of_t(scale):
    curve = started("a*t")
    expected = told(curve, Points(T, T)).largest_stable_lr / scale**2
    assert told(curve, Points(T * scale, T)).largest_stable_lr == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("function", FAMILIES)
@pytest.mark.parametrize("rule", KNOWN)
def test_auto_is_the_best_fixed_rate_of_a_linear_function(function, rule):
    values = of_numpy(FAMILIES[function](CENTRED.numpy()))
    curve, points = started(function), Points(CENTRED, CENTRED)
    optimizer = KNOWN[rule][0]([curve.params], 0.1)
    lr = auto_lr(curve, points, mse, True, optimizer)
    if rule in ("SGD", "torch SGD"):
        assert lr == pytest.approx(2 / (values[0] + values[-1]), rel=1e-12)
    assert lr == guidance(curve, points, optimizer, linear=True).best_lr
    for loss, linear in ((mse, False), (mae, True), (make_loss("huber(1e9)"), True)):
        assert auto_lr(curve, points, loss, linear, optimizer) == pytest.approx(1 / values[0], rel=1e-12)


@pytest.mark.parametrize("rule", [SGD, Momentum, Nesterov, Adam])
def test_auto_in_minibatches_is_that_of_the_steepest_point(rule):
    curve, points = started("quadratic"), Points(T, T)
    rows = np.vander(T.numpy(), 3)
    steepest = 2 * (rows**2).sum(axis=1).max()
    optimizer = rule([curve.params], 0.1)
    longer = 10 if rule in (Momentum, Nesterov) else 1  # 1 / (1 - 0.9)
    for loss in (mse, mae):
        assert sampled_lr(curve, points, loss, optimizer, True) == pytest.approx(1 / longer / steepest, rel=1e-4)
        assert sampled_lr(curve, points, loss, optimizer, False) == pytest.approx(1 / of_numpy(rows)[0], rel=1e-9)


def test_auto_in_minibatches_where_no_curvature_can_be_told():
    curve, points = started("quadratic"), Points(T * 1e300, T)
    assert sampled_lr(curve, points, mse, SGD([curve.params], 0.1), True) == 1e-5


def test_guidance_tells_what_is_from_a_sample():
    curve, points = started("linear"), Points(T, T)
    optimizer = SGD([curve.params], 1e3)
    told = guidance(curve, points, optimizer, linear=True, sample=Sample(len(T), 12345, False))
    assert told.sentences()[-1] == f"These figures are from a sample of {len(T)} points; lr: auto leaves room for that."
    assert "may grow" in told.warning()
    whole = guidance(curve, points, optimizer, linear=True, sample=Sample(len(T), len(T), True))
    assert whole == guidance(curve, points, optimizer, linear=True)


def test_auto_of_a_rule_of_which_nothing_is_known():
    curve, points = started("linear"), Points(T, T)
    steepest = of_numpy(np.vander(T.numpy(), 2))[0]
    assert auto_lr(curve, points, mse, True, Adam([curve.params], 0.1)) == pytest.approx(1 / steepest, rel=1e-12)


@pytest.mark.parametrize("optimizer", [SGD, Momentum, Nesterov])
@pytest.mark.parametrize("function", FAMILIES)
def test_auto_brings_a_linear_function_to_least_squares(function, optimizer):
    y = numbers(12)
    columns = np.stack(FAMILIES[function](CENTRED.numpy()), axis=1)
    best = np.linalg.lstsq(columns, y.numpy(), rcond=None)[0]
    result = fit(function, CENTRED, y, lr="auto", steps=1000, start="random", optimizer=optimizer)
    assert list(result.parameters.values()) == pytest.approx(best, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("function", ["linear", "cubic", "a*log(t + 2) + b*sqrt(t + 2)", "a*sin(t) + b*cos(t)"])
def test_at_this_rate_the_loss_of_a_linear_function_only_falls(function):
    history = fit(function, T, numbers(12), lr="auto", steps=200, start="random").rmse_history
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(history))


def test_one_parameter_is_found_in_one_step():
    y = 3 * T + numbers(12)
    result = fit("a*t", T, y, lr="auto", steps=1, init={"a": -50})
    assert result.parameters["a"] == pytest.approx(((T @ y) / (T @ T)).item(), rel=1e-12)

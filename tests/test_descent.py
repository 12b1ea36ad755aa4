import pytest
import torch

from gd_lightning.convergence import DIVERGED, STEP_LIMIT, STOPPED, Tolerance
from gd_lightning.curve import Curve, initialize
from gd_lightning.descent import Descent, NonFiniteError, descend
from gd_lightning.optim import SGD
from gd_lightning.points import Points


def begin(article, lr):
    curve = Curve("quadratic")
    curve.start(article.start)
    return Descent(curve), SGD([curve.params], lr)


def test_the_article_to_the_last_digit(article):
    descent, rule = begin(article, 1e-5)
    for _ in range(10):
        assert descent.step(rule, Points(article.t, article.y))
    assert descent.rmse_history == article.rmse


def test_initialize_draws_the_article_s_start_after_its_noise(article):
    generator = torch.Generator().manual_seed(2021)
    torch.rand(20, generator=generator)
    start = initialize(3, generator)
    assert torch.equal(start, article.start)
    assert start.tolist() == [-0.12840519845485687, -1.0042424201965332, 0.5672656297683716]


def test_one_step_is_params_minus_lr_times_gradient(article):
    descent, rule = begin(article, 1e-5)
    a, b, c = article.start.double()
    t, y = article.t.double(), article.y.double()
    residual = a * t**2 + b * t + c - y
    gradient = torch.stack([(2 * residual * t**power).mean() for power in (2, 1, 0)])
    descend(descent.curve, rule, article.t, article.y)
    expected = article.start.double() - 1e-5 * gradient
    torch.testing.assert_close(descent.curve.params.detach().double(), expected, rtol=1e-6, atol=0)
    assert descent.curve.params.grad is None  # reset


def test_it_arrives_at_the_closed_form_when_t_is_standardised(article):
    t = (article.t - article.t.mean()) / article.t.std()
    columns = torch.stack([t**2, t, torch.ones(20)], dim=-1).double()
    best = torch.linalg.lstsq(columns, article.y.double()).solution
    descent, rule = begin(article, 0.3)
    for _ in range(500):
        descent.step(rule, Points(t, article.y))
    torch.testing.assert_close(descent.curve.params.detach().double(), best, rtol=1e-5, atol=1e-5)
    assert descent.rmse_history[-1] == pytest.approx(1.4673, abs=1e-4)


def test_separate_series_descend_as_if_alone(article):
    """Summed losses: a mean over series would divide every learning rate by their number."""
    both = Curve("quadratic")
    both.start(torch.stack([article.start, -article.start]))
    rule = SGD([both.params], 1e-5)
    targets = torch.stack([article.y, article.y.flip(0)])
    for _ in range(10):
        descend(both, rule, article.t, targets)
    for i, start in enumerate((article.start, -article.start)):
        alone = Curve("quadratic")
        alone.start(start)
        rule = SGD([alone.params], 1e-5)
        for _ in range(10):
            descend(alone, rule, article.t, targets[i])
        assert torch.equal(both.params[i], alone.params)


def test_a_loss_that_is_not_finite_is_refused_before_the_step(article):
    descent, rule = begin(article, 1e-5)
    targets = article.y.clone()
    targets[3] = float("nan")
    with pytest.raises(NonFiniteError, match="the loss is nan"):
        descend(descent.curve, rule, article.t, targets)
    assert torch.equal(descent.curve.params, article.start)


@pytest.mark.parametrize("steps", [9, 10, 11, 100])
def test_divergence_keeps_the_last_parameters_with_a_finite_loss(article, steps):
    """With lr = 1e-3 the loss overflows after step 10; the fit may end before, with it, or would after."""
    descent, rule = begin(article, 1e-3)
    for _ in range(steps):
        if not descent.step(rule, Points(article.t, article.y)):
            break
    descent.end(rule, Points(article.t, article.y))
    assert torch.isfinite(descent.curve.params).all()
    assert len(descent.rmse_history) == min(steps, 10)
    if steps == 9:
        assert descent.status == STEP_LIMIT
        assert "and the RMSE rose; try a smaller lr" in descent.message
    else:
        assert descent.status == DIVERGED
        assert "inf at step 10 with lr=0.001" in descent.message
        loss = ((descent.curve(article.t) - article.y) ** 2).mean()
        assert loss.item() ** 0.5 == descent.rmse_history[-1]


@pytest.mark.parametrize("lr", [4e-5, 1e-4, 1e-3, 1.0])
def test_the_learning_rate_that_a_divergence_suggests_descends(article, lr):
    descent, rule = begin(article, lr)
    while descent.step(rule, Points(article.t, article.y)):
        pass
    suggested = float(descent.message.rpartition("such as ")[2])
    descent, rule = begin(article, suggested)
    for _ in range(200):
        descent.step(rule, Points(article.t, article.y))
    descent.end(rule, Points(article.t, article.y))
    assert descent.status == STEP_LIMIT
    assert descent.rmse_history[-1] < 18.1


def test_a_start_without_finite_loss_diverges_at_once(article):
    curve = Curve("quadratic")
    curve.start(torch.tensor([1e30, 0.0, 0.0]))
    descent, rule = Descent(curve), SGD([curve.params], 1e-5)
    assert not descent.step(rule, Points(article.t, article.y))
    assert descent.status == DIVERGED
    assert "a=1e+30" in descent.message
    assert "try another start" in descent.message
    assert curve.params.tolist() == [pytest.approx(1e30), 0, 0]


def test_a_gradient_that_is_not_finite_is_named():
    """sqrt has an infinite slope at t = 0, whatever the learning rate."""
    curve = Curve(lambda t, a: torch.sqrt(a * t))
    curve.start(torch.ones(1))
    descent, rule = Descent(curve), SGD([curve.params], 1e-5)
    assert not descent.step(rule, Points(torch.arange(3.0), torch.ones(3)))
    assert descent.status == DIVERGED
    assert "the gradient is nan before step 1" in descent.message
    assert curve.params.tolist() == [1]


def test_stopped_from_outside(article):
    descent, rule = begin(article, 1e-5)
    descent.step(rule, Points(article.t, article.y))
    descent.stop("enough")
    assert (descent.status, descent.message) == (STOPPED, "enough")


def test_a_loaded_descent_goes_on_with_the_series_that_had_arrived():
    """The end of a run judges each series; those that have arrived go on where the others do."""
    t = torch.linspace(0, 1, 10)
    points = Points(t, torch.stack([2 * t + 1, 30 * t**2]))

    def begun():
        curve = Curve("linear")
        curve.start(torch.zeros(2, 2))
        return Descent(curve, tolerance=Tolerance.of(torch.float32)), SGD([curve.params], 0.5)

    straight, rule = begun()
    for _ in range(160):
        assert straight.step(rule, points)
    first, rule = begun()
    for _ in range(140):
        first.step(rule, points)
    first.end(rule, points)
    then, rule = begun()
    then.curve.set_params(first.curve.params.detach())
    then.load_state_dict(first.state_dict())
    for _ in range(20):
        assert then.step(rule, points)
    assert torch.equal(then.curve.params, straight.curve.params)


def test_what_was_seen_before_the_last_step_of_many(article):
    curve = Curve("quadratic")
    curve.start(torch.tensor(list(article.init.values())))
    descent, points = Descent(curve), Points(article.t, article.y)
    assert len(descent.advance(SGD([curve.params], 1e-5), points, 10)) == 10
    preds, loss = descent.seen
    assert torch.equal(preds, curve.evaluate(article.t, descent.params_before).detach())
    assert loss.item() == descent.loss


def test_series_that_diverge_do_not_keep_others_from_converging(article):
    """Of several series in one descent each is judged at the end, also where the last step loses one."""
    t = (article.t - article.t.mean()) / article.t.std()
    curve = Curve("quadratic")
    curve.set_params(torch.zeros(2, 3))
    curve.start(torch.tensor([[0.0, 0, 0], [1e18, 0, 0]]))
    targets = torch.stack([article.y, article.y])
    points, lr = Points(t, targets), torch.tensor([[0.3], [1e3]])
    rule = SGD([curve.params], lr)
    descent = Descent(curve)
    descent.tolerance = Tolerance.of(torch.float32)
    for _ in range(300):
        if not descent.step(rule, points):
            break
    descent.end(rule, points)
    assert descent.statuses == ["converged", "diverged"]

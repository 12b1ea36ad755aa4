"""The summary: its numbers are NumPy's and SciPy's, and who follows it gets what it promises."""

import os
import re

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from test_functions import FAMILIES, ORACLES
from test_guesses import case

from gd_lightning import fit
from gd_lightning.optim import SGD, Adam
from gd_lightning.resolve import parameter_names, resolve

CASES = int(os.environ.get("SUMMARY_CASES", "1"))  # for each family
NOW = r"(?P<unit>RMSE|loss) (?P<now>\S+)(?: over \d+ series)? after (?P<steps>\d+) steps?; "
BETTER = NOW + (
    r"the best (?P<what>.+) for these data has (?P<best>\S+) "
    r"\(Levenberg-Marquardt, (?P<needed>\d+) steps?(?P<end> from this end)?\)\."
)
AS_GOOD = (
    NOW + r"the loss is within (?P<share>\S+) of the least near it(, though the parameters may have further to go)?\."
)
NOTHING = NOW + r"Levenberg-Marquardt finds nothing better near it\."
FORMULA = "a*exp(-b*t) + c"
TIMES = np.linspace(0, 4, 30)
DECAY = 2 * np.exp(-TIMES) + 0.5 + 0.05 * np.cos(11 * TIMES)
SAME = {"dtype": torch.float64}


def read(result):
    """The numbers of the first sentence."""
    for pattern in (BETTER, AS_GOOD, NOTHING):
        found = re.fullmatch(pattern, result.summary.sentences[0])
        if found:
            return pattern, found.groupdict()
    raise AssertionError(result.summary.sentences[0])


def shown(value):
    return f"{value:.4g}"


def values(result):
    return np.array([float(value) for value in result.parameters.values()])


@pytest.mark.parametrize("rule", [SGD, Adam], ids=["SGD", "Adam"])
@pytest.mark.parametrize("name", FAMILIES)
def test_who_follows_the_suggestion_gets_what_it_promises(name, rule):
    for seed in range(CASES):
        rng = np.random.default_rng(seed)
        t, truth = case(name, rng)
        with np.errstate(all="ignore"):
            clean = ORACLES[name](t, *truth)
        y = clean + 0.02 * np.ptp(clean) * rng.normal(size=len(t))
        init = dict(zip(parameter_names(resolve(name)), truth * 2 ** rng.uniform(-1, 1, len(truth)), strict=True))
        lr = "auto" if rule is SGD else 0.01
        result = fit(name, t, y, init=init, optimizer=rule, lr=lr, steps=int(rng.integers(1, 60)), **SAME)
        if result.status == "diverged":
            continue
        pattern, said = read(result)

        def by_numpy(p, t=t, y=y):
            with np.errstate(all="ignore"):
                return np.clip(np.nan_to_num(ORACLES[name](t, *p) - y, nan=1e100), -1e100, 1e100)

        ours = np.square(by_numpy(values(result))).mean()
        assert (said["unit"], said["now"], said["steps"]) == ("RMSE", shown(ours**0.5), str(result.steps))
        again = least_squares(by_numpy, values(result), x_scale=abs(values(result)) + 1e-9, xtol=1e-15, ftol=1e-15)
        least = 2 * again.cost / len(t)
        if pattern is BETTER:
            promised = result.summary.best_params.numpy()
            assert said["best"] == shown(np.square(by_numpy(promised)).mean() ** 0.5)
            assert float(said["best"]) < float(said["now"])
            followed = fit(name, t, y, init=init)
            if result.summary.suggestion:
                assert result.summary.suggestion == "LevenbergMarquardt"
                assert (said["best"], said["needed"]) == (shown(followed.rmse), str(followed.steps))
                np.testing.assert_allclose(values(followed), promised, rtol=1e-9)
            else:
                assert followed.rmse**2 > result.summary.best_loss * (1 + 1e-3)
        elif pattern is AS_GOOD:
            assert ours - least <= 1.1e-3 * ours
            assert result.summary.suggestion is None
        else:
            assert least >= ours * (1 - 1e-8)
            assert result.summary.suggestion is None


def test_levenberg_marquardt_has_nothing_to_add():
    result = fit(FORMULA, TIMES, DECAY, init={"a": 1, "b": 1, "c": 0})
    assert result.summary.sentences == ()
    assert result.summary.suggestion is None
    assert result.summary.best_loss == pytest.approx(result.rmse**2, rel=1e-12)


def test_the_article_s_ten_steps(article):
    """RMSE 18.04 after them, 1.4673 of the best quadratic: numpy.polyfit."""
    result = fit("quadratic", article.t, article.y, init=article.init, lr=1e-5)
    t, y = article.t.double().numpy(), article.y.double().numpy()
    best = np.sqrt(np.mean((np.polyval(np.polyfit(t, y, 2), t) - y) ** 2))
    pattern, said = read(result)
    assert pattern is BETTER
    assert (said["now"], said["steps"], said["what"]) == ("18.04", "10", "quadratic")
    assert (said["best"], said["needed"], said["end"]) == (shown(best), "1", None)
    assert result.summary.suggestion == "LevenbergMarquardt"


def test_a_descent_that_has_arrived_needs_no_suggestion():
    t = np.linspace(-1, 1, 20)
    y = 2 * t + 1 + 0.1 * np.cos(9 * t)
    result = fit("linear", t, y, init={"a": 0, "b": 0}, optimizer=SGD, lr=0.3, steps=300, **SAME)
    pattern, said = read(result)
    assert pattern in (AS_GOOD, NOTHING)
    assert said["now"] == shown(np.sqrt(np.mean((np.polyval(np.polyfit(t, y, 1), t) - y) ** 2)))
    assert result.summary.suggestion is None


def test_how_much_is_left_is_a_share_of_the_loss():
    t = np.linspace(-1, 1, 20)
    y = 2 * t + 1 + 0.5 * np.cos(9 * t)
    result = fit("linear", t, y, init={"a": 0, "b": 0}, optimizer=SGD, lr=0.3, steps=20, **SAME)
    pattern, said = read(result)
    assert pattern is AS_GOOD
    reached = np.mean((np.polyval(values(result), t) - y) ** 2)
    least = np.mean((np.polyval(np.polyfit(t, y, 1), t) - y) ** 2)
    assert float(said["share"]) == pytest.approx((reached - least) / reached, rel=0.5)
    assert said["share"] == f"{(reached - least) / reached:.0e}"


def test_where_the_start_leads_to_a_worse_minimum_nothing_is_suggested():
    """A sine of a wrong frequency: from the start Levenberg-Marquardt ends in another minimum, 0.7 against 0.6965."""
    t = np.linspace(0, 10, 60)
    y, start = np.sin(2 * np.pi * 0.5 * t), {"a": 0.2, "f": 0.66}
    result = fit("a*sin(2*pi*f*t)", t, y, init=start, optimizer=Adam, lr=0.003, steps=10, **SAME)
    pattern, said = read(result)

    def by_numpy(p):
        return p[0] * np.sin(2 * np.pi * p[1] * t) - y

    near = np.sqrt(2 * least_squares(by_numpy, values(result), xtol=1e-15).cost / 60)
    assert pattern is BETTER
    assert said["end"]
    assert said["best"] == shown(near)
    assert fit("a*sin(2*pi*f*t)", t, y, init=start).rmse > near * 1.001
    assert result.summary.suggestion is None


@pytest.mark.parametrize("loss", ["huber(0.1)", "cauchy(0.1)"])
def test_of_robust_losses_it_is_the_loss(loss):
    rng = np.random.default_rng(0)
    y = DECAY + 0.1 * rng.standard_t(1.5, 30)
    init = {"a": 1.5, "b": 0.7, "c": 0.2}
    result = fit(FORMULA, TIMES, y, init=init, loss=loss, optimizer=SGD, lr=0.05, steps=15, **SAME)
    pattern, said = read(result)

    def by_numpy(p):
        return p[0] * np.exp(-p[1] * TIMES) + p[2] - y

    def mean_of(p, evaluations):
        limits = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "max_nfev": evaluations}
        return 2 * least_squares(by_numpy, p, loss=loss.split("(")[0], f_scale=0.1, **limits).cost / 30

    assert pattern is BETTER
    assert (said["unit"], said["now"]) == ("loss", shown(mean_of(values(result), 1)))
    assert said["best"] == shown(mean_of(values(result), 1000))


def test_with_deviations_it_is_the_loss_in_units_of_them():
    sigma = 0.05 * (1 + TIMES)
    init = {"a": 1.5, "b": 0.7, "c": 0.2}
    result = fit(FORMULA, TIMES, DECAY, sigma=sigma, init=init, optimizer=SGD, lr=1e-3, steps=5, **SAME)
    _, said = read(result)

    def by_numpy(p):
        return (p[0] * np.exp(-p[1] * TIMES) + p[2] - DECAY) / sigma

    assert (said["unit"], said["now"]) == ("loss", shown(np.square(by_numpy(values(result))).mean()))
    found = least_squares(by_numpy, [2, 1, 0.5], xtol=1e-15, ftol=1e-15)
    assert said["best"] == shown(2 * found.cost / 30)


def test_of_several_series_it_is_over_all_of_them():
    y = np.stack([DECAY, 2 * DECAY, DECAY + 1])
    init = {"a": 1.5, "b": 0.7, "c": 0.2}
    result = fit(FORMULA, TIMES, y, init=init, optimizer=SGD, lr=0.01, steps=5, **SAME)
    _, said = read(result)
    a, b, c = (result.parameters[name].numpy()[:, None] for name in "abc")
    assert said["now"] == shown(np.sqrt(np.mean((a * np.exp(-b * TIMES) + c - y) ** 2)))
    costs = [
        least_squares(lambda p, y=one: p[0] * np.exp(-p[1] * TIMES) + p[2] - y, [2, 1, 0.5], xtol=1e-15).cost
        for one in y
    ]
    assert said["best"] == shown(np.sqrt(2 * sum(costs) / y.size))
    assert result.summary.suggestion == "LevenbergMarquardt"
    assert result.summary.best_params.shape == (3, 3)


def test_a_start_that_is_not_finite_gets_no_suggestion():
    result = fit("log(a)*t + b", TIMES, DECAY, init={"a": -1, "b": 0}, optimizer=SGD, lr=0.01, steps=5)
    assert result.status == "diverged"
    assert result.summary.suggestion is None
    assert all("nan" not in sentence for sentence in result.summary.sentences)


def test_it_is_told_with_the_result():
    result = fit(FORMULA, TIMES, DECAY, init={"a": 1, "b": 1, "c": 0}, optimizer=SGD, lr=0.01, steps=3)
    text = " ".join(str(result).split())
    assert all(sentence in text for sentence in result.summary.sentences)
    assert "Try: optimizer=LevenbergMarquardt" in text
    assert result.to_dict()["summary"] == list(result.summary.sentences)

import math
from functools import partial

import numpy as np
import pytest
import torch

import gd_lightning
from gd_lightning import SGD, FitResult, InputError, fit
from gd_lightning.compiled import repeat
from gd_lightning.levenberg_marquardt import LevenbergMarquardt


def as_list(values):
    return values.tolist()


def as_double_array(values):
    return np.array(values.tolist())


@pytest.mark.parametrize("make", [as_list, as_double_array, torch.Tensor.numpy, torch.clone])
def test_the_article_from_lists_arrays_and_tensors(article, make, capsys):
    result = fit("quadratic", make(article.t), make(article.y), init=article.init, lr=1e-5, steps=10)
    assert result.rmse_history == article.rmse
    assert result.status == "step limit"
    assert result.steps == 10
    assert list(result.parameters) == ["a", "b", "c"]
    assert result.initial_parameters == article.init
    assert capsys.readouterr() == ("", "")


def test_whole_numbers_for_t(article):
    result = fit("quadratic", range(20), article.y, init=article.init, lr=1e-5)
    assert result.rmse_history == article.rmse


def test_a_callable_fits_like_the_family_of_the_same_equation(article):
    def parabola(t, a, b, c):
        return a * t**2 + b * t + c

    assert fit(parabola, article.t, article.y, init=article.init, lr=1e-5).rmse_history == article.rmse


def test_double_precision_on_request_and_from_a_double_tensor(article):
    by_request = fit("quadratic", article.t, article.y, init=article.init, lr=1e-5, dtype=torch.float64)
    by_tensor = fit("quadratic", article.t, article.y.double(), init=article.init, lr=1e-5)
    assert by_request.parameters == by_tensor.parameters
    assert by_request.predict([1.0]).dtype == torch.float64
    assert by_request.rmse_history == pytest.approx(article.rmse, rel=1e-6)
    assert by_request.rmse_history != article.rmse


def test_the_precision_where_none_is_given(article):
    """Double for Levenberg-Marquardt, which ends where rounding does; the article's for gradient descent."""
    assert fit("quadratic", article.t, article.y).targets.dtype == torch.float64
    assert fit("quadratic", article.t, article.y, lr=1e-5).targets.dtype == torch.float32
    assert fit("quadratic", article.t, article.y, dtype=torch.float32).targets.dtype == torch.float32


def test_unless_asked_it_takes_the_step_to_least_squares(article):
    best = np.polyfit(article.t.double().numpy(), article.y.double().numpy(), 2)
    for given in ({}, {"init": article.init}, {"optimizer": LevenbergMarquardt}):
        result = fit("quadratic", article.t, article.y, **given)
        assert list(result.parameters.values()) == pytest.approx(best, rel=1e-11)
        assert (result.status, result.optimizer, result.lr) == ("converged", "LevenbergMarquardt", None)
        assert result.steps <= 3
    assert result.rmse == pytest.approx(1.4673, abs=1e-4)


def test_a_learning_rate_or_a_rule_asks_for_gradient_descent(article):
    for given in ({"lr": 1e-5}, {"optimizer": SGD}, {"lr": 1e-5, "optimizer": SGD}):
        result = fit("quadratic", article.t, article.y, init=article.init, **given)
        assert result.rmse_history == article.rmse
        assert (result.status, result.optimizer, result.lr) == ("step limit", "SGD", 1e-5)


def test_it_reaches_least_squares(article):
    t, y = (article.t - 9.5) / 5.9, article.y.double()
    best = np.polyfit(t.double().numpy(), y.numpy(), 2)
    to_the_end = fit("quadratic", t, y, lr=0.3, steps=2000, tolerance={"loss": 0, "step": 0})
    assert list(to_the_end.parameters.values()) == pytest.approx(best, rel=1e-9)
    result = fit("quadratic", t, y, lr=0.3, steps=2000)
    assert result.status == "converged"
    assert result.steps < 100
    assert list(result.parameters.values()) == pytest.approx(best, rel=1e-5)
    assert result.rmse == pytest.approx(to_the_end.rmse, rel=1e-10)


def test_any_optimizer_of_torch(article):
    t = (article.t - 9.5) / 5.9
    result = fit("quadratic", t, article.y, lr=1.0, steps=500, optimizer=torch.optim.Adam)
    assert result.rmse == pytest.approx(1.4673, abs=1e-3)


def test_start_is_random_and_seeded_and_in_part_given(article):
    one, same = (fit("quadratic", article.t, article.y, seed=1, lr=1e-5) for _ in range(2))
    other = fit("quadratic", article.t, article.y, seed=2, lr=1e-5)
    part = fit("quadratic", article.t, article.y, seed=1, init={"b": 4}, lr=1e-5)
    assert one.initial_parameters == same.initial_parameters
    assert one.initial_parameters != other.initial_parameters
    assert part.initial_parameters == {**one.initial_parameters, "b": 4}
    assert fit("quadratic", article.t, article.y, seed=1).initial_parameters == one.initial_parameters


def test_the_global_generator_is_neither_read_nor_moved(article):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, descended = (fit("quadratic", article.t, article.y, lr=lr) for lr in (None, 1e-5))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert fit("quadratic", article.t, article.y).parameters == one.parameters
    assert fit("quadratic", article.t, article.y, lr=1e-5).parameters == descended.parameters


def test_divergence_is_a_status_not_a_number(article):
    result = fit("quadratic", article.t, article.y, lr=1e-3, steps=1000)
    assert result.status == "diverged"
    assert np.isfinite([result.rmse, *result.parameters.values(), *result.rmse_history]).all()
    assert result.rmse == result.rmse_history[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"function": "quadratik"}, "did you mean 'quadratic'"),
        ({"lr": -1}, "lr: given -1, expected a finite number above 0"),
        ({"lr": float("nan")}, "lr: given nan"),
        ({"lr": "fast"}, "lr: given 'fast'"),
        ({"lr": [1, 2]}, r"lr: given shape \(2,\), expected \(3,\) for each parameter"),
        ({"lr": [1, 2, 0]}, r"lr: lr\[2\] is 0, expected a finite number above 0"),
        ({"lr": {"a": 1}}, "lr: b, c has none; expected one for each of a, b, c"),
        ({"lr": {"a": 1, "b": 1, "c": 1, "d": 1}}, "lr: there is no parameter 'd'"),
        ({"lr": 1e-5, "optimizer": LevenbergMarquardt}, "lr: given 1e-05, and LevenbergMarquardt takes none"),
        ({"tolerance": {"los": 1}}, "tolerance: given 'los'; did you mean 'loss'"),
        ({"tolerance": {"loss": -1}}, "tolerance: loss is -1, expected a number of at least 0"),
        ({"init": 3}, "init: given 3, expected values by name, such as {'a': 1}"),
        ({"init": {"a": "x"}}, "init: a is 'x', expected a finite number"),
        ({"seed": "x"}, "seed: given 'x', expected a whole number of at least 0"),
        ({"dtype": torch.int64}, "dtype: given torch.int64, expected a floating one"),
        ({"y": np.array([1j, 2, 3, 4])}, "y: given ndarray, expected a row of numbers .complex"),
        ({"steps": 0}, "steps: given 0, expected a whole number of at least 1"),
        ({"steps": 2.5}, "steps: given 2.5"),
        ({"steps": True}, "steps: given True"),
        ({"init": {"z": 1}}, "init: quadratic has no parameter 'z'; choose from a, b, c"),
        ({"init": {"a": float("inf")}}, "init: a is inf, expected a finite number"),
        ({"t": [1, 2, 3]}, r"t has shape \(3,\) and y has shape \(4,\)"),
        ({"t": [1, 2, 3], "sigma": [1, 1, 1, float("inf")]}, r"t has shape \(3,\) and y has shape \(4,\)"),
        ({"t": [1, 2, float("nan"), 4]}, "t: point 3 of 4 is nan in torch.float64"),
        ({"t": [1, 2, float("nan"), 4], "lr": 1}, "t: point 3 of 4 is nan in torch.float32"),
        ({"y": [1, 2, 3, 1e300], "lr": 1}, "y: point 4 of 4 is inf in torch.float32"),
        ({"y": [1, 2, 3, float("inf")]}, "y: point 4 of 4 is inf"),
        ({"t": [1], "y": [1]}, "the series has 1 point, expected at least 3"),
        ({"t": [], "y": []}, "the series has 0 points"),
        ({"y": ["a", "b", "c", "d"]}, "y: given list, expected a row of numbers"),
        ({"y": None}, "y: given NoneType, expected a row of numbers"),
    ],
)
def test_wrong_input_is_one_line(changes, message):
    arguments = {"function": "quadratic", "t": [1, 2, 3, 4], "y": [1, 4, 9, 16], **changes}
    with pytest.raises(InputError, match=message) as caught:
        fit(**arguments)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_numbers_of_numpy_are_numbers(article):
    result = fit("quadratic", article.t, article.y, init=article.init, lr=np.float64(1e-5), steps=np.int64(10))
    assert result.rmse_history == article.rmse


@pytest.mark.parametrize("value", [0.0, 2.0, -3.5, 1e6])
def test_data_that_do_not_vary_are_met(value):
    """Of the starts that meet them some have a column that is multiplied with 0 and has no finite square."""
    result = fit("a*exp(-t/tau) + c", np.linspace(0, 5, 30), np.full(30, value))
    assert result.status in ("converged", "singular")
    np.testing.assert_allclose(result.predict(np.linspace(0, 5, 7)), value, rtol=1e-9, atol=1e-12)


def test_the_data_are_copied_and_may_be_read_only(article):
    y = article.y.numpy().copy()
    y.setflags(write=False)
    result = fit("quadratic", article.t, y, init=article.init, lr=1e-5)
    assert result.rmse_history == article.rmse
    for lr in (None, 1e-5):
        mine = article.y.clone()
        result = fit("quadratic", article.t, mine, lr=lr)
        mine[:] = 0
        assert torch.equal(result.targets.float(), article.y)


def test_a_list_in_double_precision_is_not_rounded_on_the_way():
    for given in ({}, {"dtype": torch.float64, "lr": 1e-5}):
        result = fit("linear", [0.1, 0.2], [0.3, 0.4], **given)
        assert result.t.tolist() == [0.1, 0.2]
        assert result.targets.tolist() == [0.3, 0.4]


@pytest.mark.parametrize(
    "function", [lambda t, a: t, lambda t, a: (a * t)[:, None], lambda t, a: None, lambda t, a: np.sin(a * t)]
)
def test_functions_that_cannot_be_fitted(function):
    with pytest.raises(InputError, match=r"function: <lambda> (gives|cannot be computed)"):
        fit(function, [0, 1], [1, 2])


def test_an_array_that_runs_backwards(article):
    result = fit("quadratic", np.arange(20.0)[::-1], article.y.numpy()[::-1], init=article.init, lr=1e-5)
    assert result.rmse_history == pytest.approx(article.rmse, rel=1e-6)


def test_all_names_are_handed_on():
    for name in gd_lightning.__all__:
        assert getattr(gd_lightning, name).__name__ == name
    assert set(gd_lightning.__all__) <= set(dir(gd_lightning))
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        gd_lightning.fitt  # noqa: B018
    assert FitResult is gd_lightning.FitResult


def test_a_descent_that_begins_on_a_top_has_not_converged():
    """cos(a - pi/2 t) has its largest error at a = pi, where its gradient vanishes as well."""
    t, y = [0.0, 1.0], [2.0, 0.0]
    result = fit("cos(a - pi/2*t)", t, y, init={"a": math.pi}, lr=0.1, steps=100)
    assert result.status != "converged"
    assert fit("cos(a - pi/2*t)", t, y, init={"a": math.pi}).rmse == pytest.approx(0.5**0.5)


def test_the_mean_absolute_error_has_not_converged_because_one_point_is_met():
    result = fit("c + 0*t", range(5), [0, 1, 2, 3, 10], init={"c": 10}, loss="mae", lr=1e-12, steps=1000)
    assert result.status == "step limit"


def test_a_scheduler_asks_for_gradient_descent_and_takes_one_learning_rate(article):
    halved = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)
    result = fit("quadratic", article.t, article.y, init=article.init, scheduler=halved)
    assert (result.optimizer, result.steps) == ("SGD", 10)
    assert result.lr == pytest.approx(1e-5 * 0.5**10)
    with pytest.raises(InputError, match="scheduler: given many learning rates"):
        fit("quadratic", article.t, article.y, lr={"a": 1e-5, "b": 1e-3, "c": 0.1}, scheduler=halved)


def test_however_it_is_made_levenberg_marquardt_is_itself(article):
    made = fit("quadratic", article.t, article.y, optimizer=lambda params, lr: LevenbergMarquardt(params))
    assert made.status == "converged"
    assert made.lr is None
    assert made.parameters == fit("quadratic", article.t, article.y).parameters


def test_squares_that_vanish_are_no_convergence():
    with pytest.raises(InputError, match=r"y: point 5 of 5 is 5e-200, .*; multiply it by 1e\+200"):
        fit("linear", range(5), [1e-200 * n for n in range(1, 6)], init={"a": 1e-200, "b": 0})


def test_a_start_without_a_loss_has_no_summary_and_an_exact_fit_has_its_suggestion():
    assert fit("a*log(t - b)", [1.0, 2, 3], [1.0, 2, 3], init={"a": 1, "b": 5}, lr=1e-3).summary.sentences == ()
    line = fit("linear", range(10), [2 * n + 1 for n in range(10)], lr="auto", steps=300)
    assert line.summary.suggestion == "LevenbergMarquardt"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "compile: given true, and Levenberg-Marquardt compiles the steps of more than 50 series only"),
        ({"lr": 1e-5}, "compile: given steps 10, expected at least 100"),
        ({"optimizer": torch.optim.Adam, "lr": 1e-5, "steps": 100}, "compile: given the optimizer Adam"),
        (
            {"lr": 1e-5, "steps": 100, "scheduler": partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.9)},
            "compile: a scheduler",
        ),
    ],
    ids=["least squares", "few steps", "torch", "scheduler"],
)
def test_steps_that_cannot_be_compiled_are_refused(article, options, message):
    with pytest.raises(InputError, match=f"^{message}"):
        fit("quadratic", article.t, article.y, compile=True, **options)


def test_compiled_steps_go_the_same_way(article, monkeypatch):
    taken = []

    def in_python(step, steps, options=None):  # the same steps without a compiler, which takes its time
        taken.append(steps)
        return repeat(step, steps)

    monkeypatch.setattr("gd_lightning.compiled.compile_steps", in_python)
    options = {"init": article.init, "lr": 1e-5, "steps": 800, "dtype": torch.float64}
    compiled = fit("quadratic", article.t, article.y, compile=True, **options)
    plain = fit("quadratic", article.t, article.y, **options)
    assert taken == [100]
    np.testing.assert_allclose(compiled.rmse_history, plain.rmse_history, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"absolute_sigma": "yes", "sigma": 1.0}, "absolute_sigma: given 'yes', expected true or false"),
        ({"optimizer": torch.optim.SGD, "lr": {"a": 1e-3, "b": 1e-2}, "steps": 3}, "one"),
        (
            {"optimizer": SGD, "lr": 1e-3, "scheduler": lambda optimizer: 3, "steps": 3},
            "scheduler: given",
        ),
    ],
)
def test_what_no_fit_takes_is_refused(options, said):
    with pytest.raises(InputError, match=said):
        fit("linear", [0.0, 1.0, 2.0, 3.0], [1.0, 3.0, 5.5, 7.0], **options)


def test_several_predictors_are_given_by_name():
    x = np.arange(6.0)
    found = fit("a*x1 + b*x2", {"x1": x, "x2": x**2}, x + x**2)
    with pytest.raises(InputError, match="t: given list, expected a mapping or data frame with x1, x2"):
        found.predict([1.0, 2.0])
    assert found.predict({"x1": [1.0], "x2": [2.0]}).tolist() == pytest.approx([3.0])

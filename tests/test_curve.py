import copy
import pickle
from functools import partial

import numpy as np
import pytest
import torch

from gd_lightning import Curve, InputError, fit
from gd_lightning.formula import Formula
from gd_lightning.functions import gaussian, polynomial_of

T = np.linspace(0.5, 4, 12)


def damped(t, amplitude, *, rate=1.0):
    return amplitude * torch.exp(-rate * t)


GIVEN = {
    "family": "gaussian",
    "family itself": gaussian,
    "degree": "polynomial(3)",
    "formula": "a*exp(-t/tau) + `c 0`",
    "formula itself": Formula("a*t + b"),
    "import path": "gd_lightning.functions.quadratic",
    "callable": damped,
    "partial": partial(damped, rate=0.5),
}


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda whole: pickle.loads(pickle.dumps(whole))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("function", GIVEN.values(), ids=GIVEN)
def test_a_result_can_be_pickled_and_copied(function, copied):
    result = fit(function, T, np.exp(-T))
    again = copied(result)
    assert again.parameters == result.parameters
    assert torch.equal(again.predict(T), result.predict(T))
    assert again.curve.function_name == result.curve.function_name
    assert again.to_dict() == result.to_dict()
    assert again.points.targets is not result.points.targets


def test_a_pickled_result_keeps_what_was_demanded_and_its_guidance():
    tied = {"b": {"expr": "2*a"}, "c": {"max": 0.1}}
    result = fit("quadratic", {"time": T}, np.exp(-T), parameters=tied, lr="auto", steps=30)
    again = pickle.loads(pickle.dumps(result))
    assert again.parameters["b"] == 2 * again.parameters["a"]
    assert torch.equal(again.predict({"time": T}), result.predict({"time": T}))
    assert again.to_dict() == result.to_dict()


def test_a_pickled_polynomial_still_has_its_guess():
    curve = pickle.loads(pickle.dumps(Curve("polynomial(2)")))
    t = torch.arange(6.0).double()
    assert list(curve.guess(t, 1 + t**2)) == pytest.approx(list(polynomial_of(2).guess(t, 1 + t**2)))


def test_a_formula_is_pickled_as_text():
    assert b"a*t + b" in pickle.dumps(Formula("a*t + b"))
    again = pickle.loads(pickle.dumps(Formula("a*t + b")))
    assert again(t=torch.tensor([0.0, 1.0]), a=2.0, b=1.0).tolist() == [1, 3]


def sum_of_both(t, a=0.0, b=0.0):
    return (a + b) * t


def test_fewer_points_than_parameters_are_for_functions_that_say_so():
    with pytest.raises(InputError, match="has 1 point, expected at least 2"):
        fit(sum_of_both, [2.0], [6.0])
    least_norm = partial(sum_of_both)
    least_norm.least_norm = True
    result = fit(least_norm, [2.0], [6.0])
    assert (result.status, result.parameters) == ("singular", {"a": pytest.approx(1.5), "b": pytest.approx(1.5)})
    assert "a and b" in result.message
    with pytest.raises(InputError, match="has 0 points"):
        fit(least_norm, [2.0, 3.0], [6.0, 6.0], sigma=[np.inf, np.inf])

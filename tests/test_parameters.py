"""Demands on parameters: how they may be written, and that they hold at every step of every rule, in every bit."""

import math

import numpy as np
import pytest
import torch
from conftest import HeavyBall
from scipy.optimize import approx_fprime

from gd_lightning.curve import Curve
from gd_lightning.descent import descend
from gd_lightning.errors import InputError
from gd_lightning.losses import mse
from gd_lightning.optim import SGD
from gd_lightning.parameters import Parameter, Parameters

RULES = {"SGD": SGD, "HeavyBall": HeavyBall, "Adam": torch.optim.Adam, "RMSprop": torch.optim.RMSprop}
DTYPES = [torch.float32, torch.float64]


def one(given):
    return Parameters(("a", "b"), {"a": given}).all[0]


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ({}, Parameter()),
        ({"init": 1}, Parameter(init=1.0)),
        (1, Parameter(init=1.0)),
        (0, Parameter(init=0.0)),
        ("1e-3", Parameter(init=0.001)),
        (np.float32(0.5), Parameter(init=0.5)),
        (torch.tensor(2.0), Parameter(init=2.0)),
        ({"min": 0}, Parameter(min=0.0)),
        ({"max": "2"}, Parameter(max=2.0)),
        ({"min": -math.inf, "max": math.inf}, Parameter()),
        ({"init": 1, "min": 0, "max": 2}, Parameter(1.0, 0.0, 2.0)),
        ({"init": 0, "min": 0, "max": 2}, Parameter(0.0, 0.0, 2.0)),
        ({"init": None, "min": None, "max": None, "fixed": None, "expr": None}, Parameter()),
        ({"fixed": 1.5}, Parameter(1.5, fixed=True)),
        ({"fixed": 0}, Parameter(0.0, fixed=True)),
        ({"fixed": True, "init": 2}, Parameter(2.0, fixed=True)),
        ({"fixed": 2, "init": 2}, Parameter(2.0, fixed=True)),
        ({"fixed": False, "init": 2}, Parameter(2.0)),
        ({"fixed": np.True_, "init": 2}, Parameter(2.0, fixed=True)),
        ({"fixed": np.False_, "init": 2}, Parameter(2.0)),
        ({"min": 3, "max": 3}, Parameter(3.0, 3.0, 3.0, fixed=True)),
    ],
)
def test_what_may_stand_for_a_parameter(given, understood):
    assert one(given) == understood


def test_a_tie():
    demands = Parameters(("a", "b"), {"b": {"expr": "2*a"}})
    assert demands.all[1].tie.text == "2*a"
    assert demands.free == [0]
    assert not demands.all[1].free


def test_nothing_demanded_changes_nothing():
    for given in (None, {}, {"a": {}}, {"a": 3}):
        demands = Parameters(("a", "b"), given)
        assert demands.free == [0, 1]
        assert not demands.constrained
        params = torch.randn(2)
        assert demands.project(params) is params
        assert demands.loosen(params) is params


@pytest.mark.parametrize(
    "given",
    [
        {"a.min": 0, "a.init": 1},
        {"a": {"min": 0}, "a.init": 1},
        {"a.init": 1, "a": {"min": 0}},
        {"a": 1, "a.min": 0},
        {"a.min": 0, "a": 1},
    ],
)
def test_a_dot_stands_for_a_level_in_any_order(given):
    assert Parameters(("a", "b"), given).all == [Parameter(1.0, 0.0), Parameter()]


def test_a_name_with_a_dot_in_it_is_found():
    demands = Parameters(("k.1", "b"), {"k.1": {"init": 2}, "k.1.min": 0})
    assert demands.all[0] == Parameter(2.0, 0.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"aa": 1}, "parameters: the function has no parameter 'aa'; did you mean 'a'?"),
        ({"zz": 1}, "no parameter 'zz'; choose from a, b"),
        ({"aa.min": 1}, "no parameter 'aa'"),
        ({3: 1}, "no parameter '3'"),
        ({"a": {"minimum": 0}}, "a has the key 'minimum'; did you mean 'min'?"),
        ({"a": {"value": 0}}, "a has the key 'value'; choose from expr, fixed, init, max, min"),
        ({"a.lower": 0}, "a has the key 'lower'"),
        ({"a": "much"}, "a has init 'much', expected a finite number"),
        ({"a": None}, "a has init None, expected a finite number"),
        ({"a": True}, "a has init True, expected a finite number"),
        ({"a": [1]}, r"a has init \[1\], expected a finite number"),
        ({"a": math.nan}, "a has init nan, expected a finite number"),
        ({"a": math.inf}, "a has init inf, expected a finite number"),
        ({"a": 1j}, "a has init 1j, expected a finite number"),
        ({"a": 10**400}, "a has init 1000.*, expected a finite number"),
        ({"a": torch.ones(2)}, "a has init tensor"),
        ({"a": {"min": "low"}}, "a has min 'low', expected a number"),
        ({"a": {"min": math.nan}}, "a has min nan, expected a number"),
        ({"a": {"max": -(10**400)}}, "a has max -1000.*, expected a number"),
        ({"a": {"min": 2, "max": 1}}, "a has min 2 and max 1; expected min below max"),
        ({"a": {"min": math.inf}}, "a has min inf and max inf; expected min below max"),
        ({"a": {"max": -math.inf}}, "expected min below max"),
        ({"a": {"init": 3, "max": 2}}, "a has init 3, outside its bounds -inf to 2"),
        ({"a": {"init": -1, "min": 0, "max": 2}}, "a has init -1, outside its bounds 0 to 2"),
        ({"a": {"fixed": 3, "max": 2}}, "a has fixed 3, outside its bounds -inf to 2"),
        ({"a": {"fixed": True}}, "a is fixed, at no value; expected {fixed: 1.5}, or an init beside it"),
        ({"a": {"fixed": "yes"}}, "a has fixed 'yes', expected a finite number"),
        ({"a": {"fixed": 1, "init": 2}}, "a has init 2 and fixed 1; expected one of them"),
        ({"a": {"expr": "2*b", "init": 1}}, "a has expr and init; expected expr alone"),
        ({"a": {"min": 0, "expr": "2*b"}}, "a has expr and min"),
        ({"a": {"expr": 2}}, "a has expr 2, expected text such as '2.a'"),
        ({"a": {"expr": "2*"}}, "formula '2.', column 3"),
        ({"a": {"expr": "2*c"}}, "a has expr '2.c', and there is no parameter 'c'; choose from a, b"),
        ({"a": {"expr": "2*t"}}, "there is no parameter 't'"),
        ({"a": {"expr": "a + 1"}}, "tied to one another in a circle: a = a . 1"),
        ({"a": {"expr": "b"}, "b": {"expr": "a"}}, "in a circle: a = b, b = a"),
        ({"a": {"fixed": 1}, "b": {"expr": "2*a"}}, "all of them are fixed or tied; expected at least one to fit"),
        ([1, 2], r"given \[1, 2\], expected a mapping such as {a: {init: 1, min: 0}}"),
        (3, "given 3, expected a mapping"),
    ],
)
def test_demands_that_cannot_be_are_refused_in_one_line(given, message):
    with pytest.raises(InputError, match=message) as caught:
        Parameters(("a", "b"), given)
    assert str(caught.value).startswith(("parameters: ", "formula "))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ({"z": 1}, "linear has no parameter 'z'"),
        ({3: 1}, "linear has no parameter"),
        ({"a": "x"}, "init: a is 'x', expected a finite number"),
        ({"a": math.nan}, "init: a is nan"),
        ({"a": True}, "init: a is True"),
        ({"a": 10**400}, "init: a is 1000"),
        ({"a": np.ones(2)}, "init: a is array"),
        ({"a": torch.ones(2)}, "init: a is tensor"),
        (np.ones(2), "init: given array"),
        ([1, 2], r"init: given \[1, 2\], expected values by name, such as {'a': 1}"),
    ],
)
def test_starting_values_that_cannot_be(init, message):
    with pytest.raises(InputError, match=message) as caught:
        Curve("linear").known_start(init)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("demand", "init", "message"),
    [
        ({"min": 0}, -1, "init: a is -1, outside its bounds 0 to inf"),
        ({"init": 2}, 1, "init: a is 1, and init 2 among the parameters; give one"),
        ({"fixed": 2}, 1, "init: a is 1, and fixed 2 among the parameters; give one"),
        ({"expr": "2*b"}, 1, r"init: a is tied to '2\*b'"),
    ],
)
def test_a_start_that_contradicts_a_demand(demand, init, message):
    curve = Curve("linear", {"a": demand})
    with pytest.raises(InputError, match=message):
        curve.known_start({"a": init})


@pytest.mark.parametrize("demand", [{"init": 2}, {"fixed": 2}, {"min": 2, "max": 3}])
def test_the_same_start_twice_contradicts_nothing(demand):
    assert Curve("linear", {"a": demand}).known_start({"a": 2}) == {"a": 2.0}


def test_chains_of_ties_are_worked_out_in_the_order_of_need():
    names = ("a", "b", "c", "d", "e")
    given = {"a": {"expr": "b + 1"}, "b": {"expr": "c*d"}, "c": {"expr": "2*d"}, "e": {"expr": "a - pi"}}
    demands = Parameters(names, given)
    assert demands.free == [3]
    d = torch.tensor([3.0, -1.0], dtype=torch.float64)
    params = demands.project(torch.stack([torch.full_like(d, 99)] * 3 + [d, d], dim=-1))
    exact = torch.stack([2 * d * d + 1, 2 * d * d, 2 * d, d, 2 * d * d + 1 - math.pi], dim=-1)
    assert torch.equal(params, exact)


@pytest.mark.parametrize(("expr", "value"), [("3.5", 3.5), ("2*pi", 2 * math.pi), ("where(1 < 2, 3, 4)", 3.0)])
def test_a_tie_to_a_number(expr, value):
    demands = Parameters(("a", "b"), {"a": {"expr": expr}})
    assert demands.project(torch.zeros(2, 2, dtype=torch.float64)).tolist() == [[value, 0.0]] * 2


def test_a_circle_of_three_is_named_and_a_chain_beside_it_is_not():
    given = {"a": {"expr": "b"}, "b": {"expr": "c"}, "c": {"expr": "2*a"}, "d": {"expr": "e"}}
    with pytest.raises(InputError, match=r"in a circle: a = b, b = c, c = 2\*a$"):
        Parameters(("a", "b", "c", "d", "e"), given)


def test_a_tie_to_a_parameter_that_bears_the_name_of_a_function():
    demands = Parameters(("maximum", "half"), {"half": {"expr": "`maximum`/2"}})
    assert demands.project(torch.tensor([3.0, 0.0])).tolist() == [3.0, 1.5]


# Bounds of which no float32 is the exact number: 0.1 lies below its nearest, 0.7 above.
DEMANDS = {
    "both": {"a": {"min": 0.1, "max": 0.3}, "b": {"min": -0.7, "max": -0.1}},
    "lower": {"a": {"min": 0.7}, "b": {"min": 1 / 3}},
    "upper": {"a": {"max": 0.3}, "b": {"max": -1 / 3}},
    "narrow": {"a": {"min": 0.1, "max": 0.1000001}, "b": {"max": 1e-3}},
    "tiny": {"a": {"min": 1e-40}, "b": {"min": -1e-60, "max": 1e-60}},
}
TARGETS = {"up": (5.0, 5.0), "down": (-5.0, -5.0)}


def steps_of(curve, rule, lr, dtype, slope, level, count=40):
    """The parameters after each step of a fit of y = slope*t + level."""
    t = torch.linspace(-1, 1, 9, dtype=dtype)
    y = slope * t + level
    curve.to(dtype)
    curve.start(torch.zeros(len(curve.names), dtype=dtype))
    optimizer = RULES[rule]([curve.params], lr=lr)
    seen = [curve.params.detach().clone()]
    for _ in range(count):
        descend(curve, optimizer, t, y)
        seen.append(curve.params.detach().clone())
    return torch.stack(seen)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("demands", DEMANDS)
@pytest.mark.parametrize("rule", RULES)
def test_bounds_hold_as_real_numbers_at_every_step(rule, demands, target, dtype):
    given = DEMANDS[demands]
    curve = Curve("linear", given)
    seen = steps_of(curve, rule, 0.1, dtype, *TARGETS[target])
    for i, name in enumerate("ab"):
        low, high = given[name].get("min", -math.inf), given[name].get("max", math.inf)
        values = seen[:, i].tolist()  # as Python has them: exact
        assert all(low <= value <= high for value in values)
        # and the fit goes to the bound: to within one float32 of it
        bound = high if target == "up" else low
        if math.isfinite(bound):
            assert values[-1] == pytest.approx(bound, rel=2.5e-7, abs=2e-45)


def test_bounds_between_which_a_precision_has_no_number_are_refused():
    curve = Curve("linear", {"a": {"min": 0.1, "max": 0.1 + 1e-12}})
    with pytest.raises(InputError, match="a"):
        steps_of(curve, "SGD", 0.1, torch.float32, 5.0, 5.0)
    assert len(steps_of(curve, "SGD", 0.1, torch.float64, 5.0, 5.0)) == 41


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_a_bound_that_is_not_reached_changes_nothing(rule, dtype):
    bounded = steps_of(Curve("linear", {"a": {"min": -99, "max": 99}}), rule, 0.1, dtype, 2.0, 1.0)
    assert torch.equal(bounded, steps_of(Curve("linear"), rule, 0.1, dtype, 2.0, 1.0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0.1, -1 / 3, 0.0, 1e-30, 12345.678])
@pytest.mark.parametrize("rule", RULES)
def test_a_fixed_parameter_keeps_every_bit(rule, value, dtype):
    seen = steps_of(Curve("linear", {"b": {"fixed": value}}), rule, 0.1, dtype, 3.0, 2.0)
    assert (seen[:, 1] == torch.tensor(value, dtype=dtype)).all()
    assert (seen[1:, 0] != seen[0, 0]).all()


@pytest.mark.parametrize("rule", [torch.optim.AdamW, torch.optim.Rprop])
def test_rules_that_move_parameters_without_a_gradient_do_not_move_fixed_ones(rule):
    curve, t = Curve("linear", {"b": {"fixed": 0.1}}), torch.linspace(-1, 1, 9)
    curve.start(torch.zeros(2))
    optimizer = rule([curve.params], lr=0.1)
    for _ in range(10):
        descend(curve, optimizer, t, 2 * t)
        assert curve.params[1] == torch.tensor(0.1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_ties_hold_at_every_step(rule, dtype):
    curve = Curve("a*t**2 + b*t + c", {"b": {"expr": "2*a + 1"}, "c": {"expr": "exp(-b)"}})
    seen = steps_of(curve, rule, 0.05, dtype, 3.0, 2.0)
    a, b, c = seen.unbind(-1)
    assert torch.equal(b, 2 * a + 1)
    assert torch.equal(c, torch.exp(-b))
    assert len(a.unique()) > 20


def test_a_fit_with_ties_is_the_fit_of_the_function_in_which_they_are_written_out():
    tied = steps_of(Curve("a*t + b", {"b": {"expr": "2*a"}}), "Adam", 0.1, torch.float64, 3.0, 2.0)
    written = steps_of(Curve("a*t + 2*a"), "Adam", 0.1, torch.float64, 3.0, 2.0)
    assert tied[:, 0].tolist() == pytest.approx(written[:, 0].tolist(), rel=1e-12)


@pytest.mark.parametrize(
    "given",
    [
        {"b": {"expr": "2*a"}},
        {"b": {"expr": "a**2"}, "c": {"expr": "sin(b) + a"}},
        {"a": {"fixed": 0.7}, "c": {"expr": "a*b"}},
        {"c": {"expr": "exp(a)/b"}, "a": {"min": 0.1}},
    ],
)
def test_the_gradient_through_a_tie_against_finite_differences(given):
    curve = Curve("a*exp(-b*t) + c*t", given).double()
    t = torch.linspace(0, 2, 7, dtype=torch.float64)
    y = torch.cos(t)
    curve.start(torch.tensor([0.5, 0.8, 1.2], dtype=torch.float64))
    at = curve.params.detach().clone()
    mse(curve(t), y).backward()
    free = curve.demands.free

    def loss(values):
        moved = at.clone()
        moved[free] = torch.from_numpy(values)
        return mse(curve.evaluate(t, curve.demands.project(moved)), y).item()

    numeric = approx_fprime(at[free].numpy(), loss, 1e-7)
    assert curve.params.grad[free].tolist() == pytest.approx(numeric.tolist(), rel=1e-5, abs=1e-7)
    others = [i for i in range(3) if i not in free]
    assert (curve.params.grad[others] == 0).all()


def test_series_side_by_side_are_bounded_fixed_and_tied_each_for_itself():
    demands = Parameters(("a", "b", "c"), {"a": {"max": 1}, "b": {"fixed": 2}, "c": {"expr": "a + b"}})
    params = torch.tensor([[0.5, 0, 0], [3, 0, 0]])
    assert demands.project(params).tolist() == [[0.5, 2, 2.5], [1, 2, 3]]
    assert demands.project(params.expand(4, 2, 3)).shape == (4, 2, 3)

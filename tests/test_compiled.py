import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, HeavyBall

from gd_lightning.compiled import CompiledSteps, pure_step, repeat
from gd_lightning.curve import Curve
from gd_lightning.descent import descend
from gd_lightning.errors import InputError
from gd_lightning.losses import make_loss, mse
from gd_lightning.optim import SGD, UpdateRule
from gd_lightning.points import Points

STEPS = 20


class Adam(UpdateRule):
    """Adam, as in Kingma and Ba (2015): a rule that counts its steps."""

    def __init__(self, params, lr, beta1=0.9, beta2=0.999, eps=1e-8):
        super().__init__(params, lr, beta1=beta1, beta2=beta2, eps=eps)

    def update(self, theta, g, state, lr, beta1, beta2, eps):
        if not state:
            state |= {"step": torch.zeros(()), "m": torch.zeros_like(g), "v": torch.zeros_like(g)}
        n = state["step"] = state["step"] + 1
        m = state["m"] = beta1 * state["m"] + (1 - beta1) * g
        v = state["v"] = beta2 * state["v"] + (1 - beta2) * g**2
        return theta - lr * (m / (1 - beta1**n)) / ((v / (1 - beta2**n)).sqrt() + eps)


def eager(curve, rule, points, loss_function, steps):
    """What `descend` gives: parameters before each step, and losses."""
    before, losses = [], []
    for _ in range(steps):
        before.append(curve.params.detach().clone())
        losses.append(descend(curve, rule, *points, loss_function)[1])
    return torch.stack(before), torch.stack(losses)


def twins(function, start, rule, dtype, parameters=None, lr=1e-5):
    curves = []
    for _ in range(2):
        curve = Curve(function, parameters).to(dtype)
        curve.set_params(curve.params.expand(*start.shape[:-1], -1))
        curve.start(start)
        curves.append(curve)
    return [(curve, rule([curve.params], lr)) for curve in curves]


def near(actual, expected):
    tolerance = 1e-12 if expected.dtype == torch.float64 else 1e-5
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


QUADRATIC = torch.tensor([-0.1284, -1.0042, 0.5673])
SIGMA = torch.linspace(0.5, 2, 20)
PADDED = torch.where(torch.arange(20) < 15, SIGMA, torch.inf)
DECAY = "a*exp(-t/tau)+c"
CASES = {
    "quadratic": {"function": "quadratic", "start": QUADRATIC},
    "momentum": {"function": "quadratic", "start": QUADRATIC, "rule": HeavyBall, "lr": 1e-6},
    "adam": {"function": "quadratic", "start": QUADRATIC, "rule": Adam, "lr": 1e-2},
    "gaussian": {"function": "gaussian", "start": torch.tensor([50.0, 15.0, 4.0]), "lr": 1e-3},
    "formula": {"function": DECAY, "start": torch.tensor([80.0, 5.0, 10.0]), "lr": 1e-3},
    "callable": {"function": lambda t, a, b: a * torch.exp(b * t), "start": torch.tensor([40.0, -0.1]), "lr": 1e-6},
    "huber": {"function": "quadratic", "start": QUADRATIC, "loss": "huber(2.5)"},
    "sigma": {"function": "quadratic", "start": QUADRATIC, "sigma": SIGMA},
    "padded": {"function": "quadratic", "start": QUADRATIC, "sigma": PADDED},
    "batch": {"function": "quadratic", "start": torch.stack([QUADRATIC, -QUADRATIC, 2 * QUADRATIC]), "rule": HeavyBall},
    "bounds": {
        "function": "quadratic",
        "start": QUADRATIC,
        "parameters": {"a": {"min": 0, "max": 0.1}, "b": {"max": -1}},
    },
    "fixed and tied": {
        "function": "quadratic",
        "start": QUADRATIC,
        "parameters": {"c": {"fixed": 3}, "b": {"expr": "2*a - 1"}},
        "rule": HeavyBall,
    },
    "tied to a number": {"function": DECAY, "start": QUADRATIC, "parameters": {"tau": {"expr": "3"}}, "lr": 1e-3},
}


SINGLE = ["quadratic", "adam", "batch", "bounds"]
AT_ONCE = [  # each case is a compilation of seconds
    ("quadratic", torch.float64),
    ("fixed and tied", torch.float64),
    ("padded", torch.float64),
    ("adam", torch.float32),
    ("batch", torch.float32),
    ("bounds", torch.float32),
]
PAIRS = [*((name, torch.float64) for name in CASES), *((name, torch.float32) for name in SINGLE)]


@pytest.mark.no_cover  # the compiler of Python's code takes several times as long when it is watched
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        pytest.param(*pair, marks=() if pair in AT_ONCE else pytest.mark.slow, id=f"{pair[0]}, {pair[1]}")
        for pair in PAIRS
    ],
)
def test_the_steps_are_those_of_descend(article, name, dtype):
    case = {"rule": SGD, "lr": 1e-5, "loss": "mse", "sigma": None, "parameters": None} | CASES[name]
    loss_function = make_loss(case["loss"])
    batch = case["start"].shape[:-1]
    y = article.y + torch.arange(3.0).unsqueeze(-1) if batch else article.y
    sigma = None if case["sigma"] is None else case["sigma"].to(dtype)
    points = Points(article.t.to(dtype), y.to(dtype), sigma)
    (one, its_rule), (many, their_rule) = twins(
        case["function"], case["start"].to(dtype), case["rule"], dtype, case["parameters"], case["lr"]
    )
    compiled = CompiledSteps(many, their_rule, loss_function, STEPS)
    for turn in range(3):  # the first of a rule with state is in Python
        before, losses = eager(one, its_rule, points, loss_function, STEPS)
        taken = compiled.take(points)
        assert taken is not None
        near(taken[0], before)
        near(taken[1], losses)
        near(many.params.detach(), one.params.detach())
        assert many.params.requires_grad
        if turn == 1:  # steps one by one may come between
            eager(one, its_rule, points, loss_function, 1)
            eager(many, their_rule, points, loss_function, 1)
    ours, theirs = its_rule.state_dict(), their_rule.state_dict()
    assert ours["state"].get(0, {}).keys() == theirs["state"].get(0, {}).keys()
    for key, value in ours["state"].get(0, {}).items():
        near(theirs["state"][0][key], value)
        assert theirs["state"][0][key].dtype == value.dtype


def test_nothing_changes_where_a_step_leaves_the_finite_numbers(article):
    """With lr = 1e-3 the loss overflows after step 10."""
    [(curve, rule), _] = twins("quadratic", article.start, HeavyBall, torch.float32, lr=1e-5)
    points = Points(article.t, article.y)
    compiled = CompiledSteps(curve, rule, steps=STEPS)
    assert compiled.take(points) is not None
    rule.param_groups[0]["lr"] = 1e-2
    before, velocity = curve.params.detach().clone(), rule.state[curve.params]["v"].clone()
    assert compiled.take(points) is None
    assert torch.equal(curve.params, before)
    assert torch.equal(rule.state[curve.params]["v"], velocity)


def test_an_infinite_gradient_that_a_bound_hides_is_seen():
    """sqrt has an infinite slope at a = 0, from which the bound would bring a back at once."""
    [(curve, rule), _] = twins(
        lambda t, a: torch.sqrt(a) + 0 * t, torch.zeros(1), SGD, torch.float32, {"a": {"min": 0, "max": 2}}
    )
    points = Points(torch.arange(3.0), torch.ones(3))
    assert repeat(pure_step(curve, rule), 2)(curve.params.detach(), {}, torch.tensor(1e-5), points)[4].isinf().any()
    assert CompiledSteps(curve, rule, steps=STEPS).take(points) is None
    assert curve.params.tolist() == [0]


def test_another_learning_rate_and_other_points_need_no_other_object(article):
    (one, its_rule), (many, their_rule) = twins("quadratic", QUADRATIC, SGD, torch.float32)
    compiled = CompiledSteps(many, their_rule, steps=STEPS)
    for lr, count in ((1e-5, 20), (2e-5, 20), (2e-5, 12)):
        points = Points(article.t[:count], article.y[:count])
        its_rule.param_groups[0]["lr"] = their_rule.param_groups[0]["lr"] = lr
        _, losses = eager(one, its_rule, points, mse, STEPS)
        near(compiled.take(points)[1], losses)
    assert len(compiled._compiled) == 2


def test_a_rule_of_torch_is_refused(article):
    curve = Curve("quadratic")
    with pytest.raises(InputError, match=r"^compile: given the optimizer Adam, expected one of gd_lightning's rules"):
        CompiledSteps(curve, torch.optim.Adam([curve.params]))


def test_a_function_that_looks_at_its_values_is_refused_in_one_line(article):
    def odd(t, a):
        return a * t if a.item() > 0 else -a * t

    [(curve, rule), _] = twins(odd, torch.ones(1), SGD, torch.float32)
    with pytest.raises(InputError, match=r"^compile: odd cannot be compiled by torch: .*; compile: false works$"):
        CompiledSteps(curve, rule, steps=STEPS).take(Points(article.t, article.y))
    assert curve.params.tolist() == [1]


@pytest.mark.parametrize("hidden", ["PATH", "CXX"])
def test_without_a_compiler_it_says_so(tmp_path, hidden):
    code = """
import torch
from gd_lightning import SGD, fit
from gd_lightning.compiled import CompiledSteps
from gd_lightning.curve import Curve
from gd_lightning.points import Points

curve, t = Curve("linear"), torch.arange(8.0)
steps = CompiledSteps(curve, SGD([curve.params], 1e-3))
for compiled in (
    lambda: steps.take(Points(t, t)),
    lambda: fit("a*exp(-t/tau)", t, torch.exp(-t / 3).repeat(60, 1), init={"a": 1, "tau": 2}, compile=True),
):
    try:
        compiled()
    except ValueError as error:
        print(error)
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    env.pop("CXX", None)
    env[hidden] = str(tmp_path / "none")
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300)
    said = done.stdout.splitlines()
    assert len(said) == 2, done.stderr
    for line in said:
        assert line.startswith("compile: no C++ compiler that works was found; install g++ or clang")
        assert line.endswith("compile: false works")


def test_importing_it_does_not_import_the_compiler():
    code = "import sys, gd_lightning.compiled; print('torch._dynamo' in sys.modules, 'torch._inductor' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]

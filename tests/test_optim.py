import pytest
import torch
from conftest import Momentum

from gd_lightning import functions
from gd_lightning.curve import Curve
from gd_lightning.descent import descend
from gd_lightning.errors import InputError
from gd_lightning.optim import SGD, make_rule

RULES = [
    (SGD, {}, torch.optim.SGD, {}),
    (Momentum, {"beta": 0.8}, torch.optim.SGD, {"momentum": 0.8}),
]


def trajectory(name, make_rule, steps=50):
    curve = Curve(name)
    curve.start(torch.linspace(0.5, 1, len(curve.names)))
    rule = make_rule([curve.params])
    t = torch.linspace(0.5, 2, 9)  # where every family is defined
    path = []
    for _ in range(steps):
        descend(curve, rule, t, torch.cos(3 * t))
        path.append(curve.params.detach().clone())
    return torch.stack(path)


@pytest.mark.parametrize("name", functions.__all__)
@pytest.mark.parametrize(("rule", "numbers", "torch_rule", "torch_numbers"), RULES)
def test_every_rule_on_every_family_is_torch_optim_s(name, rule, numbers, torch_rule, torch_numbers):
    ours = trajectory(name, lambda params: rule(params, 0.01, **numbers))
    theirs = trajectory(name, lambda params: torch_rule(params, lr=0.01, **torch_numbers))
    # torch.optim adds -lr * g in one fused operation, which rounds once where the equation rounds twice
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert torch.isfinite(ours).all()
    assert not torch.equal(ours[0], ours[-1])


def test_the_state_of_a_rule_survives_a_save():
    theta = torch.nn.Parameter(torch.ones(2))
    rule = Momentum([theta], 0.1)
    theta.grad = torch.tensor([1.0, 2.0])
    rule.step()
    again = Momentum([theta], 0.1)
    again.load_state_dict(rule.state_dict())
    assert torch.equal(again.state[theta]["v"], torch.tensor([1.0, 2.0]))
    again.step()


def test_a_parameter_without_gradient_stays():
    theta = torch.nn.Parameter(torch.ones(2))
    SGD([theta], 0.1).step()
    assert theta.tolist() == [1, 1]


def test_a_closure_is_called_with_gradients_on():
    theta = torch.nn.Parameter(torch.tensor(3.0))
    rule = SGD([theta], 0.1)

    def closure():
        loss = theta**2
        loss.backward()
        return loss.item()

    assert rule.step(closure) == 9
    assert theta.item() == pytest.approx(3 - 0.1 * 6)


def test_a_scheduler_of_torch_fits():
    theta = torch.nn.Parameter(torch.ones(1))
    rule = SGD([theta], 0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(rule, step_size=1, gamma=0.5)
    theta.grad = torch.ones(1)
    rule.step()
    scheduler.step()
    rule.step()
    assert theta.item() == pytest.approx(1 - 0.1 - 0.05)


@pytest.mark.parametrize("lr", [0, -1e-5, float("nan"), float("inf")])
def test_a_learning_rate_that_cannot_descend_is_refused(lr):
    with pytest.raises(InputError, match=f"lr: given {lr}, expected a finite number above 0"):
        SGD([torch.nn.Parameter(torch.ones(1))], lr)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (torch.optim.LBFGS, "LBFGS needs more than one dense gradient a step"),
        (torch.optim.SparseAdam, "SparseAdam needs more"),
        (lambda params, lr: torch.optim.Adam(params, lr, betas=(2, 0)), "optimizer: Invalid beta"),
        (lambda: None, "optimizer: "),
        (lambda params, lr: None, "expected a class such as gd_lightning.SGD"),
    ],
)
def test_rules_that_cannot_be_used(rule, message):
    with pytest.raises(InputError, match=message):
        make_rule(rule, torch.nn.Parameter(torch.ones(1)), 0.1)

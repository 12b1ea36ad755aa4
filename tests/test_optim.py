import copy
import io
import math

import pytest
import torch
from conftest import HeavyBall as OwnMomentum
from torch.optim import lr_scheduler

from gd_lightning import functions
from gd_lightning.curve import Curve
from gd_lightning.descent import descend
from gd_lightning.errors import InputError
from gd_lightning.optim import SGD, Adam, Momentum, Nesterov, RMSprop, UpdateRule, check_lr, growth_of, make_optimizer

RULES = [
    (SGD, {}, torch.optim.SGD, {}),
    (OwnMomentum, {"beta": 0.8}, torch.optim.SGD, {"momentum": 0.8}),
    (Momentum, {}, torch.optim.SGD, {"momentum": 0.9}),
    (Momentum, {"beta": 0.0}, torch.optim.SGD, {}),
    (Nesterov, {}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    (Nesterov, {"beta": 0.5}, torch.optim.SGD, {"momentum": 0.5, "nesterov": True}),
    (RMSprop, {}, torch.optim.RMSprop, {}),
    (RMSprop, {"beta": 0.5, "eps": 1e-3}, torch.optim.RMSprop, {"alpha": 0.5, "eps": 1e-3}),
    (Adam, {}, torch.optim.Adam, {}),
    (Adam, {"beta1": 0.5, "beta2": 0.8, "eps": 1e-3}, torch.optim.Adam, {"betas": (0.5, 0.8), "eps": 1e-3}),
]
OURS = [SGD, Momentum, Nesterov, RMSprop, Adam]
SHAPES = [(3,), (2, 3), (2, 4, 3)]
DOUBLE = torch.float64
X = torch.logspace(-4, 1.2, 60, dtype=DOUBLE)


def trajectory(name, make_optimizer, steps=50):
    curve = Curve(name)
    curve.start(torch.linspace(0.5, 1, len(curve.names)))
    rule = make_optimizer([curve.params])
    t = torch.linspace(0.5, 2, 9)  # where every family is defined
    path = []
    for _ in range(steps):
        descend(curve, rule, t, torch.cos(3 * t))
        path.append(curve.params.detach().clone())
    return torch.stack(path)


def loss_of(theta):
    """Nonlinear, each entry with a curvature of its own, each series for itself."""
    slope = torch.linspace(0.5, 2, theta.shape[-1], dtype=theta.dtype)
    return (torch.cos(slope * theta) + slope * theta**2 + 0.3 * theta.prod(dim=-1, keepdim=True)).sum()


def start(shape, dtype, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE).to(dtype)


def steps_of(make, theta, steps=50, scheduler=None):
    """The path of a rule that `make` makes from the parameters."""
    theta = torch.nn.Parameter(theta.clone())
    rule = make([theta])
    schedule = scheduler(rule) if scheduler else None
    path = []
    for _ in range(steps):
        rule.zero_grad()
        loss = loss_of(theta)
        loss.backward()
        rule.step()
        if isinstance(schedule, lr_scheduler.ReduceLROnPlateau):
            schedule.step(loss.item())
        elif schedule:
            schedule.step()
        path.append(theta.detach().clone())
    return torch.stack(path)


@pytest.mark.parametrize("name", functions.__all__)
@pytest.mark.parametrize(("rule", "numbers", "torch_rule", "torch_numbers"), RULES)
def test_every_rule_on_every_family_is_torch_optim_s(name, rule, numbers, torch_rule, torch_numbers):
    ours = trajectory(name, lambda params: rule(params, 0.002, **numbers))
    theirs = trajectory(name, lambda params: torch_rule(params, lr=0.002, **torch_numbers))
    # torch.optim adds -lr * g in one fused operation, which rounds once where the equation rounds twice
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=TOLERANCE.get(rule, 1e-6))
    assert torch.isfinite(ours).all()
    assert not torch.equal(ours[0], ours[-1])


# Where a gradient passes through zero these two step by its sign, whatever its size, so that rounding is seen sooner.
TOLERANCE = {RMSprop: 1e-4, Adam: 1e-4}


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 2e-5), (DOUBLE, 1e-13)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("rule", "numbers", "torch_rule", "torch_numbers"), RULES)
def test_each_rule_goes_the_way_of_its_twin(rule, numbers, torch_rule, torch_numbers, shape, dtype, rtol):
    ours = steps_of(lambda params: rule(params, 0.02, **numbers), start(shape, dtype))
    theirs = steps_of(lambda params: torch_rule(params, lr=0.02, **torch_numbers), start(shape, dtype))
    atol = rtol if dtype == DOUBLE else TOLERANCE.get(rule, rtol)
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)
    assert ours.dtype == dtype


def test_adam_counts_its_steps_in_a_precision_that_long_runs_need():
    ours, theirs = (
        steps_of(lambda params, rule=rule: rule(params, 1e-4), start((3,), torch.float32), 3000)
        for rule in (Adam, torch.optim.Adam)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


SCHEDULERS = [
    lambda rule: lr_scheduler.StepLR(rule, step_size=7, gamma=0.5),
    lambda rule: lr_scheduler.ExponentialLR(rule, gamma=0.95),
    lambda rule: lr_scheduler.CosineAnnealingLR(rule, T_max=50),
    lambda rule: lr_scheduler.OneCycleLR(rule, max_lr=0.05, total_steps=51, cycle_momentum=False),
    lambda rule: lr_scheduler.ReduceLROnPlateau(rule, patience=1, threshold=0.1),
]


@pytest.mark.parametrize("scheduler", range(len(SCHEDULERS)))
@pytest.mark.parametrize(("rule", "numbers", "torch_rule", "torch_numbers"), RULES)
def test_the_schedulers_of_torch_lead_a_rule_as_they_lead_its_twin(rule, numbers, torch_rule, torch_numbers, scheduler):
    scheduler = SCHEDULERS[scheduler]
    theta = start((3,), DOUBLE)
    ours = steps_of(lambda params: rule(params, 0.02, **numbers), theta, scheduler=scheduler)
    theirs = steps_of(lambda params: torch_rule(params, lr=0.02, **torch_numbers), theta, scheduler=scheduler)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    constant = steps_of(lambda params: rule(params, 0.02, **numbers), theta)
    assert not torch.allclose(ours, constant, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("rule", [*OURS, OwnMomentum])
def test_many_learning_rates_go_the_ways_that_each_goes_alone(rule, dtype):
    each = [0.05, 0.02, 0.001]
    theta = start((3, 4), dtype)

    def separable(params, **changes):  # the parameters do not meet in it, so that those alone are those together
        path, params = [], torch.nn.Parameter(params.clone())
        own = rule([params], **changes)
        for _ in range(50):
            own.zero_grad()
            (torch.cos(2 * params) + params**2).sum().backward()
            own.step()
            path.append(params.detach().clone())
        return torch.stack(path)

    by_series = separable(theta, lr=torch.tensor(each, dtype=DOUBLE).unsqueeze(-1))
    alone = [separable(row, lr=lr) for row, lr in zip(theta, each, strict=True)]
    assert torch.equal(by_series, torch.stack(alone, dim=1))
    by_parameter = separable(theta.mT.contiguous(), lr=torch.tensor(each, dtype=dtype))
    assert torch.equal(by_parameter, by_series.mT)
    both = torch.tensor([each, each[::-1]], dtype=dtype)
    of_both = separable(theta[:2, :3], lr=both)
    for i in range(2):
        for j in range(3):
            assert torch.equal(of_both[:, i, j], separable(theta[i, j : j + 1], lr=both[i, j].item())[:, 0])


@pytest.mark.parametrize("rule", OURS)
def test_a_series_is_stepped_as_if_alone(rule):
    theta = start((2, 4, 3), torch.float32)
    together = steps_of(lambda params: rule(params, 0.02), theta)
    alone = steps_of(lambda params: rule(params, 0.02), theta[1, 2])
    assert torch.equal(together[:, 1, 2], alone)


def run_on(theta, rule, steps):
    for _ in range(steps):
        rule.zero_grad()
        loss_of(theta).backward()
        rule.step()
    return theta.detach().clone()


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("lr", [0.02, torch.tensor([0.02, 0.01, 0.03])])
@pytest.mark.parametrize("rule", OURS)
def test_a_save_and_a_load_change_no_bit_of_what_follows(rule, lr, dtype):
    theta = torch.nn.Parameter(start((2, 3), dtype))
    whole = rule([theta], lr)
    run_on(theta, whole, 17)
    file = io.BytesIO()
    torch.save({"rule": whole.state_dict(), "theta": theta.detach()}, file)
    expected = run_on(theta, whole, 20)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = torch.nn.Parameter(saved["theta"])
    other = rule([again], 0.5)
    other.load_state_dict(saved["rule"])
    assert torch.equal(run_on(again, other, 20), expected)
    assert all(isinstance(value, torch.Tensor) for value in other.state[again].values())


@pytest.mark.parametrize("rule", OURS)
def test_a_copy_of_a_rule_steps_like_it(rule):
    theta = torch.nn.Parameter(start((3,), DOUBLE))
    own = rule([theta], 0.02)
    run_on(theta, own, 5)
    again, other = copy.deepcopy((theta, own))
    assert torch.equal(run_on(again, other, 5), run_on(theta, own, 5))


@pytest.mark.parametrize("rule", OURS)
def test_an_update_changes_nothing_in_place_and_keeps_tensors_only(rule):
    theta, g, state = start((2, 3), torch.float32), start((2, 3), torch.float32, seed=1), {}
    own = rule([torch.nn.Parameter(theta)], 0.1)
    numbers = {name: own.param_groups[0][name] for name in own.numbers}
    before = theta.clone(), g.clone()
    own.update(theta, g, state, 0.1, **numbers)
    kept, copies = dict(state), {name: value.clone() for name, value in state.items()}
    own.update(theta, g, state, 0.1, **numbers)
    assert torch.equal(theta, before[0])
    assert torch.equal(g, before[1])
    assert all(torch.equal(kept[name], copies[name]) for name in kept)
    assert {name: value.shape for name, value in state.items()} == {name: value.shape for name, value in kept.items()}


@pytest.mark.parametrize("rule", OURS)
def test_an_update_is_a_graph_without_breaks(rule):
    own = rule([torch.nn.Parameter(torch.ones(3))], 0.1)
    numbers = {name: own.param_groups[0][name] for name in own.numbers}

    def three_steps(theta):
        state = {}
        for _ in range(3):
            theta = own.update(theta, 2 * theta, state, 0.1, **numbers)
        return theta

    theta = start((3,), torch.float32)
    compiled = torch.compile(three_steps, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(theta), three_steps(theta))


def test_a_parameter_without_gradient_stays():
    theta = torch.nn.Parameter(torch.ones(2))
    SGD([theta], 0.1).step()
    assert theta.tolist() == [1, 1]


@pytest.mark.parametrize("rule", OURS)
def test_a_parameter_whose_gradient_is_zero_stays(rule):
    theta = torch.nn.Parameter(torch.ones(2))
    own = rule([theta], 0.1)
    for _ in range(3):
        theta.grad = torch.zeros(2)
        own.step()
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


@pytest.mark.parametrize("lr", [0, -1e-5, float("nan"), float("inf")])
def test_a_learning_rate_that_cannot_descend_is_refused(lr):
    with pytest.raises(InputError, match=f"lr: given {lr}, expected a finite number above 0"):
        SGD([torch.nn.Parameter(torch.ones(1))], lr)


@pytest.mark.parametrize(
    ("lr", "message"),
    [
        (torch.tensor([0.1, 0.0, 0.1]), r"lr: lr\[1\] is 0, expected a finite number above 0"),
        (torch.tensor([[0.1], [math.nan]]), r"lr: lr\[1, 0\] is nan"),
        (torch.tensor([0.1, 0.1, math.inf]), r"lr: lr\[2\] is inf"),
        (torch.tensor([-1, 1, 1]), r"lr: lr\[0\] is -1"),
        (torch.tensor([]), "lr: given 0 values of torch.float32"),
        (torch.tensor([True, True, True]), "lr: given 3 values of torch.bool"),
        (torch.ones(3) * 1j, "lr: given 3 values of torch.complex64"),
        (torch.tensor(-0.1), "lr: given tensor"),
        (torch.ones(2), r"lr: given shape \(2,\), expected one that broadcasts to .* \(2, 3\)"),
        (torch.ones(4, 2, 3), r"lr: given shape \(4, 2, 3\)"),
        (torch.ones(1, 2, 3), r"lr: given shape \(1, 2, 3\)"),
        ([0.1, 0.1, 0.1], r"lr: given \[0.1, 0.1, 0.1\]"),
    ],
)
def test_learning_rates_that_cannot_descend_are_refused_by_their_place(lr, message):
    with pytest.raises(InputError, match=message) as caught:
        make_optimizer(SGD, torch.nn.Parameter(torch.ones(2, 3)), lr)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1), (1, 3), (2, 3)])
def test_learning_rates_that_broadcast_are_taken(shape):
    lr = torch.full(shape, 0.1)
    check_lr(lr)
    theta = torch.nn.Parameter(torch.ones(2, 3))
    rule = make_optimizer(SGD, theta, lr)
    theta.grad = torch.ones(2, 3)
    rule.step()
    torch.testing.assert_close(theta.detach(), torch.full((2, 3), 0.9))


def test_torch_s_rules_take_one_learning_rate():
    theta, lr = torch.nn.Parameter(torch.ones(3)), torch.tensor([0.1, 0.2, 0.3])
    message = "lr: given many values, and torch.optim.Adam takes one number; try a rule of gd_lightning"
    with pytest.raises(InputError, match=message):
        make_optimizer(torch.optim.Adam, theta, lr)
    with pytest.raises(InputError, match=r"takes one number; try a rule of gd_lightning|must be 1-element"):
        make_optimizer(lambda params, lr: torch.optim.Adagrad(params, lr), theta, lr)
    assert make_optimizer(torch.optim.Adam, theta, torch.tensor([0.1])).param_groups[0]["lr"] == pytest.approx(0.1)


def test_groups_with_learning_rates_of_their_own():
    a, b = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    rule = SGD([{"params": [a]}, {"params": [b], "lr": torch.tensor([0.1, 0.2])}], 0.5)
    a.grad = b.grad = torch.ones(2)
    rule.step()
    assert a.tolist() == [0.5, 0.5]
    assert b.tolist() == pytest.approx([0.9, 0.8])
    with pytest.raises(InputError, match="lr: given -1"):
        SGD([{"params": [a], "lr": -1}], 0.5)


@pytest.mark.parametrize(
    ("rule", "numbers", "message"),
    [
        (Momentum, {"beta": 1}, "optimizer: beta is 1, expected a number from 0 to below 1"),
        (Nesterov, {"beta": -0.1}, "optimizer: beta is -0.1"),
        (RMSprop, {"beta": math.nan}, "optimizer: beta is nan"),
        (RMSprop, {"eps": 0.0}, "optimizer: eps is 0.0, expected a finite number above 0, such as 1e-8"),
        (Adam, {"beta1": "x"}, "optimizer: beta1 is 'x'"),
        (Adam, {"beta2": 1.5}, "optimizer: beta2 is 1.5"),
        (Adam, {"eps": math.inf}, "optimizer: eps is inf"),
        (Adam, {"eps": True}, "optimizer: eps is True"),
    ],
)
def test_numbers_of_a_rule_that_are_out_of_range(rule, numbers, message):
    with pytest.raises(InputError, match=message):
        make_optimizer(lambda params, lr: rule(params, lr, **numbers), torch.nn.Parameter(torch.ones(1)), 0.1)


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
        make_optimizer(rule, torch.nn.Parameter(torch.ones(1)), 0.1)


def theta_of_one():
    return [torch.nn.Parameter(torch.ones(1))]


def measured_map(make, x):
    """Spectral radius of what an optimizer of torch does to (error, velocity) on x * theta**2 / 2 with lr = 1."""
    columns = []
    for error, velocity in ((1.0, 0.0), (0.0, 1.0)):
        theta = torch.nn.Parameter(torch.tensor([error], dtype=DOUBLE))
        rule = make([theta])
        rule.state[theta]["momentum_buffer"] = torch.tensor([velocity], dtype=DOUBLE)
        theta.grad = x * theta.detach()
        rule.step()
        columns.append(torch.cat([theta.detach(), rule.state[theta]["momentum_buffer"]]))
    return torch.linalg.eigvals(torch.stack(columns, dim=1)).abs().max()


@pytest.mark.parametrize("beta", [0.3, 0.9, 0.99])
@pytest.mark.parametrize("rule", [Momentum, Nesterov])
def test_growth_is_the_spectral_radius_of_a_step_of_torch(rule, beta):
    def make(params):
        return torch.optim.SGD(params, lr=1.0, momentum=beta, nesterov=rule is Nesterov)

    expected = torch.stack([measured_map(make, x) for x in X])
    growth = rule(theta_of_one(), 0.1, beta).growth(X)
    torch.testing.assert_close(growth, expected, rtol=1e-6, atol=1e-7)  # a double eigenvalue has half the digits
    torch.testing.assert_close(growth_of(make(theta_of_one()))(X), growth)


def test_growth_of_plain_descent():
    x = torch.tensor([0.0, 0.5, 1.0, 2.0, 3.0])
    assert growth_of(SGD(theta_of_one(), 0.1))(x).tolist() == [1, 0.5, 0, 1, 2]
    assert growth_of(torch.optim.SGD(theta_of_one(), 0.1))(x).tolist() == [1, 0.5, 0, 1, 2]
    assert growth_of(torch.optim.SGD(theta_of_one(), 0.0))(x).tolist() == [1, 0.5, 0, 1, 2]
    assert Momentum(theta_of_one(), 0.1, beta=0).growth(x).tolist() == [1, 0.5, 0, 1, 2]
    assert Nesterov(theta_of_one(), 0.1, beta=0).growth(x).tolist() == [1, 0.5, 0, 1, 2]


@pytest.mark.parametrize(
    "make",
    [
        lambda params: Adam(params, 0.1),
        lambda params: RMSprop(params, 0.1),
        lambda params: OwnMomentum(params, 0.1),
        lambda params: torch.optim.Adam(params, 0.1),
        lambda params: torch.optim.SGD(params, 0.1, momentum=0.9, dampening=0.1),
        lambda params: torch.optim.SGD(params, 0.1, weight_decay=0.1),
        lambda params: torch.optim.SGD(params, 0.1, maximize=True),
        lambda params: torch.optim.SGD(params, 0.1, momentum=1.5),
    ],
)
def test_growth_that_is_not_known(make):
    rule = make(theta_of_one())
    assert growth_of(rule) is None
    if isinstance(rule, UpdateRule):
        assert rule.growth(X).isnan().all()

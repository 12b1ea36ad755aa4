import csv
import json
import math
import re

import numpy as np
import pytest
import torch
import yaml
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gd_lightning.conditioning import guidance
from gd_lightning.convergence import Tolerance
from gd_lightning.curve import Curve, initialize
from gd_lightning.descent import Descent
from gd_lightning.errors import InputError
from gd_lightning.fitting import fit
from gd_lightning.levenberg_marquardt import LevenbergMarquardt
from gd_lightning.optim import SGD, Adam, Momentum, Nesterov, RMSprop
from gd_lightning.points import Points
from gd_lightning.starts import is_linear
from gd_lightning.sweep import side_by_side, sweep
from gd_lightning.sweep_report import read_lrs, read_rules, sweep_report
from tests.conftest import ROOT, forked, gd_lightning

NEVER = {"loss": 0, "gradient": 0, "step": 0}


@pytest.fixture(scope="module")
def peak():
    t = torch.linspace(-5, 5, 60)
    noise = torch.randn(60, generator=torch.Generator().manual_seed(1))
    return t, 3 * torch.exp(-((t - 1) ** 2) / (2 * 0.6**2)) + 0.2 * noise


def curvatures(t):
    """Of the loss of a quadratic, from NumPy: the Hessian of the mean of squares is 2/n X'X."""
    x = np.vander(t.double().numpy(), 3)
    return np.linalg.eigvalsh(2 * x.T @ x / len(t))


def same(member, alone, steps):
    """A member's history and parameters are those of a fit, to the last bit."""
    history, params, status = member
    taken = len(alone.rmse_history)
    assert history[:taken] == alone.rmse_history
    assert (status == "diverged") == (alone.status == "diverged")
    if status == "diverged":
        assert all(math.isnan(rmse) for rmse in history[taken:])
        assert params == alone.parameters
    elif taken == steps:
        assert history[-1] == alone.rmse
        assert params == alone.parameters
    else:  # alone it ends where it has arrived
        assert alone.status == status != "step limit"
        assert history[taken] == alone.rmse


def half_as_fast(params, lr):
    return Momentum(params, lr / 2, 0.5)


def members(found):
    return zip(found.rmse_history.tolist(), found.parameters, found.status, strict=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "rule",
    [SGD, Momentum, Nesterov, RMSprop, Adam, torch.optim.SGD, torch.optim.AdamW, half_as_fast],
)
def test_a_member_descends_as_if_alone(article, rule, dtype):
    """Some of these learning rates let SGD and Momentum diverge, the others go on as if nothing had happened."""
    lrs = [1e-7, 1e-5, 3e-5, 6e-5, 1e-3, 1.0, 1e6]
    found = sweep("quadratic", article.t, article.y, lrs=lrs, optimizer=rule, init=article.init, steps=60, dtype=dtype)
    for lr, member in zip(lrs, members(found), strict=True):
        arguments = {"init": article.init, "steps": 60, "dtype": dtype, "tolerance": NEVER}
        same(member, fit("quadratic", article.t, article.y, lr=lr, optimizer=rule, **arguments), 60)
    assert found.lrs == [lr / 2 if rule is half_as_fast else lr for lr in lrs]


@pytest.mark.parametrize(
    "more",
    [
        {"loss": "huber"},
        {"loss": "mae"},
        {"sigma": 0.5},
        {"parameters": {"width": {"min": 0.5}, "center": {"max": 0.9}}},
        {"parameters": {"amplitude": {"fixed": 2.5}, "center": {"expr": "2*width"}}},
    ],
)
def test_as_if_alone_with_losses_sigma_and_bounds(peak, more):
    init = {"width": 0.7} if "fixed" in str(more) else {"amplitude": 1, "center": 0, "width": 1}
    found = sweep("gaussian", *peak, lrs=[1e-3, 1e-2, 0.1, 1, 100], init=init, steps=40, **more)
    for lr, member in zip(found.lrs, members(found), strict=True):
        same(member, fit("gaussian", *peak, lr=lr, init=init, steps=40, tolerance=NEVER, **more), 40)


def test_what_lies_above_the_limit_grows_and_what_lies_below_does_not(article):
    largest = curvatures(article.t)[-1]
    lrs = [share * 2 / largest for share in (0.3, 0.9, 0.99, 1.01, 1.1, 2)]
    found = sweep("quadratic", article.t, article.y, lrs=lrs, init=article.init, steps=3000)
    assert found.limit == pytest.approx(2 / largest, rel=1e-6)
    last = np.array(found.rmse)
    assert (last[:3] < 18.1).all()
    assert all(status == "diverged" or rose for status, rose in zip(found.status[3:], found.rose[3:], strict=True))
    assert found.status[-1] == "diverged"
    assert math.isnan(last[-1])
    assert found.rose[:3] == [False] * 3
    assert found.best == 2
    assert found.settled[-1] is None


def test_the_learning_rates_that_are_tried_bracket_the_limit(article):
    found = sweep("quadratic", article.t, article.y, steps=5)
    limit = 2 / curvatures(article.t)[-1]
    assert len(found.lrs) == 30
    assert found.lrs[0] == pytest.approx(limit / 1000, rel=1e-2)
    assert found.lrs[-1] == pytest.approx(3 * limit, rel=1e-2)
    ratios = np.divide(found.lrs[1:], found.lrs[:-1])
    assert ratios == pytest.approx(3000 ** (1 / 29), rel=2e-2)
    assert found.labels == [f"lr={lr:g}" for lr in found.lrs]
    assert [float(f"{lr:.3g}") for lr in found.lrs] == found.lrs


@pytest.mark.parametrize("rule", [Adam, RMSprop, torch.optim.Adagrad])
def test_a_rule_whose_steps_are_lr_long_tries_from_too_short_to_the_whole_way(article, rule):
    found = sweep("quadratic", article.t, article.y, optimizer=rule, init=article.init, steps=100)
    best = np.polyfit(article.t.double().numpy(), article.y.double().numpy(), 2)
    way = np.abs(best - article.start.double().numpy()).max()
    assert found.limit is None
    assert found.lrs[0] == pytest.approx(0.1 * way / 100, rel=1e-2)
    assert found.lrs[-1] == pytest.approx(way, rel=1e-2)


def test_rules_side_by_side(article):
    rules = [SGD, (Adam, 0.5), LevenbergMarquardt, torch.optim.SGD, (torch.optim.SGD, 1e-6)]
    found = sweep("quadratic", article.t, article.y, rules=rules, lr=2e-5, init=article.init, steps=50)
    assert found.labels[:3] == ["SGD", "Adam", "LevenbergMarquardt"]
    assert found.labels[3:] == ["torch.optim.SGD lr=2e-05", "torch.optim.SGD lr=1e-06"]
    assert found.lrs == [2e-5, 0.5, None, 2e-5, 1e-6]
    for i, rule in ((0, SGD), (1, Adam), (3, torch.optim.SGD), (4, torch.optim.SGD)):
        arguments = {"init": article.init, "steps": 50, "tolerance": NEVER}
        alone = fit("quadratic", article.t, article.y, lr=found.lrs[i], optimizer=rule, **arguments)
        same(list(members(found))[i], alone, 50)
    t, y = article.t.double().numpy(), article.y.double().numpy()
    best = np.polyfit(t, y, 2)
    assert found.rmse[2] == pytest.approx(np.sqrt(np.mean((np.polyval(best, t) - y) ** 2)), rel=1e-9)
    assert found.reachable.rmse == pytest.approx(found.rmse[2], rel=1e-9)
    assert list(found.parameters[2].values()) == pytest.approx(best, rel=1e-6)
    assert found.status[2] == "converged"
    assert found.best == 2
    assert found.settled[2] == 1
    assert found.guidance is None
    assert found.curve.params.dtype == torch.float32


def test_rules_without_a_learning_rate_have_one_that_suits_them(article):
    rules = [SGD, Momentum, Nesterov, RMSprop, Adam, torch.optim.NAdam]
    found = sweep("quadratic", article.t, article.y, rules=rules, init=article.init, steps=500)
    assert "diverged" not in found.status
    assert max(found.rmse[:3] + found.rmse[4:]) < 30  # from 75; RMSprop steps to and fro
    assert found.lrs[0] < 2 / curvatures(article.t)[-1]


def test_random_starts_are_the_article_s_and_come_from_the_seed(article):
    found = sweep("quadratic", article.t, article.y, starts=5, lr=1e-5, steps=20, seed=7)
    generator = torch.Generator().manual_seed(7)
    for i, initial in enumerate(found.initial_parameters):
        assert list(initial.values()) == initialize(3, generator).tolist()
        same(list(members(found))[i], fit("quadratic", article.t, article.y, lr=1e-5, steps=20, init=initial), 20)
    first = fit("quadratic", article.t, article.y, lr=1e-5, steps=20, seed=7)
    assert first.initial_parameters == found.initial_parameters[0]
    again = sweep("quadratic", article.t, article.y, starts=5, lr=1e-5, steps=20, seed=7)
    assert torch.equal(again.rmse_history, found.rmse_history)
    other = sweep("quadratic", article.t, article.y, starts=5, lr=1e-5, steps=20, seed=8)
    assert other.initial_parameters[0] != found.initial_parameters[0]


def test_starts_around_a_guess(peak):
    found = sweep("gaussian", *peak, starts=12, steps=20, parameters={"width": {"min": 0.1}})
    assert found.start == "guess"
    alone = fit("gaussian", *peak, parameters={"width": {"min": 0.1}}, lr=0.1, steps=1)
    assert found.initial_parameters[0] == alone.initial_parameters
    starts = [list(start.values()) for start in found.initial_parameters]
    assert len({tuple(start) for start in starts}) == 12
    assert min(start[2] for start in starts) >= 0.1
    assert np.std(starts, axis=0)[1] < 5  # a peak of width 0.6 is not looked for far away from the points


def test_starts_by_name(peak):
    starts = [{"center": -1, "width": 2}, {"center": 3}]
    found = sweep("gaussian", *peak, starts=starts, init={"amplitude": 1}, optimizer=LevenbergMarquardt, steps=50)
    assert found.initial_parameters == [
        {"amplitude": 1, "center": -1, "width": 2},
        {"amplitude": 1, "center": 3, "width": 2},
    ]
    assert found.lrs == [None, None]


def test_a_start_without_finite_loss_rests_and_the_others_descend(article):
    starts = [{"a": 1e30, "b": 0, "c": 0}, article.init]
    found = sweep("quadratic", article.t, article.y, starts=starts, lr=1e-5, steps=10)
    assert found.status == ["diverged", "step limit"]
    assert found.rmse_history[0].isnan().all()
    assert found.rmse_history[1, :10].tolist() == article.rmse
    assert found.parameters[0]["a"] == pytest.approx(1e30)


def test_all_may_diverge(article):
    found = sweep("quadratic", article.t, article.y, lrs=[1, 10], init=article.init, steps=100)
    assert found.best is None
    assert found.status == ["diverged", "diverged"]
    assert isinstance(found.plot(), Figure)
    json.dumps(found.to_dict(), allow_nan=False)


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"lrs": [1e-5], "starts": 3}, "given lrs and starts, expected one"),
        ({"lrs": [1e-5, 1e-5]}, "1e-05 is given more than once"),
        ({"lrs": []}, "expected a row of learning rates"),
        ({"lrs": [1e-5, -1]}, "expected a finite number above 0"),
        ({"lrs": "many"}, "expected a row of numbers"),
        ({"lrs": [1e-5], "lr": 1e-5}, "a sweep of learning rates"),
        ({"optimizer": LevenbergMarquardt}, "LevenbergMarquardt has no learning rate"),
        ({"starts": 0}, "starts: given 0"),
        ({"starts": []}, "starts: given"),
        ({"starts": [{"d": 1}]}, "no parameter 'd'"),
        ({"rules": []}, "expected update rules"),
        ({"rules": [SGD, SGD], "lr": 1e-5}, "given more than once"),
        ({"rules": ["SGD"]}, "optimizer"),
        ({"steps": 0}, "steps: given 0"),
        ({"y": [[1, 2, 3, 4]] * 2}, "2 series side by side"),
    ],
)
def test_wrong_input_is_one_line(arguments, words):
    given = {"y": [1, 2, 3, 5], **arguments}
    with pytest.raises(InputError) as caught:
        sweep("quadratic", [0, 1, 2, 3], given.pop("y"), **given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_figure(article):
    found = sweep("quadratic", article.t, article.y, steps=50)
    courses, ends, bar = found.plot().axes
    assert [axes.get_xlabel() for axes in (courses, ends)] == ["step", "lr"]
    assert bar.get_title() == "lr"
    dashed = [line for line in courses.lines if line.get_linestyle() == "--"]
    assert len(dashed) == found.status.count("diverged")
    limit = [line.get_xdata()[0] for line in ends.lines if line.get_linestyle() == "--"]
    assert limit == [found.limit]
    assert [text.get_text() for text in ends.texts] == [f"largest stable lr {found.limit:.3g}"]
    labels = [text.get_text() for text in found.plot().legends[0].get_texts()]
    assert labels == ["best fit: 1.467", f"lowest: {min(found.rmse):.4g} at lr {found.lrs[found.best]:.3g}"]
    dots = ends.collections[0].get_offsets()
    finite = [i for i, rmse in enumerate(found.rmse) if math.isfinite(rmse)]
    assert dots[:, 0].tolist() == pytest.approx([found.lrs[i] for i in finite])
    assert dots[:, 1].tolist() == pytest.approx([found.rmse[i] for i in finite])


def test_the_figure_of_rules_names_each_in_a_row_the_best_at_the_top(article):
    rules = [(SGD, 1e-5), (SGD, 1.0), LevenbergMarquardt]
    found = sweep("quadratic", article.t, article.y, rules=rules, steps=50)
    _, ends = found.plot().axes
    assert [label.get_text() for label in ends.get_yticklabels()] == ["LevenbergMarquardt", "SGD lr=1e-05", "SGD lr=1"]
    assert [text.get_text() for text in ends.texts][-1] == "diverged"
    low, high = ends.get_ylim()
    assert low > high


def test_typed_learning_rates_and_rules():
    assert read_lrs("1e-6,1e-5, 3e-5") == read_lrs("[1e-6, 1e-5, 3e-5]") == [1e-6, 1e-5, 3e-5]
    assert read_lrs("1e-6:1e-4:3") == pytest.approx([1e-6, 1e-5, 1e-4])
    assert read_lrs([0.1]) == [0.1]
    assert read_rules("SGD, Adam,LevenbergMarquardt,torch.optim.AdamW") == [
        SGD,
        Adam,
        LevenbergMarquardt,
        torch.optim.AdamW,
    ]
    for text in ("a", "1:2", "1:2:x", "0:1:3", "1e-6,"):
        with pytest.raises(InputError, match="expected 1e-6,1e-5,3e-5, or"):
            read_lrs(text)
    with pytest.raises(InputError, match="did you mean 'Momentum'"):
        read_rules("Momentun")
    with pytest.raises(InputError, match="rules: given 'AdamW'; did you mean"):
        read_rules("AdamW")


def test_what_is_suggested_was_seen(article):
    """The options of a member that has arrived; where none has, Levenberg-Marquardt, which has."""
    slow = sweep("quadratic", article.t, article.y, lrs=[1e-6, 1e-5], init=article.init)
    advice = "Try, with gd-lightning fit: --model.optimizer LevenbergMarquardt --model.lr null"
    assert sweep_report(slow).renderables[-1].plain == advice
    t = (article.t - article.t.mean()) / article.t.std()
    quick = sweep("quadratic", t, article.y, lrs=[0.01, 0.3], steps=400)
    advice = "Try, with gd-lightning fit: --model.lr 0.3 --trainer.max_steps 400"
    assert sweep_report(quick).renderables[-1].plain == advice
    curve = Curve("a*t + b + c", {"b": {"expr": "a/2"}, "c": {"fixed": 0.1}})
    starts = side_by_side(curve, Points(t, article.y), torch.Generator(), starts=3, start="random", lr=0.3, steps=400)
    [start] = re.findall(r"--model.init '(.*)' --trainer", sweep_report(starts).renderables[-1].plain)
    assert list(json.loads(start)) == ["a"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    done = gd_lightning("sweep", "--config", ROOT / "configs" / "quadratic.yaml", cwd=folder)
    return done, folder / "lightning_logs" / "version_0"


def events(folder):
    return EventAccumulator(str(folder), {"scalars": 0, "images": 0, "tensors": 0}).Reload()


def test_the_command_with_nothing_but_a_config(run, article):
    done, folder = run
    assert (done.code, done.err) == (0, "")
    limit = 2 / curvatures(article.t)[-1]
    lines = done.out.splitlines()
    at = next(i for i, line in enumerate(lines) if "largest stable lr" in line)
    assert f"{limit:.3g}" in lines[at]
    assert float(lines[at - 2].split()[1]) <= limit < float(lines[at + 2].split()[1])
    assert "step limit" in lines[at - 2]
    assert "diverged" in lines[at + 2]
    assert "The best fit has RMSE 1.46727" in done.out
    content = json.loads((folder / "sweep.json").read_text())
    assert content["limit"] == pytest.approx(limit)
    assert content["steps"] == 1000
    with (folder / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(content["members"]) == 30
    start = {name: float(rows[0][f"start/{name}"]) for name in "abc"}
    assert start == article.init
    near = next(member for member in content["members"] if member["lr"] > 9e-6)
    alone = fit("quadratic", article.t, article.y, lr=near["lr"], init=article.init, steps=1000, tolerance=NEVER)
    assert near["rmse_history"] == [*alone.rmse_history, alone.rmse]
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_tensorboard_compares_the_members(run):
    _, folder = run
    assert events(folder).Tags()["images"] == ["sweep"]
    content = json.loads((folder / "sweep.json").read_text())
    for member in (content["members"][0], content["members"][-1]):
        found = events(folder / member["label"])
        points = found.Scalars("sweep/rmse")
        assert points[0].step == 0
        assert len(points) <= 200
        for point in points:
            assert point.value == pytest.approx(member["rmse_history"][point.step], rel=1e-6)
        hparams = found.PluginTagToContent("hparams")
        assert member["status"].encode() in hparams["_hparams_/session_start_info"]
    assert points[-1].step < 1000  # the last one diverged
    last = events(folder / content["members"][0]["label"])
    assert last.Scalars("sweep/rmse")[-1].step == 1000
    [final] = last.Scalars("final/rmse")
    assert final.value == pytest.approx(content["members"][0]["rmse"], rel=1e-6)


def test_its_config_repeats_a_run_with_what_was_typed(tmp_path):
    config = ROOT / "configs" / "quadratic.yaml"
    rules = "SGD,Momentum,Adam,LevenbergMarquardt"
    arguments = ["--rules", rules, "--model.lr", "auto", "--trainer.max_steps", "40"]
    first = forked("sweep", "--config", config, *arguments, cwd=tmp_path)
    assert (first.code, first.err) == (0, "")
    logs = tmp_path / "lightning_logs"
    assert yaml.safe_load((logs / "version_0" / "config.yaml").read_text())["rules"] == rules
    again = forked("sweep", "--config", logs / "version_0" / "config.yaml", "--trainer.max_steps", 40, cwd=tmp_path)
    assert (again.code, again.err) == (0, "")
    one, other = (json.loads((logs / f"version_{i}" / "sweep.json").read_text()) for i in (0, 1))
    assert one == other
    assert [member["label"] for member in one["members"]] == rules.split(",")
    assert one["members"][3]["rmse"] == pytest.approx(1.4672722993)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--lrs", "1e-6:x:30"], "lrs: given '1e-6:x:30'"),
        (["--lrs", "1e-6,1e-5", "--starts", "3"], "given lrs and starts, expected one"),
        (["--rules", "SDG"], "did you mean 'SGD'"),
        (["--starts", "three"], "starts"),
        (["--model.optimizer", "LevenbergMarquardt"], "LevenbergMarquardt has no learning rate"),
    ],
)
def test_wrong_input_of_the_command(arguments, words, tmp_path):
    done = forked("sweep", *arguments, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "lightning_logs").exists()


def test_guidance_is_that_of_the_rule(article):
    found = sweep("quadratic", article.t, article.y, lrs=[1e-5], optimizer=Momentum, init=article.init, steps=3)
    told = guidance(
        found.curve,
        found.points,
        Momentum([found.curve.params], 1e-5),
        linear=is_linear(found.curve, found.points),
    )
    assert found.guidance == told

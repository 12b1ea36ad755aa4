import json
import math

import pytest
import torch

from gd_lightning import InputError, fit
from gd_lightning.report import report


@pytest.fixture
def result(article):
    return fit("quadratic", article.t, article.y, init=article.init, lr=1e-5)


def test_predict_is_the_function_at_the_parameters(result, article):
    preds = result.predict(article.t)
    a, b, c = (torch.tensor(value) for value in result.parameters.values())
    assert torch.equal(preds, a * article.t**2 + b * article.t + c)
    assert not preds.requires_grad
    assert torch.equal(result.predict(range(20)), preds)
    assert result.predict([0.5]).shape == (1,)
    assert result.predict(0.5).shape == ()


def test_rmse_belongs_to_the_parameters(result, article):
    loss = ((result.predict(article.t) - article.y) ** 2).mean().item()
    assert result.rmse == loss**0.5
    longer = fit("quadratic", article.t, article.y, init=article.init, lr=1e-5, steps=11)
    assert longer.rmse_history[10] == result.rmse


def test_json_has_the_promised_keys(result, article, tmp_path):
    result.write_json(tmp_path / "result.json")
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]
    content = json.loads((tmp_path / "result.json").read_text())
    assert content["function"] == "quadratic"
    assert content["equation"] == "y = a*t**2 + b*t + c"
    assert content["parameters"] == result.parameters
    assert content["initial_parameters"] == article.init
    assert content["rmse"] == result.rmse
    assert content["rmse_history"] == article.rmse
    assert content["steps"] == 10
    assert content["status"] == "step limit"
    assert content["seed"] == 2021
    assert content["versions"]["torch"].startswith(torch.__version__.partition("+")[0])
    assert {"python", "lightning", "torchmetrics", "gd-lightning"} <= set(content["versions"])


@pytest.mark.parametrize(("start", "lr"), [(1e30, 1e-5), (1e300, None)])
def test_a_start_without_finite_loss_has_no_number_for_rmse(article, tmp_path, start, lr):
    result = fit("quadratic", article.t, article.y, init={"a": start}, lr=lr)
    assert result.status == "diverged"
    assert not math.isfinite(result.rmse)
    result.write_json(tmp_path / "result.json")
    assert json.loads((tmp_path / "result.json").read_text())["rmse"] is None


def test_it_prints_well(result):
    assert str(result) == report(result.to_dict())
    for name in "abc":
        assert f"{name}={result.parameters[name]:.6g}" in repr(result)
    assert "\n" not in repr(result)


def test_plot_shows_data_prediction_and_start(result):
    figure = result.plot()
    labels = [collection.get_label() for collection in figure.axes[0].collections]
    assert labels == ["data", "prediction at the start", "prediction"]
    assert "after 10 steps: RMSE 18.04" in figure.axes[0].get_title()


def test_intervals_of_three_kinds():
    result = fit("a*exp(-t/tau) + c", range(8), [3.9, 3.4, 2.6, 2.5, 2.0, 1.9, 1.6, 1.5])
    assert result.intervals(0.8, "profile") == result.profile(0.8).intervals
    assert result.intervals(0.8, "bootstrap") == result.bootstrap().intervals(0.8)
    assert result.intervals(0.8, "t") == result.intervals(0.8)
    assert len({tuple(result.intervals(0.8, kind)["tau"]) for kind in ("t", "profile", "bootstrap")}) == 3
    with pytest.raises(InputError, match=r"kind: given 'profil'; did you mean 'profile'\?"):
        result.intervals(0.8, "profil")


def test_the_median_rmse_is_that_of_what_was_fitted():
    t = torch.arange(5.0)
    y = torch.stack([2 * t + 0.1 * t.cos(), t + torch.nan, 3 * t + 0.2 * t.sin(), t + 0.3 * t.cos()])
    result = fit("linear", t, y)
    assert f"median RMSE {result.rmse[[0, 2, 3]].median():.6g}" in repr(result)
    assert "median RMSE nan" in repr(fit("linear", t, y[[1, 1]]))


def test_statuses_that_are_as_many_stand_by_the_alphabet():
    t = torch.arange(5.0)
    result = fit("linear", t, torch.stack([t + torch.nan, 2 * t + 0.1 * t.cos()]))
    assert "1 converged, 1 unusable" in repr(result)

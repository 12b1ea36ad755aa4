import sys
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
import pytest
import torch

from gd_lightning import FitResult, InputError, fit
from gd_lightning.frames import to_pandas

T = [0.0, 1.0, 2.0, 3.0]


def test_a_row_for_each_parameter():
    frame = fit("linear", T, [1.0, 3.0, 5.0, 7.0], init={"a": 0.5, "b": 0.25}).to_pandas()
    assert list(frame.index) == ["a", "b"]
    assert frame.index.name == "parameter"
    np.testing.assert_allclose(frame["value"], [2, 1], rtol=1e-12)
    assert frame["start"].tolist() == [0.5, 0.25]
    assert frame.loc["a", "value"] == pytest.approx(2)


def test_the_intervals_are_of_the_kind_that_is_reported():
    t = np.arange(12.0)
    y = 3 * np.exp(-t / 4) + np.random.default_rng(2).normal(0, 0.3, 12)
    result = replace(fit("a*exp(-t/tau)", t, y), interval_kind="profile")
    frame, expected = result.to_pandas(), result.profile().intervals
    assert [tuple(row) for row in frame[["low", "high"]].to_numpy()] == list(expected.values())
    assert tuple(frame.loc["tau", ["low", "high"]]) != result.intervals()["tau"]


def test_a_row_for_each_series():
    result = fit("linear", T, [[1.0, 3.0, 5.0, 7.0], [3.0, 2.0, 1.0, 0.0]])
    frame = result.to_pandas()
    assert frame.index.equals(pd.RangeIndex(2))
    assert [name for name in frame.columns if "error" not in name] == ["a", "b", "rmse", "status"]
    np.testing.assert_allclose(frame["a"], [2, -1], rtol=1e-12)
    assert frame["status"].tolist() == result.status.tolist()
    assert frame["rmse"].tolist() == result.rmse.tolist()


def test_a_block_of_series():
    y = torch.arange(1.0, 7).reshape(2, 3, 1) * torch.tensor(T)
    frame = fit("linear", T, y).to_pandas()
    assert frame.index.tolist() == [(i, j) for i in range(2) for j in range(3)]
    np.testing.assert_allclose(frame["a"], range(1, 7), rtol=1e-6)


@dataclass(frozen=True, repr=False, eq=False)
class Named(FitResult):
    """A result whose errors are known beforehand."""

    @property
    def standard_errors(self):
        return {name: 0.1 if not self.points.batch else torch.full(self.points.batch, 0.1) for name in self.parameters}

    def intervals(self, level):
        assert level == 0.95
        return {name: (value - 0.2, value + 0.2) for name, value in self.parameters.items()}


def named(result, **changes):
    return Named(**{one.name: getattr(result, one.name) for one in fields(result)} | changes)


def test_errors_and_intervals_stand_beside_the_values():
    frame = to_pandas(named(fit("linear", T, [1.0, 3.0, 5.0, 7.0])))
    assert list(frame.columns) == ["value", "standard_error", "low", "high", "start"]
    assert frame["standard_error"].tolist() == [0.1, 0.1]
    np.testing.assert_allclose(frame["low"], [1.8, 0.8], rtol=1e-9)
    np.testing.assert_allclose(frame["high"], [2.2, 1.2], rtol=1e-9)
    several = named(fit("linear", T, [[1.0, 3.0, 5.0, 7.0], [3.0, 2.0, 1.0, 0.0]]), series=("left", "right"))
    frame = to_pandas(several)
    assert list(frame.columns) == ["a", "a_standard_error", "b", "b_standard_error", "rmse", "status"]
    assert frame.index.tolist() == ["left", "right"]
    assert frame.index.name == "series"
    assert frame.loc["right", "a"] == pytest.approx(-1)


def test_without_pandas_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="to_pandas: pandas is not installed; pip install pandas"):
        fit("linear", T, [1.0, 3.0, 5.0, 7.0]).to_pandas()

import numpy as np
import pytest
import statsmodels.api as sm
from choosing import make
from matplotlib.figure import Figure
from test_comparison import names

from gd_lightning import compare
from gd_lightning.comparison_fits import split_functions
from gd_lightning.errors import InputError


def test_a_mixture_has_no_negative_share():
    """In this case of the benchmark, a Lorentzian, the best share without bounds is 1.14, and fits better by chance."""
    case = make(123, 2021)
    found = compare(case.t, case.y, ["pseudo_voigt", "lorentzian"])
    assert case.family == found.best.function == "lorentzian"
    assert found.rows[1].result.parameters["fraction"] == 1
    assert found.rows[1].status == "at bound"


def test_a_fit_that_creeps_goes_on_only_where_it_matters():
    near, far = make(11, 2021), make(5, 2021)
    [row] = [row for row in compare(near.t, near.y, ["logarithmic", "error_function"]).rows if row.p == 4]
    assert row.result.steps > 200
    assert row.status != "step limit"
    [row] = [row for row in compare(far.t, far.y, ["exponential_decay", "gaussian"]).rows if row.function == "gaussian"]
    assert (row.status, row.result.steps) == ("step limit", 200)


def test_of_several_predictors_each_function_takes_those_that_it_names():
    rng = np.random.default_rng(6)
    x1, x2 = rng.normal(size=(2, 40))
    y = 1 + 2 * x1 - 0.05 * x2 + 0.3 * rng.normal(size=40)
    found = compare({"x1": x1, "x2": x2}, y, ["a*x1 + c", "a*x1 + b*x2 + c", "b*x2 + c", "gaussian"])
    assert names(found.rows)[2] == "b*x2 + c"
    assert names(found.rows)[-1] == "gaussian"
    assert "x1" in found.rows[-1].reason
    rows = {row.function: row for row in found.rows}
    for row, columns in ((rows["a*x1 + c"], [x1]), (rows["a*x1 + b*x2 + c"], [x1, x2]), (rows["b*x2 + c"], [x2])):
        ols = sm.OLS(y, sm.add_constant(np.column_stack(columns))).fit()
        assert row.goodness.aic == pytest.approx(ols.aic, rel=1e-9)
    assert isinstance(found.plot(), Figure)


def test_commas_within_formulas():
    assert split_functions("gaussian, min(a, b)*t,a*exp(-t/tau)+c") == ["gaussian", "min(a, b)*t", "a*exp(-t/tau)+c"]
    assert split_functions("[linear,polynomial(6)]") == ["linear", "polynomial(6)"]
    assert split_functions("`a,b`*k + c, linear, `d(`*k") == ["`a,b`*k + c", "linear", "`d(`*k"]
    with pytest.raises(InputError, match="expected names or formulas"):
        split_functions("linear,,gaussian")

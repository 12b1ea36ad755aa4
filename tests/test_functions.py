import inspect

import numpy as np
import pytest
import torch
from scipy import special, stats

from gd_lightning import functions
from gd_lightning.curve import Curve
from gd_lightning.errors import InputError
from gd_lightning.resolve import equation, parameter_names, resolve

FAMILIES = sorted(functions.__all__)

# Each family by another library, written another way where there is one.
ORACLES = {
    "linear": lambda t, a, b: np.polyval([a, b], t),
    "quadratic": lambda t, a, b, c: np.polyval([a, b, c], t),
    "cubic": lambda t, a, b, c, d: np.polyval([a, b, c, d], t),
    "polynomial": lambda t, *c: np.polynomial.Polynomial(c)(t),
    "exponential_growth": lambda t, amplitude, rate: amplitude * np.exp(rate) ** t,
    "exponential_decay": lambda t, amplitude, tau, offset: amplitude * stats.expon.sf(t, scale=tau) + offset,
    "double_exponential": lambda t, a1, tau1, a2, tau2: a1 * np.exp(-1 / tau1) ** t + a2 * np.exp(-1 / tau2) ** t,
    "power_law": lambda t, amplitude, exponent: amplitude * np.exp(exponent * np.log(t)),
    "logarithmic": lambda t, slope, intercept: slope * np.log2(t) * np.log(2) + intercept,
    "logistic": lambda t, maximum, rate, midpoint: maximum * special.expit(rate * (t - midpoint)),
    "gompertz": lambda t, maximum, rate, midpoint: maximum * stats.gumbel_r.cdf(rate * (t - midpoint)),
    "richards": lambda t, maximum, rate, midpoint, shape: (
        maximum * special.expit(rate * (t - midpoint) - np.log(shape)) ** (1 / shape)
    ),
    "hill": lambda t, maximum, half, exponent: maximum / (1 + (half / t) ** exponent),
    "michaelis_menten": lambda t, maximum, half: maximum / (1 + half / t),
    "arrhenius": lambda t, prefactor, energy: prefactor / np.exp(energy / 8.314462618 / t),
    "gaussian": lambda t, amplitude, center, width: (
        amplitude * stats.norm.pdf(t, center, width) * width * np.sqrt(2 * np.pi)
    ),
    "lorentzian": lambda t, amplitude, center, width: amplitude * stats.cauchy.pdf(t, center, width) * width * np.pi,
    "pseudo_voigt": lambda t, amplitude, center, width, fraction: (
        amplitude * (1 - fraction) * np.exp(-np.log(2) * (t - center) ** 2 / width**2)
        + amplitude * fraction * stats.cauchy.pdf(t, center, width) * width * np.pi
    ),
    "sine": lambda t, amplitude, frequency, phase, offset: (
        amplitude * np.exp(1j * (2 * np.pi * frequency * t + phase)).imag + offset
    ),
    "damped_sine": lambda t, amplitude, tau, frequency, phase, offset: (
        amplitude * np.exp(1j * phase + (2j * np.pi * frequency - 1 / tau) * t).imag + offset
    ),
    "error_function": lambda t, amplitude, center, width, offset: (
        amplitude * (2 * stats.norm.cdf(t, center, width / np.sqrt(2)) - 1) + offset
    ),
    "rational": lambda t, a, b, c, d: np.polyval([b, a], t) / np.polyval([d, c, 1], t),
}


def inputs(name, batch=(), dtype=torch.float64):
    """Times where every family is defined, and parameters where every family is."""
    t = torch.linspace(0.25, 3, 7, dtype=dtype)
    shape = (*batch, len(parameter_names(resolve(name))))
    return t, 0.3 + 1.5 * torch.rand(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def test_every_family_has_an_oracle_here():
    assert sorted(ORACLES) == FAMILIES


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize("name", FAMILIES)
def test_batches_equal_the_oracle_series_by_series(name, batch, dtype):
    t, params = inputs(name, batch, dtype)
    y = Curve(name).evaluate(t, params)
    assert y.shape == (*batch, 7)
    assert y.dtype == dtype
    flat = params.reshape(-1, params.shape[-1])
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for row, series in zip(flat, y.reshape(-1, 7), strict=True):
        expected = ORACLES[name](t.double().numpy(), *row.double().numpy())
        assert np.allclose(series.numpy(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["linear", "quadratic", "cubic", "polynomial"])
def test_polynomials_at_times_and_coefficients_of_both_signs(name):
    t = torch.linspace(-2, 3, 7, dtype=torch.float64)
    params = torch.randn(len(parameter_names(resolve(name))), dtype=torch.float64)
    assert np.allclose(Curve(name).evaluate(t, params).numpy(), ORACLES[name](t.numpy(), *params.numpy()), atol=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_against_finite_differences(name):
    t, params = inputs(name)
    assert torch.autograd.gradcheck(resolve(name), [t.requires_grad_(), *params.requires_grad_().unbind()])


@pytest.mark.parametrize("name", FAMILIES)
def test_first_line_of_the_docstring_is_an_equation_in_its_own_parameters(name):
    family = resolve(name)
    t, params = inputs(name)
    values = dict(zip(parameter_names(family), params, strict=True))
    right_hand_side = equation(family).removeprefix("y = ")
    by_equation = eval(right_hand_side, {**vars(torch), "t": t, **values})
    # the function may round otherwise, where it avoids an overflow
    torch.testing.assert_close(by_equation, family(t, **values), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", FAMILIES)
def test_after_the_equation_a_sentence_says_what_it_is(name):
    _, sentence, *_ = inspect.getdoc(resolve(name)).split("\n\n")
    assert sentence.endswith(".")
    assert not sentence.startswith("Args:")


def test_a_domain_stands_where_a_family_has_one():
    domains = {name: getattr(getattr(functions, name), "domain", None) for name in FAMILIES}
    assert {name: domain for name, domain in domains.items() if domain} == {
        "arrhenius": "t > 0",
        "hill": "t >= 0",
        "logarithmic": "t > 0",
        "michaelis_menten": "t >= 0",
        "power_law": "t > 0",
    }
    for name in FAMILIES:
        assert f"Defined for {domains[name]}." in inspect.getdoc(getattr(functions, name)) or not domains[name]


# What overflows if the equation is computed as it stands, and what it comes to.
FAR_OUT = {
    "logistic": ([-1e4, 1e4], [2.0, 1.0, 0.0], [0.0, 2.0]),
    "gompertz": ([-1e4, 1e4], [2.0, 1.0, 0.0], [0.0, 2.0]),
    "richards": ([-1e4, 1e4], [2.0, 1.0, 0.0, 0.5], [0.0, 2.0]),
    "hill": ([0.0, 1e30], [2.0, 1.0, 4.0], [0.0, 2.0]),
    "gaussian": ([-1e4, 1e4], [2.0, 0.0, 1.0], [0.0, 0.0]),
    "pseudo_voigt": ([-1e4, 1e4], [2.0, 0.0, 1.0, 0.0], [0.0, 0.0]),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FAR_OUT)
def test_far_out_values_and_gradients_stay_finite(name, dtype):
    t, params, expected = (torch.tensor(values, dtype=dtype) for values in FAR_OUT[name])
    params.requires_grad_()
    y = Curve(name).evaluate(t, params)
    assert torch.equal(y, expected)
    y.sum().backward()
    assert params.grad.isfinite().all()


def test_a_dose_of_nothing_has_the_response_of_its_limit():
    t = torch.zeros(1, dtype=torch.float64)
    rising, falling = torch.tensor([3.0, 2.0, 0.5]).double(), torch.tensor([3.0, 2.0, -0.5]).double()
    assert functions.hill(t, *rising) == 0
    assert functions.hill(t, *falling) == 3


@pytest.mark.parametrize("degree", [0, 1, 7, 20])
def test_a_polynomial_of_any_degree_names_its_coefficients(degree):
    family = functions.polynomial_of(degree)
    t = torch.linspace(-1, 1, 5, dtype=torch.float64)
    c = torch.linspace(-2, 3, degree + 1, dtype=torch.float64)
    assert family.__name__ == f"polynomial({degree})"
    assert parameter_names(family) == tuple(f"c{power}" for power in range(degree + 1))
    assert np.allclose(family(t, *c).numpy(), ORACLES["polynomial"](t.numpy(), *c.numpy()), atol=1e-12)
    assert torch.equal(family(t, **dict(zip(parameter_names(family), c, strict=True))), functions.polynomial(t, *c))
    right_hand_side = equation(family).removeprefix("y = ")
    by_equation = eval(right_hand_side, {"t": t, **dict(zip(parameter_names(family), c, strict=True))})
    assert torch.allclose(torch.as_tensor(by_equation).expand(5), family(t, *c))
    with pytest.raises(TypeError):
        family(t, *c, c[0])


@pytest.mark.parametrize("degree", [-1, 21, 2.0, "3", True])
def test_a_degree_that_is_none_is_refused(degree):
    with pytest.raises(InputError, match="expected a whole number from 0 to 20"):
        functions.polynomial_of(degree)


def test_a_name_that_is_no_family_gets_the_nearest():
    with pytest.raises(InputError, match=r"given 'quadratik', which is no family; did you mean 'quadratic'\?"):
        resolve("quadratik")
    with pytest.raises(InputError, match=f"choose from {', '.join(FAMILIES)}"):
        resolve("zzz")


def test_names_of_this_module_are_no_families():
    for name in ("resolve", "Tensor", "__name__"):
        with pytest.raises(InputError, match="no family"):
            resolve(name)
    with pytest.raises(InputError, match="expected the name of a family, a formula, an import path or a callable"):
        resolve(3)


def test_a_callable_is_a_family():
    def decay(t, amplitude, rate):
        return amplitude * torch.exp(-rate * t)

    assert resolve(decay) is decay
    assert parameter_names(decay) == ("amplitude", "rate")
    assert equation(decay) == "y = decay(t, amplitude, rate)"


@pytest.mark.parametrize("function", [lambda t: t, lambda t, *rest: t, lambda t, **rest: t])
def test_a_callable_that_names_no_parameter_is_refused(function):
    with pytest.raises(InputError, match="does not name its parameters"):
        parameter_names(function)

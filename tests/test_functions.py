import numpy as np
import pytest
import torch

from gd_lightning import functions
from gd_lightning.curve import Curve
from gd_lightning.errors import InputError
from gd_lightning.resolve import equation, parameter_names, resolve

FAMILIES = sorted(functions.__all__)

# Each family by another library: numpy's Horner scheme for polynomials.
ORACLES = {
    "linear": lambda t, a, b: np.polyval([a, b], t),
    "quadratic": lambda t, a, b, c: np.polyval([a, b, c], t),
    "cubic": lambda t, a, b, c, d: np.polyval([a, b, c, d], t),
}


def test_every_family_has_an_oracle_here():
    assert sorted(ORACLES) == FAMILIES


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize("name", FAMILIES)
def test_batches_equal_the_oracle_series_by_series(name, batch, dtype):
    t = torch.linspace(-2, 3, 7, dtype=dtype)
    params = torch.randn(*batch, len(parameter_names(resolve(name))), generator=torch.Generator().manual_seed(1)).to(
        dtype
    )
    y = Curve(name).evaluate(t, params)
    assert y.shape == (*batch, 7)
    assert y.dtype == dtype
    flat = params.reshape(-1, params.shape[-1])
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for row, series in zip(flat, y.reshape(-1, 7), strict=True):
        assert np.allclose(series.numpy(), ORACLES[name](t.double().numpy(), *row.double().numpy()), atol=tolerance)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_against_finite_differences(name):
    t = torch.linspace(-2, 3, 5, dtype=torch.float64)
    params = [
        torch.tensor(0.5 + i, dtype=torch.float64, requires_grad=True)
        for i in range(len(parameter_names(resolve(name))))
    ]
    assert torch.autograd.gradcheck(lambda *values: resolve(name)(t, *values), params)


@pytest.mark.parametrize("name", FAMILIES)
def test_first_line_of_the_docstring_is_an_equation_in_its_own_parameters(name):
    family = resolve(name)
    t = torch.linspace(-1, 1, 5)
    values = {p: torch.tensor(0.3 + i) for i, p in enumerate(parameter_names(family))}
    right_hand_side = equation(family).removeprefix("y = ")
    assert torch.equal(eval(right_hand_side, {**vars(torch), "t": t, **values}), family(t, **values))


def test_a_name_that_is_no_family_gets_the_nearest():
    with pytest.raises(InputError, match=r"given 'quadratik', which is no family; did you mean 'quadratic'\?"):
        resolve("quadratik")
    with pytest.raises(InputError, match=f"choose from {', '.join(FAMILIES)}"):
        resolve("zzz")


def test_names_of_this_module_are_no_families():
    for name in ("resolve", "Tensor", "__name__"):
        with pytest.raises(InputError, match="no family"):
            resolve(name)
    with pytest.raises(InputError, match="expected the name of a family or a callable"):
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

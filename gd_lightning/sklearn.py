"""The estimator for scikit-learn: the same fit, with `fit(X, y)` and `predict(X)`."""

import inspect
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from gd_lightning.arrays import Array
from gd_lightning.convergence import DIVERGED, STEP_LIMIT, STUCK
from gd_lightning.errors import InputError
from gd_lightning.fitting import fit, whole_number
from gd_lightning.formula import Formula
from gd_lightning.optim import Rule
from gd_lightning.resolve import Function, arguments, function_name, is_pointwise, predictor_arguments, resolve

try:
    from sklearn.base import BaseEstimator, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "sklearn":
        raise
    raise ImportError(
        "gd_lightning.sklearn needs scikit-learn, which is not installed; run: pip install 'gd-lightning[sklearn]'"
    ) from None

__all__ = ["CurveRegressor"]


ENDED_EARLY = (STEP_LIMIT, STUCK, DIVERGED)


class QuadraticInEach:
    """y = c + a0*x0**2 + b0*x0 + a1*x1**2 + b1*x1 + ...

    A parabola along each predictor, added up: the article's curve for any number of columns. It is linear in its
    parameters, which start at 0, so that of the many fits to too few points that with the least parameters is found.

    Args:
        count: the number of predictors.
    """

    least_norm = True

    def __init__(self, count: int) -> None:
        self.count = count
        predictors = [f"x{i}" for i in range(count)]
        names = ["c", *(f"{letter}{i}" for i in range(count) for letter in "ab")]
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        self.__name__ = "quadratic in each column"
        self.__doc__ = f"y = {' + '.join(['c', *(f'a{i}*{x}**2 + b{i}*{x}' for i, x in enumerate(predictors))])}"
        self.__signature__ = inspect.Signature(
            [
                *(inspect.Parameter(name, kind) for name in predictors),
                *(inspect.Parameter(name, kind, default=0.0) for name in names),
            ]
        )

    def __call__(self, *values: Tensor) -> Tensor:
        predictors, y, rest = values[: self.count], values[self.count], values[self.count + 1 :]
        for x, a, b in zip(predictors, rest[::2], rest[1::2], strict=True):
            y = y + (a * x + b) * x
        return y

    def __reduce__(self) -> tuple[type["QuadraticInEach"], tuple[int]]:
        return QuadraticInEach, (self.count,)


class CurveRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """y = function(x, *params), fitted by Levenberg-Marquardt or by gradient descent, as a scikit-learn estimator.

    The columns of X are the predictors of the function. Where X is a data frame, they are the arguments with the names
    of its columns; columns that the function does not name are left out. Otherwise they are `x0`, `x1`, ... of a
    formula, whose single one may also be `t` or `x`, and the first arguments of a callable in their order. A family
    has one predictor: the column `t` of a data frame, or the only one.

    Args:
        function: a family's name, such as "gaussian"; a formula, such as "a*exp(-x/tau) + c"; an import path, such as
            "my_curves.damped"; or a callable `f(x, a, b, ...)`. Unless given, a quadratic in each column, added up:
            c + a0*x0**2 + b0*x0 + a1*x1**2 + b1*x1 + ...
        parameters: what is demanded of them by name, such as `{"a": {"init": 1, "min": 0}, "c": {"fixed": 0}}`.
        init: starting values by name.
        start: where parameters without a starting value begin, "random" or "data"; as in `gd_lightning.fit`.
        loss: "mse", "mae", "huber" or "cauchy"; "huber(2.5)" sets the scale of the last two.
        optimizer: the update rule, a class; Levenberg-Marquardt unless this or a learning rate is given.
        lr: learning rate of gradient descent, or "auto".
        steps: number of steps at most.
        tolerance: when gradient descent has converged, such as `{"loss": 1e-8}`.
        absolute_sigma: whether sample weights are 1/sigma**2 of known standard deviations, so that a new observation
            has the standard deviation 1; else their size says nothing, and that is estimated from the residuals.
        random_state: seed of the random starting values; a whole number, a `RandomState`, or none for NumPy's own.

    Attributes:
        parameters_: name -> fitted value.
        standard_errors_: name -> standard error; 0 of what is fixed, nan at a bound, inf where the data leave it open.
        equation_: the function as text.
        result_: the whole `FitResult`.
        n_iter_: number of steps taken.
        n_features_in_: number of columns of X.
        feature_names_in_: their names, where X has such.

    Example:
        >>> from gd_lightning.sklearn import CurveRegressor
        >>> line = CurveRegressor("slope*x + intercept").fit([[0], [1], [2]], [1, 3, 5])
        >>> round(line.parameters_["slope"], 6), round(line.parameters_["intercept"], 6)
        (2.0, 1.0)
    """

    def __init__(
        self,
        function: str | Function | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
        init: Mapping[str, float] | None = None,
        start: str | None = None,
        loss: str = "mse",
        optimizer: Rule | None = None,
        lr: Any = None,
        steps: int | None = None,
        tolerance: Mapping[str, float] | None = None,
        absolute_sigma: bool = False,
        random_state: Any = 2021,
    ) -> None:
        self.function = function
        self.parameters = parameters
        self.init = init
        self.start = start
        self.loss = loss
        self.optimizer = optimizer
        self.lr = lr
        self.steps = steps
        self.tolerance = tolerance
        self.absolute_sigma = absolute_sigma
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> "CurveRegressor":
        """Fit the function to X and y.

        Args:
            X: predictors, shape (samples, columns).
            y: data, shape (samples,).
            sample_weight: what each sample weighs, 1/sigma**2; 0 leaves it out. With the loss mse a whole number leads
                to the parameters that so many equal samples would, whose standard errors are smaller, being more.

        Returns:
            The estimator itself.

        Raises:
            InputError: the input cannot be used; the message says which, why, and what to try. It is a `ValueError`,
                as what scikit-learn raises itself mostly is.
        """
        named = getattr(y, "name", None)
        features = [name for name in getattr(X, "columns", ()) if isinstance(name, str)]
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        function = QuadraticInEach(X.shape[1]) if self.function is None else self.function
        columns = choose_columns(resolve(function), X.shape[1], features)
        result = fit(
            function,
            {name: X[:, i] for name, i in columns.items()},
            y,
            weights=None if sample_weight is None else checked_weights(sample_weight, X),
            init=self.init,
            parameters=self.parameters,
            start=self.start,
            loss=self.loss,
            lr=self.lr,
            steps=self.steps,
            optimizer=self.optimizer,
            tolerance=self.tolerance,
            seed=self._seed(),
            dtype=torch.float64,
            absolute_sigma=self.absolute_sigma,
        )
        labels = [features[i] if features else name for name, i in columns.items()]
        self.result_ = replace(result, labels=(*labels, str(named or "y")))
        self.parameters_ = result.parameters
        self.equation_ = result.curve.equation
        self.n_iter_ = result.steps
        self._columns = columns
        if result.status in ENDED_EARLY:
            warnings.warn(f"{result.status}: {result.message}", ConvergenceWarning, stacklevel=2)
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The fitted function at X.

        Args:
            X: predictors, shape (samples, columns).
            return_std: whether to tell how far a new observation of weight 1 may lie from it, too.

        Returns:
            Predictions, shape (samples,); with `return_std` also their standard deviations: noise, and the uncertainty
            of the curve. They are infinite where the data do not tell the curve or the noise.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        predictors = zip(self.result_.curve.predictors, self._columns.values(), strict=True)
        t = {name: X[:, i].copy() for name, i in predictors}
        mean: Array = self.result_.predict(t).numpy()
        if not return_std:
            return mean
        of_curve = self.result_.bands(t).standard_error.numpy()
        return mean, np.hypot(of_curve, self.result_.uncertainty.noise)

    @property
    def standard_errors_(self) -> dict[str, float]:
        """Standard errors by name, from the curvature of the loss at the end."""
        check_is_fitted(self)
        return self.result_.standard_errors

    def _seed(self) -> int:
        if isinstance(self.random_state, Integral):
            return whole_number("random_state", self.random_state, least=0)
        return int(check_random_state(self.random_state).randint(2**31 - 1))


def choose_columns(function: Function, count: int, features: Sequence[str]) -> dict[str, int]:
    """Which argument of a function is which column of X.

    Args:
        function: the function.
        count: the number of columns.
        features: their names, where they have any.

    Raises:
        InputError: the function has no use for them.
    """
    known, name = arguments(function), function_name(function)
    formula, family = isinstance(function, Formula), is_pointwise(function)
    numbered = [f"x{i}" for i in range(count)] if formula else []
    for names in (features, numbered):
        beyond = [one for one in known if names is numbered and re.fullmatch(r"x\d+", one) and one not in names]
        if formula and beyond and set(known) & set(names):
            raise InputError(
                f"function: {name} has {beyond[0]}, and the columns of X are {', '.join(numbered)}; count from x0, "
                "and call parameters otherwise"
            )
        found = {one: i for i, one in enumerate(names) if one in (known if formula or not family else known[:1])}
        if found:
            return found
    if count == 1:
        return {predictor_arguments(function)[0]: 0}
    if formula:
        given = ", ".join(features) or f"x0 to x{count - 1}"
        raise InputError(f"function: {name} has the names {', '.join(known)}, and none of the columns {given} of X")
    if family:
        raise InputError(
            f"function: X has {count} columns, and {name} has one predictor; choose a column, or write a formula "
            "in x0, x1 and so on"
        )
    if count >= len(known):
        raise InputError(
            f"function: X has {count} columns, and {name} has the arguments {', '.join(known)}; expected one for each "
            "column, and after them at least one parameter"
        )
    return dict(zip(known, range(count), strict=False))


def checked_weights(sample_weight: ArrayLike, X: Array) -> Array:
    """What each sample weighs, shape (samples,).

    Raises:
        InputError: a weight below 0, or none above it.
    """
    weight: Array = _check_sample_weight(sample_weight, X, dtype=np.float64)
    if (weight < 0).any():
        at = int(np.argmax(weight < 0))
        raise InputError(f"sample_weight: sample {at + 1} has {weight[at]:g}, expected at least 0")
    if not weight.any():
        raise InputError("sample_weight: all of them are zero, expected at least one above it")
    return weight

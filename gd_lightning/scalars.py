"""What counts as one number, whichever library it comes from."""

from typing import Any, SupportsFloat

import numpy as np
from torch import Tensor

__all__ = ["is_number"]


def is_number(value: Any) -> bool:
    """Whether something is one real number, finite or not: Python's, NumPy's, or a tensor without axes.

    True and false are none.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, SupportsFloat):
        return False
    if isinstance(value, np.ndarray | Tensor) and value.ndim:
        return False
    try:
        float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return False
    return True

"""The kinds of arrays, by the words of their annotations."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Bools", "Ints"]

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

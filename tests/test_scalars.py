import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from gd_lightning.scalars import is_number

NUMBERS = [1, -0.5, math.inf, Fraction(1, 3), np.float32(2), np.int8(3), np.array(4.0), torch.tensor(5.0)]
OTHERS = [True, np.bool_(1), None, "1", 1j, np.ones(1), torch.ones(1), torch.tensor(1j), 10**400, [1.0]]


@pytest.mark.parametrize("value", NUMBERS, ids=range(len(NUMBERS)))
def test_numbers(value):
    assert is_number(value)


@pytest.mark.parametrize("value", OTHERS, ids=range(len(OTHERS)))
def test_what_is_none(value):
    assert not is_number(value)

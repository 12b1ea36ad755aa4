import re

import numpy as np

from gd_lightning import compare
from gd_lightning.comparison_table import comparison_markdown
from gd_lightning.digits import share


def test_markdown_of_a_name_with_a_bar_keeps_its_columns():
    t = np.arange(10.0)
    found = compare({"x|y": t}, 2 * t + np.sin(t), ["a*`x|y` + b", "a*`x|y`"])
    text = comparison_markdown(found.to_dict())
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {9}
    assert r"| `` a*`x\|y` + b `` |" in text


def test_the_table_tells_how_near_to_one_r2_is():
    t = np.arange(10.0)
    found = compare(t, 2 * t + 0.001 * np.sin(t), ["linear"])
    assert f" {share(found.best.r2)} " in str(found).splitlines()[1]
    assert share(found.best.r2).startswith("0.99999")

import json
import re

import torch

from gd_lightning.curve import Curve
from gd_lightning.points import Points
from gd_lightning.sweep import side_by_side, sweep
from gd_lightning.sweep_report import sweep_report


def test_what_is_suggested_was_seen(article):
    """The options of a member that has arrived; where none has, Levenberg-Marquardt, which has."""
    slow = sweep("quadratic", article.t, article.y, lrs=[1e-6, 1e-5], init=article.init)
    advice = "Try, with gd-lightning fit: --model.optimizer LevenbergMarquardt --model.lr null"
    assert sweep_report(slow).renderables[-1].plain == advice
    t = (article.t - article.t.mean()) / article.t.std()
    quick = sweep("quadratic", t, article.y, lrs=[0.01, 0.3], steps=400)
    advice = "Try, with gd-lightning fit: --model.lr 0.3 --trainer.max_steps 400"
    assert sweep_report(quick).renderables[-1].plain == advice
    curve = Curve("a*t + b + c", {"b": {"expr": "a/2"}, "c": {"fixed": 0.1}})
    starts = side_by_side(curve, Points(t, article.y), torch.Generator(), starts=3, start="random", lr=0.3, steps=400)
    [start] = re.findall(r"--model.init '(.*)' --trainer", sweep_report(starts).renderables[-1].plain)
    assert list(json.loads(start)) == ["a"]

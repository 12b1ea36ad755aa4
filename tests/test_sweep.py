import pytest

from gd_lightning.conditioning import guidance
from gd_lightning.errors import InputError
from gd_lightning.levenberg_marquardt import LevenbergMarquardt
from gd_lightning.optim import SGD, Momentum
from gd_lightning.starts import is_linear
from gd_lightning.sweep import sweep


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"lrs": [1e-5], "starts": 3}, "given lrs and starts, expected one"),
        ({"lrs": [1e-5, 1e-5]}, "1e-05 is given more than once"),
        ({"lrs": []}, "expected a row of learning rates"),
        ({"lrs": [1e-5, -1]}, "expected a finite number above 0"),
        ({"lrs": "many"}, "expected a row of numbers"),
        ({"lrs": [1e-5], "lr": 1e-5}, "a sweep of learning rates"),
        ({"optimizer": LevenbergMarquardt}, "LevenbergMarquardt has no learning rate"),
        ({"starts": 0}, "starts: given 0"),
        ({"starts": []}, "starts: given"),
        ({"starts": [{"d": 1}]}, "no parameter 'd'"),
        ({"rules": []}, "expected update rules"),
        ({"rules": [SGD, SGD], "lr": 1e-5}, "given more than once"),
        ({"rules": ["SGD"]}, "optimizer"),
        ({"steps": 0}, "steps: given 0"),
        ({"y": [[1, 2, 3, 4]] * 2}, "2 series side by side"),
    ],
)
def test_wrong_input_is_one_line(arguments, words):
    given = {"y": [1, 2, 3, 5], **arguments}
    with pytest.raises(InputError) as caught:
        sweep("quadratic", [0, 1, 2, 3], given.pop("y"), **given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_guidance_is_that_of_the_rule(article):
    found = sweep("quadratic", article.t, article.y, lrs=[1e-5], optimizer=Momentum, init=article.init, steps=3)
    told = guidance(
        found.curve,
        found.points,
        Momentum([found.curve.params], 1e-5),
        linear=is_linear(found.curve, found.points),
    )
    assert found.guidance == told

import numpy as np
import pytest
import torch

from gd_lightning.cross_validation import as_good, draw_parts, holdout_errors, score
from gd_lightning.errors import InputError
from gd_lightning.points import Points


@pytest.mark.parametrize(("count", "folds"), [(10, 2), (11, 4), (7, 7)])
def test_each_point_is_in_one_part(count, folds):
    parts = draw_parts(count, folds, seed=3)
    assert len(parts) == folds
    assert sorted(torch.cat(parts).tolist()) == list(range(count))
    assert {len(part) for part in parts} <= {count // folds, -(-count // folds)}
    assert all(torch.equal(part, again) for part, again in zip(parts, draw_parts(count, folds, seed=3), strict=True))


def test_no_more_parts_than_points():
    with pytest.raises(InputError, match="given 5, expected at most one for each of the 4 points"):
        draw_parts(4, 5, seed=0)


def test_what_is_predicted_was_not_fitted():
    t = torch.arange(6.0, dtype=torch.float64)
    points = Points(t, 10 * t)
    parts = [torch.tensor([4, 1]), torch.tensor([0, 2, 3, 5])]
    seen = []

    def predict(others, holdout):
        seen.append((others.t.tolist(), holdout.t.tolist()))
        return holdout.targets + others.t.mean()

    errors = holdout_errors(predict, points, parts)
    assert seen == [([0, 2, 3, 5], [4, 1]), ([1, 4], [0, 2, 3, 5])]
    assert errors.tolist() == [2.5] * 6


def test_what_cannot_be_predicted_is_infinitely_wrong():
    def predict(others, holdout):
        if 0 in holdout.t:
            raise ValueError("no such thing")
        return holdout.targets * torch.nan

    points = Points(torch.arange(4.0), torch.ones(4))
    errors = holdout_errors(predict, points, draw_parts(4, 2, seed=0))
    assert errors.tolist() == [np.inf] * 4
    assert score(errors, np.ones(4)) == np.inf


def test_the_score_is_numpy_s_weighted_mean():
    rng = np.random.default_rng(0)
    errors, weights = rng.normal(size=20), rng.uniform(1, 5, size=20)
    assert score(errors, weights) == pytest.approx(np.sqrt(np.average(errors**2, weights=weights)), rel=1e-12)


def test_as_good_is_within_twice_the_standard_error():
    rng = np.random.default_rng(1)
    best = rng.normal(size=50)
    shift = rng.uniform(-1, 1, size=50)
    shift -= shift.mean()
    edge = 2 * shift.std(ddof=1) / np.sqrt(50)
    inside, outside = (np.sqrt(best**2 + 3 + shift + part * edge) for part in (0.99, 1.01))
    base = np.sqrt(best**2 + 3)
    errors = {"outside": outside, "base": base, "inside": inside, "never": np.full(50, np.inf)}
    assert as_good(errors, "base", np.ones(50)) == ("base", "inside")

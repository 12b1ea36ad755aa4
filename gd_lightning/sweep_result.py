"""What a sweep found: how each member went, which is the best, and how low the error could be."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from gd_lightning.conditioning import Guidance
from gd_lightning.curve import Curve
from gd_lightning.descent import ROUNDING
from gd_lightning.files import write_whole
from gd_lightning.levenberg_marquardt import Minimum, minimum
from gd_lightning.losses import make_loss, mse, root
from gd_lightning.points import Points
from gd_lightning.result import plain
from gd_lightning.versions import versions
from gd_lightning.words import counts, plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Reachable", "SweepResult"]

SETTLED = 0.01  # an RMSE no further from its end has arrived there


class Reachable(NamedTuple):
    """The best fit that Levenberg-Marquardt finds.

    Attributes:
        rmse: its RMSE, in double precision; nan where it found none.
        steps: how many steps it took.
        from_start: whether it arrives there from the first start; otherwise it was from the end of the best member.
    """

    rmse: float
    steps: int
    from_start: bool


@dataclass(frozen=True, repr=False, eq=False)
class SweepResult:
    """What a sweep of K members found.

    Attributes:
        function: the function's name, or its formula.
        kind: what differs from member to member: "lrs", "starts" or "rules".
        labels: a name for each, such as "lr=1e-05".
        rules: name of each one's update rule.
        lrs: learning rate of each; none of Levenberg-Marquardt.
        initial_parameters: starting values of each, by name.
        parameters: values of each at the end, by name; of a member that diverged the last with a finite loss.
        rmse_history: RMSE of each after so many steps, shape `(K, steps + 1)`, in units of y and double precision. It
            is nan from the step on that diverged; a member that has nothing more to gain keeps its last.
        status: of each, as in `FitResult`; a member does not stop where it has converged.
        steps: how many steps were allowed.
        guidance: what the curvature at the first start says of the learning rate; none for several rules.
        loss: name of the loss that was descended.
        seed: seed of the random starts.
        start: how the first start was found.
        curve: the curve, at the first start.
        points: what was fitted.
    """

    function: str
    kind: str
    labels: list[str]
    rules: list[str]
    lrs: list[Any]
    initial_parameters: list[dict[str, float]]
    parameters: list[dict[str, float]]
    rmse_history: Tensor
    status: list[str]
    steps: int
    guidance: Guidance | None
    loss: str
    seed: int | None
    start: str
    curve: Curve
    points: Points

    @property
    def rmse(self) -> list[float]:
        """RMSE of each after the last step; nan where it diverged."""
        values: list[float] = self.rmse_history[:, -1].tolist()
        return values

    @property
    def best(self) -> int | None:
        """Which member has the lowest RMSE after the last step; none where all diverged."""
        finite = [i for i, rmse in enumerate(self.rmse) if math.isfinite(rmse)]
        return min(finite, key=lambda i: self.rmse[i], default=None)

    @property
    def limit(self) -> float | None:
        """The largest stable learning rate; none where none is known."""
        told = math.nan if self.guidance is None else self.guidance.largest_stable_lr
        return told if math.isfinite(told) else None

    @property
    def limit_name(self) -> str:
        """What the limit is: it holds everywhere, or near the first start."""
        return "largest stable lr" + ("" if self.guidance is None or self.guidance.exact else " near the start")

    @property
    def rose(self) -> list[bool]:
        """Whether the RMSE of each is larger at the end than at the start, and finite."""
        first, last = self.rmse_history[:, 0], self.rmse_history[:, -1]
        rose: list[bool] = (last > first * (1 + ROUNDING)).tolist()
        return rose

    @property
    def settled(self) -> list[int | None]:
        """After how many steps each was within 1% of its last RMSE for good; none where it diverged."""
        last = self.rmse_history[:, -1:]
        away = (self.rmse_history - last).abs() > SETTLED * last
        counts = torch.arange(1, away.shape[1] + 1) * away
        return [
            int(count.max()) if math.isfinite(rmse) else None for count, rmse in zip(counts, self.rmse, strict=True)
        ]

    @cached_property
    def reachable(self) -> Reachable:
        """How low the RMSE could be."""
        loss_function = make_loss(self.loss)
        found = minimum(self.curve, self.points, loss_function, self._params(self.initial_parameters[0]))
        took = found.steps
        from_start = _loss(found) < math.inf and found.verdicts[0] is not None
        if self.best is not None:
            other = minimum(self.curve, self.points, loss_function, self._params(self.parameters[self.best]))
            if not _loss(found) <= _loss(other) * (1 + 1e-6):
                found, took, from_start = other, other.steps, False
        if not math.isfinite(_loss(found)):
            return Reachable(math.nan, took, False)
        exact = self.points.double()
        with torch.no_grad():
            preds = self.curve.evaluate(exact.t, found.params)
        return Reachable(root(mse(preds, exact.targets)), took, from_start)

    def _params(self, values: Mapping[str, float]) -> Tensor:
        return torch.tensor([values[name] for name in self.curve.names], dtype=torch.float64)

    def table(self) -> list[dict[str, Any]]:
        """A row for each member: label, rule, lr, status, RMSE at both ends, when it settled, start and end."""
        rows = zip(
            self.labels,
            self.rules,
            self.lrs,
            self.status,
            self.rose,
            self.rmse_history[:, 0].tolist(),
            self.rmse,
            self.settled,
            self.initial_parameters,
            self.parameters,
            strict=True,
        )
        names = (
            *("label", "optimizer", "lr", "status", "rose", "first_rmse", "rmse", "settled_at"),
            *("initial_parameters", "parameters"),
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    def plot(self) -> "Figure":
        """RMSE against the step, and after the last step against the learning rate, or for each start or rule."""
        from gd_lightning.plots import sweep_figure

        return sweep_figure(
            self.labels,
            self.rmse_history,
            lrs=self.lrs if self.kind == "lrs" else None,
            limit=None if self.limit is None else (self.limit_name, self.limit),
            reachable=self.reachable.rmse,
            title=self.title,
        )

    @property
    def title(self) -> str:
        """What was compared, in one line."""
        what = {"lrs": "learning rate", "starts": "start", "rules": "update rule"}[self.kind]
        rules = set(self.rules)
        by = "" if len(rules) > 1 else f", {self.rules[0]}"
        return f"{self.curve.equation}\n{plural(len(self.labels), what)}{by}, {self.steps:,} steps"

    def to_dict(self) -> dict[str, Any]:
        """Plain text and numbers, as they stand in `sweep.json`; what is not finite is none."""
        found = self.reachable
        members = [
            {**row, "rmse_history": history}
            for row, history in zip(self.table(), self.rmse_history.tolist(), strict=True)
        ]
        return {
            "function": self.function,
            "equation": self.curve.equation,
            "kind": self.kind,
            "steps": self.steps,
            "loss": self.loss,
            "best": None if self.best is None else self.labels[self.best],
            "limit": self.limit,
            "reachable": plain(found._asdict()),
            "guidance": None if self.guidance is None else self.guidance.to_dict(),
            "start": self.start,
            "seed": self.seed,
            "data": {"points": int(self.points.present.sum())},
            "members": [plain(member) for member in members],
            "versions": versions(),
        }

    def write_json(self, path: Path) -> None:
        """Write `to_dict()` to a file, whole or not at all."""
        write_whole(path, json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")

    def __repr__(self) -> str:
        ended = counts(self.status)
        lowest = "" if self.best is None else f"; lowest RMSE {self.rmse[self.best]:.6g} with {self.labels[self.best]}"
        return f"SweepResult({self.function}: {len(self.labels)} {self.kind}, {self.steps} steps, {ended}{lowest})"


def _loss(found: Minimum) -> float:
    """Where Levenberg-Marquardt came to; infinite where that is nowhere."""
    loss = found.loss.item()
    return loss if math.isfinite(loss) else math.inf

"""The parser of the commands that LightningCLI makes: errors in one line, and only what a text may name."""

import sys
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from gd_lightning.configurations import check_values, restrict
from gd_lightning.exit_codes import WRONG_INPUT
from gd_lightning.explain import explain
from gd_lightning.imports import OPTION
from gd_lightning.terminal import complain

__all__ = ["Parser"]

ALLOW = f"""{OPTION} MODULE, as often as needed, allows functions and classes of other modules to be named: beside those
of files in this folder, and of this package, torch.optim and Lightning's callbacks and loggers."""


class Parser(LightningArgumentParser):
    """A parser whose errors are one line, and which takes options only as they are spelt."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        restrict()
        super().__init__(*args, allow_abbrev=False, **{"epilog": ALLOW, **kwargs})

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        config = super().parse_args(*args, **kwargs)
        check_values(config)
        return config

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # a parser within a parser, whose message becomes a part of the outer one's
            super().error(message, ex)
        complain(explain(message, self))
        sys.exit(WRONG_INPUT)

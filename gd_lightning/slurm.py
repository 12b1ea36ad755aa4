"""Under SLURM: Lightning takes the processes of a run from it, and is kept from going on by itself.

Lightning saves a checkpoint into the working folder at SIGUSR1, and goes on from such a file whenever it finds one
there, whatever was asked for. Here a run goes on where `--ckpt_path` says so, and `--ckpt_path last` begins where there
is nothing yet.
"""

from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from gd_lightning.errors import InputError

__all__ = ["check_nothing_to_go_on_with", "no_requeue"]


def no_requeue(plugins: Any) -> dict[str, Any]:
    """What the Trainer is to be given so that SIGUSR1 saves nothing of its own; nothing elsewhere.

    Args:
        plugins: what it is given already, which goes before.
    """
    if plugins is not None or TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return {}
    return {"plugins": SLURMEnvironment(auto_requeue=False)}


def check_nothing_to_go_on_with(root: str | Path | None) -> None:
    """Refuse a folder with a checkpoint that Lightning would go on from unasked.

    Args:
        root: the Trainer's `default_root_dir`; the present folder unless given.

    Raises:
        InputError: naming it.
    """
    if not SLURMEnvironment.detect():
        return
    for left in sorted(Path(root or ".").glob("hpc_ckpt_*.ckpt")):
        raise InputError(
            f"ckpt_path: none is given, and under SLURM Lightning would go on from {left}; remove that file, or name it"
        )

"""What libraries say that a user of this project cannot act on, silenced one by one."""

import logging
import threading
import warnings

__all__ = ["silence"]


def silence() -> None:
    """Silence the messages below; call it once Lightning is imported, which sets its own levels."""
    # At level INFO Lightning tells which devices it found, the seed, and why it stopped, and advertises: what of it
    # matters stands in the report.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Lightning calls PyTorch's tree functions by a name that PyTorch has given up; nothing here calls them.
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.", category=FutureWarning)
    # Whoever asks for the CPU has a reason; that there is a GPU is no news to them.
    warnings.filterwarnings("ignore", message=".*GPU available but not used")
    # One series is one batch and already in memory: there is nothing for workers to load.
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    # Lightning compares log_every_n_steps with the batches of an epoch, which is one; here it counts steps.
    warnings.filterwarnings("ignore", message=".*is smaller than the logging interval")
    # The command line is parsed in two places: fit_many has a parser of its own.
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter is intended")
    # Chunks of series know their own numbers.
    warnings.filterwarnings("ignore", message="Couldn't infer the batch indices")
    # TensorBoard writes in a thread of its own; what the disk refuses there is raised in the run, too.
    threading.excepthook = _but_for_files
    # A process for which no chunk of series is left has nothing to predict.
    warnings.filterwarnings("ignore", message="predict returned None")


def _but_for_files(raised: threading.ExceptHookArgs) -> None:
    if not isinstance(raised.exc_value, OSError):
        threading.__excepthook__(raised)

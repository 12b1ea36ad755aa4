"""What a command tells the shell where it comes to no good end."""

import signal

__all__ = ["DIVERGED", "OF_SIGNALS", "WRONG_INPUT"]

WRONG_INPUT = 2
DIVERGED = 3
OF_SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}  # Ctrl-C and what a scheduler sends: 128 and the signal's number

"""`gd-lightning` and `python -m gd_lightning`."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` looks in the working folder first, where a file may be called like a module that is imported below
    del sys.path[0]

import gc
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gd_lightning.exit_codes import OF_SIGNALS, WRONG_INPUT


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 done, 2 wrong input, 3 diverged, 130 or 143 interrupted."""
    from gd_lightning import imports
    from gd_lightning.errors import InputError
    from gd_lightning.terminal import complain

    try:
        rest, modules = imports.typed(sys.argv[1:] if args is None else args)
        with imports.only(modules):
            return command(rest)
    except InputError as error:
        complain(error)
        return WRONG_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("gd-lightning: interrupted\n")
        return OF_SIGNALS[signal.SIGINT]


def command(args: list[str]) -> int:
    """Run one of the commands."""
    if args == ["--version"]:
        from gd_lightning import __version__

        print(f"gd-lightning {__version__}")
        return 0
    if args[:1] == ["functions"]:
        from gd_lightning.catalog import run as show_functions

        return show_functions(args[1:])
    if args[:1] == ["export"]:
        from gd_lightning.export_command import run as export

        return export(args[1:])
    if args[:1] == ["report"]:
        from gd_lightning.report_command import run as show_report

        return show_report(args[1:])
    if args[:1] == ["fit_many"]:
        # Threads that wait for one another by spinning take the processor from those that have work, wherever there are
        # more threads than cores: several times slower. It is read when torch is loaded.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Importing torch and Lightning makes millions of objects that live to the end; not looking for garbage among
    # them saves a quarter of the start-up.
    gc.disable()
    with _no_traceback_of_imports():
        from gd_lightning.cli import run
    gc.enable()
    gc.freeze()
    return run(args)


@contextmanager
def _no_traceback_of_imports() -> Iterator[None]:
    """End at once where a signal comes: a library that is being imported may take an interruption for a fault."""

    def end(number: int, _: object) -> None:
        os.write(2, b"gd-lightning: interrupted\n")
        os._exit(OF_SIGNALS[signal.Signals(number)])

    before = {}
    if threading.current_thread() is threading.main_thread():  # no other may
        before = {number: signal.getsignal(number) for number in OF_SIGNALS}
    for number in before:
        if before[number] in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())

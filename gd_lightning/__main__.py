"""`gd-lightning` and `python -m gd_lightning`."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` looks in the working folder first, where a file may be called like a module that is imported below
    del sys.path[0]

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from gd_lightning.exit_codes import OF_SIGNALS, WRONG_INPUT


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 done, 2 wrong input, 3 diverged, 130 or 143 interrupted."""
    from gd_lightning.streams import steady
    from gd_lightning.terminal import complain

    with steady() as output:
        code = _code(sys.argv[1:] if args is None else args)
    if code == 0 and output is not None and output.failed is not None:
        complain(f"standard output: {output.failed.strerror}")
        return WRONG_INPUT
    return code


def _code(args: Sequence[str]) -> int:
    from gd_lightning import imports
    from gd_lightning.errors import InputError
    from gd_lightning.terminal import complain

    try:
        rest, modules = imports.typed(args)
        with imports.only(modules):
            return command(rest)
    except InputError as error:
        complain(error)
        return WRONG_INPUT
    except KeyboardInterrupt:
        return _interrupted(signal.SIGINT)
    except SystemExit as error:  # of a parser, which has shown its help or said what is wrong
        if isinstance(error.code, str):
            raise
        return error.code or 0


def command(args: list[str]) -> int:
    """Run one of the commands."""
    if args == ["--version"]:
        from gd_lightning import __version__

        print(f"gd-lightning {__version__}")
        return 0
    if args[:1] == ["functions"]:
        from gd_lightning.catalog import run as show_functions

        return _interruptible(show_functions, args[1:])
    if args[:1] == ["export"]:
        from gd_lightning.export_command import run as export

        return _interruptible(export, args[1:])
    if args[:1] == ["report"]:
        from gd_lightning.report_command import run as show_report

        return _interruptible(show_report, args[1:])
    if args[:1] == ["fit_many"]:
        # Threads that wait for one another by spinning take the processor from those that have work, wherever there are
        # more threads than cores: several times slower. It is read when torch is loaded.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Importing torch and Lightning makes millions of objects that live to the end; not looking for garbage among
    # them saves a quarter of the start-up.
    gc.disable()
    with _heeding(_end_at_once):  # a library that is being imported may take an interruption for a fault
        from gd_lightning.cli import run
    gc.enable()
    gc.freeze()
    return run(args)


def _interruptible(run: Callable[[Sequence[str]], int], args: Sequence[str]) -> int:
    """Run a command that heeds no signals of its own: Ctrl-C and SIGTERM let it clean up, and end it."""
    came: list[int] = []

    def end(number: int, _: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    with _heeding(end):
        try:
            return run(args)
        except BaseException:  # a library that is being imported may take an interruption for a fault of its own
            if not came:
                raise
    return _interrupted(came[0])


def _interrupted(number: int) -> int:
    sys.stderr.write("gd-lightning: interrupted\n")
    return OF_SIGNALS[signal.Signals(number)]


def _end_at_once(number: int, _: object) -> None:
    os.write(2, b"gd-lightning: interrupted\n")
    os._exit(OF_SIGNALS[signal.Signals(number)])


@contextmanager
def _heeding(end: Callable[[int, object], None]) -> Iterator[None]:
    """Call a function where Ctrl-C or SIGTERM comes, unless someone else heeds them or nobody is to."""
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

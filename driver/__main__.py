"""`netc` and `python -m netc`: the command line."""

import atexit
import importlib
import os
import sys
import threading
from typing import NoReturn

from .collector import without_collections

_SPINNING = "OPENBLAS_THREAD_TIMEOUT"
"""The logarithm of how many cycles NumPy's threads wait busily when they have nothing to do."""


def main() -> int:
    """Run the command line; an interrupt while it is being imported is as quiet as any later one."""
    os.environ.setdefault(_SPINNING, "20")  # else 26: 25 ms of a core at each start, for threads that few commands use
    try:
        with without_collections(lasting=True):
            cli = importlib.import_module("netc.cli")
    except KeyboardInterrupt:
        return 130
    code: int = cli.main()
    return code


def command() -> NoReturn:
    """Run the command line as a program of its own, and end the process."""
    code = main()
    if _is_alone():
        _end(code)
    sys.exit(code)


def _is_alone() -> bool:
    """True if nobody is left who would do something before the process ends, but for what `atexit` knows of."""
    script = sys._getframe(1).f_back  # what calls `command`; nobody calls that, unless a profiler does
    is_alone = script is not None and script.f_back is None
    return is_alone and threading.active_count() == 1 and "mpi4py" not in sys.modules


def _end(code: int) -> NoReturn:
    """End the process without taking every module and object apart, which takes a tenth of a short command."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    command()

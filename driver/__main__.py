"""`netc` and `python -m netc`: the command line."""

import atexit
import importlib
import os
import sys
import threading

from .collector import without_collections

_SPINNING = "OPENBLAS_THREAD_TIMEOUT"
"""The logarithm of how many cycles NumPy's threads wait busily when they have nothing to do."""


def main() -> int:
    """Run the command line; an interrupt while it is being imported is as quiet as any later one.

    Called by a script itself, not by a function of it, this ends the process.
    """
    os.environ.setdefault(_SPINNING, "20")  # else 26: 25 ms of a core at each start, for threads that few commands use
    try:
        with without_collections(lasting=True):
            cli = importlib.import_module("netc.cli")
    except KeyboardInterrupt:
        return 130
    code: int = cli.main()
    if _is_alone():
        _end(code)
    return code


def _is_alone() -> bool:
    """True if nobody is left who would do something before the process ends, but for what `atexit` knows of."""
    script = sys._getframe(1).f_back  # what calls `main`; nobody calls that, unless a profiler or another program does
    is_typed = sys.flags.interactive or hasattr(sys, "ps1")
    if script is None or script.f_back is not None or is_typed:
        return False
    return threading.active_count() == 1 and "mpi4py" not in sys.modules


def _end(code: int) -> None:
    """End the process without taking every module and object apart, which takes a tenth of a short command."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())

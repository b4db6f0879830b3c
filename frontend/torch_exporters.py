"""PyTorch's exporters as netc calls them: they print nothing; errors stand at their place in the module."""

from __future__ import annotations

import logging
import os
import sys
import sysconfig
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from ..compiler.errors import Location, NetcError

_LONGEST = 300
"""Most characters of another program's message that are repeated."""
_DECIDING = "GuardOnDataDependentSymNode"
"""PyTorch's error about a size or a decision that isn't known while a module is captured."""


@contextmanager
def quiet(torch: Any) -> Iterator[None]:
    """Without gradients, and without what exporters print: warnings, log lines, the graph at hand when they fail."""
    own = threading.get_ident()
    out, err = (_OfOthers(stream, own) for stream in (sys.stdout, sys.stderr))
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad(), _without_logs(torch, own):
        warnings.simplefilter("ignore")
        with redirect_stdout(out), redirect_stderr(err):
            yield


class _OfOthers:
    """A stream that takes what other threads write, and drops what this one does."""

    def __init__(self, stream: TextIO, thread: int) -> None:
        self._stream, self._thread = stream, thread

    def write(self, text: str) -> int:
        return len(text) if threading.get_ident() == self._thread else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _without_logs(torch: Any, thread: int) -> Iterator[None]:
    def of_others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "torch"]
    handlers = [handler for name in names for handler in logging.getLogger(name).handlers]
    for handler in handlers:
        handler.addFilter(of_others)
    # The older exporter writes its graph by C++, as it takes the function that asks for this log for the answer.
    log = getattr(torch._C, "_jit_onnx_log", None)
    try:
        if log is not None:
            torch._C._jit_onnx_log = _nothing
        yield
    finally:
        if log is not None:
            torch._C._jit_onnx_log = log
        for handler in handlers:
            handler.removeFilter(of_others)


def _nothing(*_: Any) -> None:
    """Log nothing."""


@contextmanager
def explained(exporter: str) -> Iterator[None]:
    """An exporter's errors, which may be of any kind, as `NetcError` at the place in the module that they are about."""
    try:
        yield
    except NetcError:
        raise
    except Exception as error:
        cause = error
        while isinstance(cause.__cause__, Exception):
            cause = cause.__cause__
        place = _place(cause) or _place(error)
        if type(cause).__name__ == _DECIDING:
            hint = "compute both and choose by torch.where, or give what decides as a number of Python"
            message = f"{exporter} fails: a decision or a size depends on the numbers of a tensor"
            raise NetcError(message, location=place, hint=hint) from error
        raise NetcError(f"{exporter} fails: {_reason(cause)}", location=place) from error


def _reason(error: BaseException) -> str:
    """An error in one line."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    short = text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
    return f"{type(error).__name__}: {short}"


def _place(error: BaseException) -> Location | None:
    """Where in the module: the innermost frame that is neither of PyTorch, nor of Python or netc."""
    is_own = _own_code()
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not is_own(f.filename)]
    if not frames:
        return None
    line, column = frames[-1].lineno or 1, (frames[-1].colno or 0) + 1
    return Location(_near(frames[-1].filename), line, column)


def _own_code() -> Callable[[str], bool]:
    """Tells files of PyTorch, Python and netc, and code that has no file, from those of a module."""
    packages = [Path(file).parent for name in ("torch", "onnx", "onnxscript") if (file := _file_of(name))]
    inner = tuple(f"{folder}{os.sep}" for folder in [*packages, *(Path(__file__).parents[1] / n for n in _NETC)])
    libraries = tuple(f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "purelib", "platlib"))

    def is_own(file: str) -> bool:
        if not os.path.isfile(file) or file.startswith(inner):
            return True
        return file.startswith(libraries[0]) and not file.startswith(libraries[1:]) and "site-packages" not in file

    return is_own


_NETC = ("frontend", "driver", "compiler", "runtime")


def _file_of(module: str) -> str | None:
    return getattr(sys.modules.get(module), "__file__", None)


def _near(file: str) -> str:
    """A path as one would type it here."""
    relative = os.path.relpath(file)
    return file if relative.startswith(os.pardir) else relative


@contextmanager
def without_frozen_choices(torch: Any) -> Iterator[None]:
    """Raise `NetcError` if tracing took what depends on the numbers of the example inputs for constant."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    frozen = [w for w in caught if issubclass(w.category, torch.jit.TracerWarning)]
    if frozen:
        said = str(frozen[0].message).partition("\n")[0].partition(". ")[0]
        place = Location(_near(frozen[0].filename), frozen[0].lineno, 1)
        raise NetcError(f"what it does may depend on the numbers it is given: {said}", location=place)

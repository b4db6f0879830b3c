"""Text -> kernels: reads what `printer` writes.

The reader checks names and the types that it needs in order to build nodes; the verifier checks the rest. Anything
wrong raises `NetcError` with the place in the text.
"""

from __future__ import annotations

from .ir import Kernel
from .kernel_reader import KernelReader


def parse_kernel(text: str, file: str = "<kernel>") -> Kernel:
    """Read one kernel."""
    reader = KernelReader(text, file)
    with reader.located():
        kernel = reader.kernel()
    reader.finish()
    return kernel

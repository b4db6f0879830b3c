"""Files of tensors, as safetensors has them, written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file


def write_tensors(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None) -> None:
    """Write contiguous arrays, and texts by name, to a safetensors file; raises `OSError`.

    The library wraps what the operating system says into an error of its own; here it is taken out again.
    """
    try:
        save_file(dict(arrays), path, dict(metadata) if metadata else None)
    except SafetensorError as error:
        if (number := re.search(r"\(os error (\d+)\)", str(error))) is not None:
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from None
        raise OSError(str(error)) from None

"""TFLite files run by LiteRT: its own kernels, its reference kernels, or the Edge TPU through Google's delegate.

LiteRT (`ai_edge_litert`) and the delegate's library are optional; what is missing is said in a `NetcError`. Files
should be read by netc first: LiteRT trusts them.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..compiler.errors import NetcError
from ..compiler.extras import extra
from ..compiler.graph.ir import Array, Graph

EDGETPU_OPERATOR = "edgetpu-custom-op"
"""What edgetpu_compiler puts in the place of the operators that it maps."""
LIBRARIES: Mapping[str, str] = MappingProxyType({"darwin": "libedgetpu.1.dylib", "win32": "edgetpu.dll"})
"""Names of the delegate's library by platform; elsewhere as on Linux."""
LINUX_LIBRARY = "libedgetpu.so.1"


@dataclass(frozen=True, slots=True)
class _Tensor:
    """An input or output as LiteRT describes it."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: Any

    @staticmethod
    def of(details: Mapping[str, Any]) -> _Tensor:
        return _Tensor(details["index"], details["name"], tuple(map(int, details["shape"])), details["dtype"])

    def check(self, array: Array) -> None:
        """Raise `NetcError` unless the array has this tensor's shape and type."""
        if array.shape != self.shape or array.dtype != self.dtype:
            wanted = f"{self.dtype.__name__}{list(self.shape)}"
            raise NetcError(f"input `{self.name}` takes {wanted}, not {array.dtype}{list(array.shape)}")


class LiteRT:
    """A TFLite file in LiteRT's interpreter: callable on arrays, in the order of the file's inputs, like a `Program`.

    With `reference`, LiteRT's reference kernels compute; with `edgetpu`, the operators that edgetpu_compiler mapped run
    on the device. `shapes` are those of inputs where the file leaves them free. Raises `NetcError` where LiteRT, the
    library or the device is missing, or where LiteRT refuses the file or fails to run it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        reference: bool = False,
        edgetpu: bool = False,
        shapes: Sequence[tuple[int, ...]] = (),
    ) -> None:
        self.path = os.fspath(path)
        module = _litert()
        kinds = module.OpResolverType
        options: dict[str, Any] = {"model_path": self.path, "num_threads": threads}
        if reference:
            options["experimental_op_resolver_type"] = kinds.BUILTIN_REF
        if edgetpu:
            options["experimental_delegates"] = [_delegate(module)]
        try:
            self._interpreter: Any = module.Interpreter(**options)
            for details, shape in zip(self._interpreter.get_input_details(), shapes, strict=False):
                if tuple(details["shape"]) != shape:
                    self._interpreter.resize_tensor_input(details["index"], shape)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise NetcError(f"LiteRT can't load {self.path}: {_reason(error)}") from None
        self.inputs: Sequence[_Tensor] = [_Tensor.of(d) for d in self._interpreter.get_input_details()]
        self.outputs: Sequence[_Tensor] = [_Tensor.of(d) for d in self._interpreter.get_output_details()]

    def __call__(self, *arrays: Array) -> Array | tuple[Array, ...]:
        """Run the model once; the outputs are fresh arrays."""
        if len(arrays) != len(self.inputs):
            raise NetcError(f"{self.path} takes {len(self.inputs)} input(s), not {len(arrays)}")
        for tensor, array in zip(self.inputs, arrays, strict=True):
            tensor.check(array)
            self._interpreter.set_tensor(tensor.index, array)
        try:
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise NetcError(f"LiteRT can't run {self.path}: {_reason(error)}") from None
        results = tuple(self._interpreter.get_tensor(tensor.index) for tensor in self.outputs)
        return results[0] if len(results) == 1 else results


def needs_edgetpu(graph: Graph) -> bool:
    """True for a graph read from a file that edgetpu_compiler has compiled."""
    return any(op.name == "opaque" and op.attributes["operator"] == EDGETPU_OPERATOR for op in graph.operations)


def _litert() -> Any:
    """LiteRT's module."""
    return extra("ai_edge_litert.interpreter", "LiteRT can't be used", "pip install 'netc[litert]' installs it")


def _delegate(module: Any) -> Any:
    """The Edge TPU's delegate; opening it looks for a device."""
    library = LIBRARIES.get(sys.platform, LINUX_LIBRARY)
    try:
        ctypes.CDLL(library)
    except OSError:
        hint = "install the Edge TPU runtime, on Debian the package libedgetpu1-std"
        raise NetcError(f"the Edge TPU's library {library} can't be loaded", hint=hint) from None
    try:
        return module.load_delegate(library)
    except (RuntimeError, ValueError) as error:
        hint = "is it plugged in, and may this user open it?"
        raise NetcError(f"no Edge TPU could be opened: {_reason(error)}", hint=hint) from None


def _reason(error: Exception) -> str:
    """The last line of a message: LiteRT puts the place in its own sources before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__

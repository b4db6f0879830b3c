"""The weights region of a module, filled: what the set-up graph gives, where the kernels will read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from ..arrays import aligned_bytes, move
from ..errors import InternalError
from ..graph.interpreter import evaluate_outputs
from ..graph.ir import Array
from ..modules.module import Module


@runtime_checkable
class ReadOnce(Protocol):
    """Parameters that can be had in memory which is let go while they are packed (`arrays.Scratch`)."""

    def to_be_read_once(self) -> Mapping[str, Array]:
        """The same parameters, each of which is read anew when it is looked up."""
        ...


def pack_weights(module: Module, params: Mapping[str, Array], region: Array | None = None) -> Array:
    """The weights region: the outputs of the set-up graph, one after the other so that few are in memory at a time.

    The largest comes first, while the region takes no memory yet. `region` is one to fill again.
    """
    if region is None:
        region = aligned_bytes(module.weights_bytes)
    outputs = module.setup.outputs
    order = sorted(range(len(outputs)), key=lambda i: -outputs[i].type.bytes)
    for offset, array in _produced(module, params, order):
        move(array, region[offset : offset + array.nbytes].view(array.dtype).reshape(array.shape))
    return region


def weights_in_order(module: Module, params: Mapping[str, Array]) -> Iterator[tuple[int, Array]]:
    """The same piece by piece: the byte at which each output lies, and its values, in the order of these bytes.

    What lies between them is zero.
    """
    offsets = module.weight_offsets
    return _produced(module, params, sorted(range(len(offsets)), key=offsets.__getitem__))


def _produced(module: Module, params: Mapping[str, Array], order: Sequence[int]) -> Iterator[tuple[int, Array]]:
    """Offsets and values of the outputs with these numbers."""
    if isinstance(params, ReadOnce):
        params = params.to_be_read_once()
    outputs = tuple(module.setup.outputs[i] for i in order)
    for i, array in zip(order, evaluate_outputs(replace(module.setup, outputs=outputs), params), strict=True):
        offset = module.weight_offsets[i]
        end = offset + array.nbytes
        if end > module.weights_bytes:
            raise InternalError(f"packed weight at {offset} ends at {end}, beyond {module.weights_bytes} bytes")
        yield offset, array

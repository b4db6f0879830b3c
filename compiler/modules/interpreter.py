"""The meaning of a whole loop module, in NumPy: its kernels are interpreted one after the other, every access checked.

Tests compare it with the graph that the module was lowered from, and with the machine code that is made of it. Memory
that nothing has written yet holds bytes 0xFF (NaN, -1 or true), so that a value that is read too early shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..errors import InternalError
from ..graph.interpreter import NO_PARAMETERS, evaluate
from ..graph.ir import Array
from ..loops.interpreter import run_kernel
from ..loops.ir import Buffer
from .module import Call, Kind, Memory, Module, Slot, sequence


def run_module(
    module: Module,
    inputs: Sequence[Array],
    params: Mapping[str, Array] = NO_PARAMETERS,
    state: dict[str, Array] | None = None,
) -> tuple[Array, ...]:
    """Run a module once on inputs in its order; returns its outputs.

    `params` are the values of all parameters, in the graph's types. Those that the module itself changes start from
    there, too; `state`, if given, receives their values afterwards. `InternalError` for an access outside a buffer.
    """
    regions = _Regions(module, inputs, params)
    kernels = {kernel.name: kernel for kernel in module.kernels}
    for call, turn, share in _sequence(module, regions):
        kernel = kernels[call.kernel]
        slots = zip(call.arguments, kernel.params, strict=True)
        run_kernel(kernel, [regions.buffer(slot, buffer, slot.at(turn, share)) for slot, buffer in slots])
    if state is not None:
        state |= regions.state(module)
    return tuple(
        array.view(type_.dtype.numpy).reshape(type_.shape)
        for array, (_, type_) in zip(regions.tensors[Memory.OUTPUT], module.outputs, strict=True)
    )


def _sequence(module: Module, regions: _Regions) -> Iterator[tuple[Call, int, int]]:
    """The calls that are made, in order, each with its turn and share; conditions are asked when they are reached."""
    turns = {t.first: t for t in module.turns}
    steps = sequence(len(module.calls), module.blocks)
    places = {(step.kind, step.block): n for n, step in enumerate(steps) if step.block is not None}
    at = 0
    while at < len(steps):
        step = steps[at]
        at += 1
        if step.block is None:
            call, many = module.calls[step.call], turns.get(step.call)
            if many is not None:
                for turn in range(many.count):
                    share = turn * many.shares // many.count
                    yield from ((call, turn, share) for call in module.calls[many.first : many.end])
                at += many.end - many.first - 1
            elif call.when is None or regions.bytes_at(call.when, 1)[0]:
                yield call, 0, 0
        elif step.kind is Kind.ASK and not regions.bytes_at(step.block.when, 1)[0]:
            at = places[Kind.END, step.block] + 1
        elif step.kind is Kind.END and step.block.repeats:
            at = places[Kind.BEGIN, step.block]


class _Regions:
    """The memory of a running module, as bytes."""

    def __init__(self, module: Module, inputs: Sequence[Array], params: Mapping[str, Array]) -> None:
        self.tensors = {
            Memory.INPUT: [_bytes(array).copy() for array in inputs],
            Memory.OUTPUT: [_unwritten(type_.bytes) for _, type_ in module.outputs],
        }
        self.regions = {
            Memory.ARENA: _unwritten(module.arena_bytes),
            Memory.WEIGHTS: _unwritten(module.weights_bytes),
            Memory.STATE: _unwritten(module.state_bytes),
        }
        packed = evaluate(module.setup, (), params)
        places = [
            *((Memory.ARENA, offset, array) for offset, array in zip(module.input_offsets, inputs, strict=False)),
            *((Memory.WEIGHTS, offset, array) for offset, array in zip(module.weight_offsets, packed, strict=True)),
            *((Memory.STATE, offset, params[name]) for name, _, offset in module.state),
        ]
        for memory, offset, array in places:
            self.bytes_at(Slot(memory, offset), array.nbytes)[...] = _bytes(array)

    def bytes_at(self, slot: Slot, size: int, beyond: int = 0) -> Array:
        """A view of `size` bytes from so many bytes beyond a slot on."""
        tensor = slot.memory in self.tensors
        region = self.tensors[slot.memory][slot.offset] if tensor else self.regions[slot.memory]
        start = beyond + (0 if tensor else slot.offset)
        if not 0 <= start <= start + size <= region.size:
            raise InternalError(f"loop interpreter: {size} bytes at {slot} lie outside {region.size} bytes")
        return region[start : start + size]

    def buffer(self, slot: Slot, buffer: Buffer, beyond: int) -> Array:
        """The memory that a parameter sees."""
        return self.bytes_at(slot, buffer.bytes, beyond).view(buffer.dtype.numpy).reshape(buffer.shape)

    def state(self, module: Module) -> dict[str, Array]:
        """The parameters that the module changes."""
        return {
            name: self.bytes_at(Slot(Memory.STATE, offset), type_.bytes).view(type_.dtype.numpy).reshape(type_.shape)
            for name, type_, offset in module.state
        }


def _bytes(array: Array) -> Array:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _unwritten(size: int) -> Array:
    return np.full(size, 0xFF, np.uint8)

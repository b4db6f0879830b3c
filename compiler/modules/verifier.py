"""Checks of kernels and modules, by which a wrong schedule becomes an error instead of a wrong number.

A kernel is well formed, and none of its accesses leaves its buffer (`kernel_verifier`); calls fit kernels and memory,
and no two threads touch the same byte between barriers unless both read (`races`). A violation is a bug of the schedule
that built the kernel, so it raises `InternalError` with the kernel's text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import InternalError
from ..loops.accesses import KernelFacts
from ..loops.ir import Kernel, Space
from ..loops.kernel_verifier import KernelVerifier
from ..loops.printer import print_kernel
from ..loops.violation import ViolationError, check
from ..types import DType
from .module import Block, Memory, Module, Slot, Turns
from .races import check_calls, check_iterations

_WRITABLE = (Memory.ARENA, Memory.OUTPUT, Memory.STATE)


def verify_kernel(kernel: Kernel) -> KernelFacts:
    """Raise `InternalError` unless the kernel is well formed; says what it touches."""
    try:
        facts = KernelVerifier().kernel(kernel)
        check_iterations(kernel, facts)
    except ViolationError as error:
        raise InternalError(f"loop verifier: @{kernel.name}: {error}\n{print_kernel(kernel)}") from None
    return facts


def verify_module(module: Module) -> None:
    """Raise `InternalError` unless all kernels are well formed and all calls fit them, their memory and each other."""
    facts = {kernel.name: verify_kernel(kernel) for kernel in module.kernels}
    kernels = {kernel.name: kernel for kernel in module.kernels}
    try:
        check(len(kernels) == len(module.kernels), "two kernels have the same name")
        _turns(module)
        for number, call in enumerate(module.calls):
            check(call.kernel in kernels, f"call of @{call.kernel}, which is not there")
            _arguments(module, kernels[call.kernel], call.arguments, module.turns_at(number))
        _announcements(module)
        _conditions(module, kernels)
        _blocks(module)
        check_calls(module, kernels, facts)
    except ViolationError as error:
        raise InternalError(f"loop verifier: module @{module.name}: {error}") from None


def _announcements(module: Module) -> None:
    """Outputs are announced where all threads have met, whatever booleans hold."""
    for number, call in enumerate(module.calls):
        inside = any(b.first <= number < b.end for b in module.blocks)
        sound = not call.announces or (call.barrier and call.when is None and not inside)
        check(sound, f"call {number} of @{call.kernel} announces outputs where threads may not have met")


def _turns(module: Module) -> None:
    """Turns hold calls, are in order and apart from blocks; threads meet before and behind them, not in between."""
    end = 0
    for number, turns in enumerate(module.turns):
        ordered = end <= turns.first < turns.end <= len(module.calls)
        check(ordered and 1 <= turns.shares <= turns.count, f"turns {number} are not sound")
        end = turns.end
        inside = module.calls[turns.first : turns.end]
        apart = all(b.end <= turns.first or turns.end <= b.first for b in module.blocks)
        check(apart and all(call.when is None for call in inside), f"turns {number} meet a condition")
        before = [] if not turns.first else [module.calls[turns.first - 1]]
        waits = all(call.barrier and call.when is None for call in (*before, inside[-1]))
        waits = waits and all(b.end != turns.first for b in module.blocks)
        check(waits and not any(call.barrier for call in inside[:-1]), f"turns {number} lack a barrier, or hold one")
    for number, call in enumerate(module.calls):
        moves = any(slot.turn or slot.share for slot in call.arguments)
        check(not moves or module.turns_at(number) is not None, f"call {number} of @{call.kernel} is not among turns")


def _arguments(module: Module, kernel: Kernel, slots: Sequence[Slot], turns: Turns | None) -> None:
    """Arguments are as many as parameters and lie inside the memory they are in, in all turns."""
    check(len(slots) == len(kernel.params), f"@{kernel.name} takes {len(kernel.params)} arguments, not {len(slots)}")
    for slot, buffer in zip(slots, kernel.params, strict=True):
        memory, offset = slot.memory, slot.offset
        beyond = slot.at(turns.count - 1, turns.shares - 1) if turns is not None else 0
        wrong = _outside(module, memory, offset, buffer.bytes + beyond)
        wrong = wrong or ("moves backward" if min(slot.turn, slot.share) < 0 else "")
        if not wrong and buffer.space is Space.OUT and memory not in _WRITABLE:
            wrong = "is written, but it is read only"
        if wrong:
            place = f"argument {slot} for %{buffer.name} of @{kernel.name}"
            raise ViolationError(f"{place} {wrong}")


def _conditions(module: Module, kernels: Mapping[str, Kernel]) -> None:
    """Conditions of calls lie inside the memory they are in, and from the first use on nothing writes there."""
    used: dict[tuple[Memory, int], str] = {}
    if all(call.when is None for call in module.calls):
        return
    for call in module.calls:
        if call.when is not None:
            memory, offset = call.when.memory, call.when.offset
            place = used[memory, offset] = f"condition {memory.value}[{offset}]"
            check(memory is not Memory.STATE, f"{place} may change while the program runs")
            wrong = _outside(module, memory, offset, DType.BOOL.itemsize)
            check(not wrong, f"{place} {wrong}")
        for slot, buffer in zip(call.arguments, kernels[call.kernel].params, strict=True):
            extent = 1 if slot.memory is Memory.OUTPUT else buffer.bytes
            for (memory, offset), place in used.items():
                hit = slot.memory is memory and slot.offset <= offset < slot.offset + extent
                check(not hit or buffer.space is not Space.OUT, f"{place} is overwritten by @{call.kernel}")


def _blocks(module: Module) -> None:
    """Blocks hold calls and lie inside each other or apart; their booleans lie where something can write them."""
    for n, block in enumerate(module.blocks):
        ordered = 0 <= block.first <= block.body < block.end <= len(module.calls)
        check(ordered and (block.first < block.body) == block.repeats, f"block {n} lacks calls")
        wrong = _outside(module, block.when.memory, block.when.offset, DType.BOOL.itemsize)
        wrong = wrong if block.when.memory is Memory.ARENA else "is not in the arena"
        check(not wrong, f"condition {block.when} {wrong}")
        for other in module.blocks[:n]:
            apart = block.end <= other.first or other.end <= block.first
            check(apart or _holds(other, block) or _holds(block, other), f"blocks cross at call {block.first}")


def _holds(outer: Block, block: Block) -> bool:
    """True if a block lies in one of the parts of another."""
    parts = ((outer.first, outer.body), (outer.body, outer.end))
    return any(first <= block.first and block.end <= end for first, end in parts)


def _outside(module: Module, memory: Memory, offset: int, size: int) -> str:
    """Why bytes are not inside the memory that they should be in; empty if they are."""
    if memory is Memory.INPUT or memory is Memory.OUTPUT:
        tensors = module.inputs if memory is Memory.INPUT else module.outputs
        if not 0 <= offset < len(tensors):
            return "doesn't exist"
        return f"is smaller than the {size} bytes that are used" if size > tensors[offset][1].bytes else ""
    held = module.state_bytes
    if memory is not Memory.STATE:
        held = module.arena_bytes if memory is Memory.ARENA else module.weights_bytes
    return "" if 0 <= offset <= held - size else "ends outside its region"

"""Checks that no two threads touch the same byte between barriers unless both read.

Within a kernel: threads share out the iterations of the parallel loop, so two iterations must not meet in a buffer that
is written. That is proved by dimensions that tell iterations apart: if every access has the index `c * a + rest` in a
dimension, with `rest` inside one window of c numbers, then accesses to the same place have the same value of atom `a`.
The values of quotient and remainder give that of what was divided; from atom to atom, that of the loop's variable
follows. Between calls: what they touch is compared row by row where their ranges of bytes overlap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product

from ..loops.accesses import Access, Box, KernelFacts
from ..loops.ir import Buffer, Kernel, Space
from ..loops.linear import ZERO, Linear
from ..loops.violation import ViolationError, check
from .footprints import Span, Spans, intersect
from .module import Call, Meetings, Module, Turns
from .overlaps import Overlaps

Constants = Mapping[int, Sequence[tuple[int, int]]]
"""By identity of an access: its smallest and largest constant in each dimension."""

_OTHER_HALF = {"mod": "floordiv", "floordiv": "mod"}


def check_iterations(kernel: Kernel, facts: KernelFacts) -> None:
    """No iteration of the parallel loop touches what another one writes."""
    if facts.parallel is None or not facts.parallel.terms:
        return
    (loop,) = facts.parallel.terms
    for buffer in kernel.params:
        accesses = [a for a in facts.accesses[buffer.name] if a.shared]
        if buffer.space is Space.OUT and any(a.writes for a in accesses):
            apart = _determines(facts, accesses, loop)
            apart = apart or all(_determines(facts, g, loop) for g in _groups(facts, buffer, accesses))
            check(apart, f"%{buffer.name}: two threads may touch the same elements of it")


def _groups(facts: KernelFacts, buffer: Buffer, accesses: Sequence[Access]) -> list[list[Access]]:
    """Accesses that may meet, one of which writes; those of different groups lie in different boxes."""
    boxes = {id(a): _hull(a.boxes(facts.knowledge, buffer.shape)) for a in accesses}
    groups: list[list[Access]] = []
    for access in accesses:
        near = [g for g in groups if any(intersect(boxes[id(access)], boxes[id(other)]) for other in g)]
        groups = [g for g in groups if g not in near]
        groups.append([access, *(a for g in near for a in g)])
    return [g for g in groups if any(a.writes for a in g)]


def _hull(boxes: Sequence[Box]) -> Box:
    """The smallest box around some boxes."""
    return tuple((min(low for low, _ in ends), max(high for _, high in ends)) for ends in zip(*boxes, strict=True))


def _determines(facts: KernelFacts, accesses: Sequence[Access], loop: int) -> bool:
    """True if an atom has the same value wherever two accesses meet."""
    accesses = _with_divided(facts, accesses)
    constants = {id(a): [a.span(d) for d in range(len(a.terms))] for a in accesses}
    certain = {atom: r for atom, r in accesses[0].narrowed.items() if r[0] == r[1]}
    known = {atom for atom, r in certain.items() if all(a.narrowed.get(atom) == r for a in accesses)}
    while loop not in known:
        before = len(known)
        for d in range(len(accesses[0].terms)):
            for atom, c in _candidates(accesses, d, known):
                if _tells_apart(facts, accesses, constants, d, atom, c, known):
                    known.add(atom)
        _follow(facts, known)
        if len(known) == before:
            return False
    return True


def _with_divided(facts: KernelFacts, accesses: Sequence[Access]) -> Sequence[Access]:
    """The accesses, with a number as the first dimension of which two dimensions are the quotient and the remainder.

    Accesses that meet have the same quotient and the same remainder, so this number is the same, too. Where others
    have no such dimensions, it is the sum of what stands there.
    """
    for d in range(len(accesses[0].terms) - 2):  # lanes belong to the last one
        divisions = [_division(facts, a, d) for a in accesses]
        found = {(n, y, x) for _, n, y, x in filter(None, divisions)}
        if len(found) == 1:
            (parts,), pairs = found, zip(accesses, divisions, strict=True)
            return [_with_number(a, d, parts, division[0] if division else None) for a, division in pairs]
    return accesses


def _division(facts: KernelFacts, access: Access, d: int) -> tuple[Linear, int, int, int] | None:
    """What is divided, by what, and what is added to both, if dimensions d and d + 1 are quotient and remainder."""
    sides = (access.terms[d], access.terms[d + 1])
    if any(list(side.values()) != [1] for side in sides):
        return None
    (op, form, n), (other, same, m) = (facts.knowledge.divisions.get(a, ("", ZERO, 0)) for side in sides for a in side)
    (y, last_y), (x, last_x) = access.span(d), access.span(d + 1)
    fits = (op, other) == ("floordiv", "mod") and form.key == same.key and n == m and y == last_y and x == last_x
    return (form, n, y, x) if fits else None


def _with_number(access: Access, d: int, parts: tuple[int, int, int], number: Linear | None) -> Access:
    """The access with the number whose quotient and remainder, a constant more each, are its dimensions d and d + 1."""
    n, y, x = parts
    if number is not None:
        terms, constants = number.terms, {(number.constant, *c) for c in access.constants}
    else:
        terms = Linear(0, access.terms[d + 1]).plus(Linear(0, access.terms[d]), n).terms
        constants = {((c[d] - y) * n + c[d + 1] - x, *c) for c in access.constants}
    return replace(access, terms=(terms, *access.terms), constants=constants)


def _candidates(accesses: Sequence[Access], d: int, known: set[int]) -> set[tuple[int, int]]:
    """Atoms in dimension d that are not known yet, with their coefficients."""
    return {term for a in accesses for term in a.terms[d].items() if term[0] not in known and term[1] > 0}


def _tells_apart(
    facts: KernelFacts, accesses: Sequence[Access], constants: Constants, d: int, atom: int, c: int, known: set[int]
) -> bool:
    """True if places that are equal in dimension d have the same value of an atom: what is left is less than c wide.

    Known atoms are left out where all accesses have them with the same coefficient.
    """
    same = {
        k: f for k, f in accesses[0].terms[d].items() if k in known and all(a.terms[d].get(k) == f for a in accesses)
    }
    low, high = math.inf, -math.inf
    for a in accesses:
        rest = {k: f for k, f in a.terms[d].items() if k not in same}
        rest[atom] = rest.get(atom, 0) - c
        first, last = facts.knowledge.range(Linear(0, rest), a.narrowed)
        least, most = constants[id(a)][d]
        low, high = min(low, first + least), max(high, last + most)
    return high - low < c


def _follow(facts: KernelFacts, known: set[int]) -> None:
    """Add what follows from known atoms: x from x // n and x % n, and x from a variable that runs over its part."""
    knowledge = facts.knowledge
    for atom in sorted(known):
        key = knowledge.keys[atom]
        if key[0] == "within" and isinstance(key[1], int):
            known.add(key[1])
        op, form, n = knowledge.divisions.get(atom, ("", ZERO, 0))
        other = _OTHER_HALF.get(op)
        if op == "rest" or (other and known.issuperset(knowledge.binary(other, form, Linear(n)).terms)):
            _solve(facts, form, known)


def _solve(facts: KernelFacts, form: Linear, known: set[int]) -> None:
    """Add the atoms of a form whose value is known: those with a coefficient that the rest can't make good for."""
    for atom, c in sorted(form.terms.items(), key=lambda term: -term[1]):
        rest = Linear(0, {a: f for a, f in form.terms.items() if a != atom and a not in known})
        low, high = facts.knowledge.range(rest, {})
        if c > 0 and high - low < c:
            known.add(atom)


# ---- calls ----------------------------------------------------------------------------------------------------------


def check_calls(module: Module, kernels: Mapping[str, Kernel], facts: Mapping[str, KernelFacts]) -> None:
    """No call touches what another one writes, unless one thread makes both or all threads wait in between."""
    known = Spans(dict(kernels), dict(facts))
    spans = [known.of(call) for call in module.calls]
    serial = {name: each.parallel is None for name, each in facts.items()}
    meetings = Meetings(module.calls, module.blocks)
    for turns in module.turns:
        _check_turns(module, turns, spans[turns.first : turns.end])
    in_time = _InTime(kernels)
    first = 0
    for b, after in enumerate(module.calls):
        _check_arguments(after, spans[b], in_time if serial[after.kernel] else None)
        if (inside := module.turns_at(b)) is not None:
            first = inside.end  # threads meet before and behind (see `verifier`)
            continue
        for a in range(first, b):
            before = module.calls[a]
            if not (serial[before.kernel] and serial[after.kernel]) and not meetings.between(a, b):
                for x, y in product(spans[a], spans[b]):
                    if x.meets(y):
                        raise ViolationError(f"@{before.kernel} and @{after.kernel} meet at {x.slot} without a barrier")
        if after.barrier and meetings.is_always_made(b):
            first = b + 1


def _check_turns(module: Module, turns: Turns, spans: Sequence[Sequence[Span]]) -> None:
    """No turn touches what a turn of another share writes, and what moves meets only what moves with it.

    What is written has a place of its own in each turn, or for each share. Turns of one share follow each other, so
    they may write in the share's memory anew.
    """
    found = [span for of in spans for span in of]
    for span in found:
        slot = span.slot
        if not span.writes:
            continue
        alone = turns.count == 1 or slot.turn >= span.stop - span.start or slot.share > 0 or turns.shares == 1
        check(alone and not (slot.turn and slot.share), f"turns write all of the same memory at {slot}")
        reach = span.stop + slot.at(turns.count - 1, turns.shares - 1)
        for other in found:
            far = other.slot
            stop = other.stop + far.at(turns.count - 1, turns.shares - 1)
            if far.memory is not slot.memory or stop <= span.start or reach <= other.start:
                continue
            together = (far.turn, far.share) == (slot.turn, slot.share)
            wide = max(span.stop, other.stop) - min(span.start, other.start)
            check(together and (wide <= max(slot.turn, slot.share) or turns.shares == 1), f"turns meet at {slot}")


def _check_arguments(call: Call, spans: Sequence[Span], in_time: _InTime | None) -> None:
    """What a kernel writes through one parameter it doesn't touch through another, unless it has been read before."""
    for x, y in combinations(spans, 2):
        if x.meets(y) and (in_time is None or not in_time.is_read(call.kernel, x, y)):
            pair = f"%{x.touched.buffer.name} and %{y.touched.buffer.name}"
            raise ViolationError(f"@{call.kernel} touches the same memory through {pair}, and writes there")


class _InTime:
    """Whether what a serial kernel reads is overwritten later than that."""

    def __init__(self, kernels: Mapping[str, Kernel]) -> None:
        self._kernels = kernels
        self._known: dict[str, Overlaps] = {}

    def is_read(self, kernel: str, x: Span, y: Span) -> bool:
        """True if what is read through one of two parameters is overwritten through the other later than that."""
        if x.writes == y.writes:
            return False
        if kernel not in self._known:
            self._known[kernel] = Overlaps(self._kernels[kernel])
        read, written = (y, x) if x.writes else (x, y)
        distances = self._known[kernel].distances(read.touched.buffer, written.touched.buffer)
        return distances.allow(read.start - written.start)

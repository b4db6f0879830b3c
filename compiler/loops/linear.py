"""Linear forms of index expressions, and what is known of the numbers that they are made of.

An index is `constant + sum of coefficient * atom`. An atom is a loop variable or something that isn't linear in them (a
quotient, a minimum, a number from memory); equal ones have the same number. Atoms have ranges, which conditions may
narrow, and some of them relations to other forms. From these, `proves` derives that a form is never negative.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache

from .form import Form
from .interval import UNKNOWN, Interval

Key = tuple[object, ...]
Terms = Mapping[int, int]
DEPTH = 3
"""Relations that a proof may use one after the other."""


class Linear(Form[int]):
    """A form of an index; its atoms are numbers that `Knowledge` gives."""

    __slots__ = ()

    def shifted(self, number: int) -> Linear:
        """`self + number`."""
        return Linear(self.constant + number, self.terms)

    @property
    def key(self) -> Key:
        """Equal for equal forms."""
        return (self.constant, *sorted(self.terms.items()))


ZERO = Linear(0)


@cache
def constant(number: int) -> Linear:
    """A form without atoms."""
    return Linear(number)


class Knowledge:
    """The atoms of one kernel, and what holds at the place that is being looked at."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self._ranges: list[Interval] = []
        self._numbers: dict[Key, int] = {}
        self._alternatives: dict[int, tuple[str, Linear, Linear]] = {}
        """Atom -> "min" or "max", and the two forms that it is the smaller or larger of."""
        self.divisions: dict[int, tuple[str, Linear, int]] = {}
        """Quotients and remainders: "floordiv", "mod" or, with a known quotient, "rest"; what is divided, by what."""
        self.narrowed: Mapping[int, Interval] = {}
        """Ranges that conditions have made smaller."""
        self._bounded: Mapping[Key, Interval] = {}
        """Ranges of forms that are smaller than those of their atoms say."""
        self.facts: tuple[Linear, ...] = ()
        """Forms of several atoms that are not negative here."""
        self._sums: dict[tuple[int, int, int], tuple[Terms, Terms, Terms]] = {}
        """Identities of two forms' terms and a factor -> terms of the sum, and the terms that have these identities."""

    # ---- atoms ----

    def atom(self, key: Key, range_: Interval, here: Interval | None = None) -> int:
        """The number of the atom with this key; its range everywhere, and at this place if that is smaller."""
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.keys)
            self.keys.append(key)
            self._ranges.append(range_)
        if here is not None and here != self._ranges[number]:
            self.narrowed = {**self.narrowed, number: here}
        return number

    def fresh(self, range_: Interval = UNKNOWN) -> Linear:
        """A number of which nothing but the range is known."""
        return self.of(self.atom(("unknown", len(self.keys)), range_))

    def of(self, atom: int) -> Linear:
        """An atom as a form; a constant where only one value is left."""
        low, high = self.narrowed.get(atom, self._ranges[atom])
        return Linear(int(low)) if low == high else Linear(0, {atom: 1})

    # ---- what is known ----

    def range(self, form: Linear, narrowed: Mapping[int, Interval] | None = None) -> Interval:
        """Smallest and largest value."""
        low: float = form.constant
        high: float = form.constant
        narrow = self.narrowed if narrowed is None else narrowed
        for atom, c in form.terms.items():
            start, stop = narrow.get(atom) or self._ranges[atom]
            if c > 0:
                low += c * start
                high += c * stop
            else:
                low += c * stop
                high += c * start
        return (low, high)

    def limits(self, terms: Terms) -> Interval:
        """Smallest and largest sum of these terms by the facts that speak of multiples of it."""
        low, high = UNKNOWN
        for fact in self.facts:
            if fact.terms.keys() != terms.keys():
                continue
            atom, c = next(iter(fact.terms.items()))
            if any(fact.terms[other] * terms[atom] != c * n for other, n in terms.items()):
                continue
            end = -fact.constant * terms[atom] / c
            low, high = (max(low, math.ceil(end)), high) if c * terms[atom] > 0 else (low, min(high, math.floor(end)))
        return (low, high)

    def proves(self, form: Linear, depth: int = DEPTH) -> bool:
        """True if a form is known not to be negative."""
        if self.range(form)[0] >= 0:
            return True
        if not depth:
            return False
        return any(self.proves(weaker, depth - 1) for weaker in self._weaker(form))

    def _weaker(self, form: Linear) -> Iterator[Linear]:
        """Forms that are at most as large."""
        for atom, c in form.terms.items():
            op, *choices = self._alternatives.get(atom, ("",))
            if (op, c > 0) in (("min", False), ("max", True)):
                for choice in choices:
                    yield form.plus(Linear(0, {atom: c}), -1).plus(choice, c)
        for fact in self.facts:
            for atom, c in fact.terms.items():
                times, rest = divmod(form.terms.get(atom, 0), c)
                if times > 0 and not rest:
                    yield form.plus(fact, -times)

    @contextmanager
    def assuming(self, *facts: Linear) -> Iterator[bool]:
        """What holds inside a block: these forms are not negative. Gives False where that can't be."""
        saved = self.narrowed, self._bounded, self.facts
        yield all(map(self._assume, facts))
        self.narrowed, self._bounded, self.facts = saved

    def _assume(self, fact: Linear) -> bool:
        low, high = self.range(fact)
        if low >= 0 or high < 0:
            return high >= 0
        if len(fact.terms) != 1:
            self.facts = (*self.facts, fact)
            return True
        ((atom, c),) = fact.terms.items()
        low, high = self.narrowed.get(atom, self._ranges[atom])
        limit = -fact.constant / c
        low, high = (max(low, math.ceil(limit)), high) if c > 0 else (low, min(high, math.floor(limit)))
        self.narrowed = {**self.narrowed, atom: (low, high)}
        op, form, n = self.divisions.get(atom, ("", ZERO, 0))
        if op != "floordiv" or low > high:
            return low <= high
        follows = [form.shifted(-int(low) * n)] if math.isfinite(low) else []
        follows += [Linear(int(high) * n + n - 1).plus(form, -1)] if math.isfinite(high) else []
        return all(map(self._assume, follows))

    # ---- arithmetic ----

    def binary(self, op: str, a: Linear, b: Linear) -> Linear:
        """`op` of two forms."""
        if op == "add":
            return self._sum(a, b, 1)
        if op == "sub":
            return self._sum(a, b, -1)
        if op == "mul" and not b.terms:
            return self.times(a, b.constant)
        if op == "mul" and not a.terms:
            return self.times(b, a.constant)
        if op in ("floordiv", "mod") and not b.terms and b.constant > 0:
            divided = self._divided(op, a, b.constant)
            if op == "floordiv" and a.terms and (limits := self._bounded.get(a.key)):
                self._bound(divided, (limits[0] // b.constant, limits[1] // b.constant))
            return divided
        if op in ("min", "max"):
            return self._chosen(op, a, b)
        return self.fresh()

    def times(self, form: Linear, factor: int) -> Linear:
        """`factor * form`."""
        return self._sum(ZERO, form, factor)

    def _sum(self, a: Linear, b: Linear, factor: int) -> Linear:
        """`a + factor * b`; sums of the same terms share theirs, so that accesses are found by identity."""
        number = a.constant + factor * b.constant
        if not b.terms or not factor:
            return Linear(number, a.terms)
        key = (id(a.terms), id(b.terms), factor)
        known = self._sums.get(key)
        if known is None:
            known = self._sums[key] = (a.plus(b, factor).terms, a.terms, b.terms)
        return Linear(number, known[0])

    def _divided(self, op: str, form: Linear, n: int) -> Linear:
        whole, rest = form.split(n)
        low, high = self._quotients(rest, n, self.narrowed)
        if low == high:
            quotient = int(low)
            return whole.shifted(quotient) if op == "floordiv" else rest.shifted(-n * quotient)
        first, last = self._bounded.get(rest.key, UNKNOWN) if self._bounded else UNKNOWN
        low, high = max(low, first // n), min(high, last // n)
        if low == high and op == "floordiv":
            return whole.shifted(int(low))
        if low == high:  # the remainder is the form but for a number; as an atom it has the smaller range
            here = (max(first - low * n, 0), min(last - low * n, n - 1))
            return self._division("rest", rest, n, (0, n - 1), here, quotient=int(low))
        if op == "mod":
            return self._division(op, rest, n, (0, n - 1))
        rest, n = self._nested(rest, n)
        return whole.plus(self._division(op, rest, n, self._quotients(rest, n, {}), (low, high)))

    def _division(
        self, op: str, form: Linear, n: int, range_: Interval, here: Interval | None = None, quotient: int | None = None
    ) -> Linear:
        atom = self.atom((op, form.key, n, quotient), range_, here)
        self.divisions[atom] = (op, form, n)
        return self.of(atom)

    def _nested(self, form: Linear, n: int) -> tuple[Linear, int]:
        """What is divided, and by what: (x // m + y) // n is (x + m * y) // (m * n)."""
        for atom, c in form.terms.items():
            op, inner, m = self.divisions.get(atom, ("", ZERO, 0))
            if op == "floordiv" and c == 1:
                return self._nested(form.plus(Linear(0, {atom: 1}), -1).times(m).plus(inner), m * n)
        return form, n

    def _quotients(self, form: Linear, n: int, narrowed: Mapping[int, Interval]) -> Interval:
        low, high = self.range(form, narrowed)
        return (low // n if math.isfinite(low) else low, high // n if math.isfinite(high) else high)

    def _chosen(self, op: str, a: Linear, b: Linear) -> Linear:
        for one, other in ((a, b), (b, a)):
            if self.proves(one.plus(other, -1)):
                chosen, limit = (other, one) if op == "min" else (one, other)
                return self._bound(chosen, self._choices(op, chosen, limit, self.narrowed))
        atom = self.atom((op, a.key, b.key), self._choices(op, a, b, {}), self._choices(op, a, b, self.narrowed))
        self._alternatives[atom] = (op, a, b)
        return self.of(atom)

    def _bound(self, form: Linear, range_: Interval) -> Linear:
        """Remember that a form has this range here."""
        if range_ != self.range(form) and math.isfinite(range_[1] - range_[0]):
            self._bounded = {**self._bounded, form.key: range_}
            ends = (form.shifted(-int(range_[0])), Linear(int(range_[1])).plus(form, -1))
            self.facts = (*self.facts, *ends)
        return form

    def _choices(self, op: str, a: Linear, b: Linear, narrowed: Mapping[int, Interval]) -> Interval:
        best = min if op == "min" else max
        (a_low, a_high), (b_low, b_high) = self.range(a, narrowed), self.range(b, narrowed)
        return (best(a_low, b_low), best(a_high, b_high))

    def select(self, a: Linear, b: Linear) -> Linear:
        """Either of two forms."""
        if a.key == b.key:
            return a
        (a_low, a_high), (b_low, b_high) = self.range(a), self.range(b)
        return self.fresh((min(a_low, b_low), max(a_high, b_high)))

    # ---- loops ----

    def loop_variable(self, start: Linear, stop: Linear, step: int, key: Key = ()) -> tuple[Linear, Sequence[Linear]]:
        """A loop's variable, and the facts that hold inside: it is at least `start` and less than `stop`.

        A loop over [c * x, c * x + c) gets an atom with the key ("within", x, c, offset): its value determines x's.
        """
        trips = (self.range(stop.plus(start, -1))[1] - 1) // step
        if step > 1 or not (start.terms or stop.terms):
            trip = self.of(self.atom(key or ("loop", len(self.keys)), (0, trips)))
            variable = start.plus(trip, step)
            return variable, (stop.shifted(-1).plus(variable, -1),) if start.terms or stop.terms else ()
        lows, highs = self.range(start, {}), self.range(stop, {})
        base = (lows[0], highs[1] - 1)
        if not key and (part := self._part_of(start, stop)) is not None:
            key, base = part
        variable = self.of(self.atom(key or ("loop", len(self.keys)), base))
        ends = [variable.plus(Linear(int(n)), -1).times(sign) for n, sign in self._finite_ends(start, stop)]
        return variable, (variable.plus(start, -1), stop.shifted(-1).plus(variable, -1), *ends)

    def _part_of(self, start: Linear, stop: Linear) -> tuple[Key, Interval] | None:
        """Key and range of a variable whose value determines that of an atom x, on which the bounds depend.

        Bounds [c * x + k, c * x + k + c), or less, or [(c * x + k) // n, (c * (x + 1) + k) // n).
        """
        if len(start.terms) != 1:
            return None
        ((atom, c),) = start.terms.items()
        low, high = self.range(start, {})
        if c > 0 and self.proves(start.shifted(c).plus(stop, -1)):
            return ("within", atom, c, start.constant), (low, high + c - 1)
        op, form, n = self.divisions.get(atom, ("", ZERO, 0))
        if op != "floordiv" or c != 1 or len(form.terms) != 1:
            return None
        ((x, step),) = form.terms.items()
        following = self._divided("floordiv", form.shifted(step + start.constant * n), n)
        if step > 0 and following.key == stop.key:
            return ("within", x, step, form.key, n, start.constant), (low, self.range(stop, {})[1] - 1)
        return None

    def _finite_ends(self, start: Linear, stop: Linear) -> Iterator[tuple[float, int]]:
        """Numbers that bound a loop's variable from below (with 1) and from above (with -1)."""
        for number, sign in ((self.range(start)[0], 1), (self.range(stop)[1] - 1, -1)):
            if math.isfinite(number):
                yield number, sign

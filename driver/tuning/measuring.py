"""Programs of one network with different choices, run in turns on the same inputs."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TypeVar

import numpy as np

from ..commands.bench import random_inputs
from ..compiler.errors import InternalError
from ..compiler.graph.ir import Array
from ..compiler.lowering.choices import Choice, Kernel, NetworkChoices, Survey
from ..pipeline import PROGRAM, Compilation, build, load_program
from ..runtime.program import Program, all_outputs
from .search import ALGORITHM
from .statistics import Comparison

SECONDS, ROUNDS, MOST_ROUNDS = 6.0, 11, 600
"""Of a comparison with a look inside: as thorough as is of use; at least; and at most."""
WHOLE_SECONDS, WHOLE_ROUNDS, MOST_WHOLE_ROUNDS = 8.0, 25, 2000
"""Of one without."""
LONG = 0.03
"""Seconds of a run that finds nothing of the one before it in the caches."""
LOADINGS = 3
"""Of a program, at most ..."""
SHARED_CACHE = 100e6
"""... with weights of no more bytes than this together: beyond, caches don't matter."""
ROUNDING = 1e-3
"""Part of the largest number by which another algorithm may change the others."""


R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Built:
    """A program, loaded several times: how fast it runs depends on where its memory happens to lie, too."""

    programs: tuple[Program, ...]
    survey: Survey

    @property
    def program(self) -> Program:
        return self.programs[0]

    def close(self) -> None:
        for program in self.programs:
            program.close()


class ProgramMeasurer:
    """Compiles and runs a network."""

    def __init__(self, network: Compilation) -> None:
        """`network` was read, not more."""
        self.request = replace(network.request, source=network.graph, observers=(), weights=None)
        self.inputs = random_inputs(network.graph)
        self.parameters = network.parameters()
        self.tolerance = ROUNDING if network.request.precision == "f32" else 50 * ROUNDING
        self._is_short = True
        self._surveys: dict[object, Survey] = {}
        self._first: tuple[object, _Built] | None = None
        """The program that others were compared with last."""

    def survey(self, choices: NetworkChoices) -> Mapping[str, Kernel]:
        """As far as loops, unless a program with these choices was made."""
        key = _key(choices)
        if key not in self._surveys:
            survey = Survey(choices.by_problem)
            c = build(replace(self.request, choices=survey), "optimized")
            c.backend.lower(c.optimized, c.target, c.threads, verify=False, choices=survey)
            self._surveys[key] = survey
        return self._surveys[key].kernels

    def compare(self, first: NetworkChoices, second: NetworkChoices, share: float) -> Comparison:
        """Profiles in turns."""
        a, b = self._pair(first, second)

        def profile(program: Program, survey: Survey) -> tuple[float, Mapping[str, float]]:
            times: dict[str, float] = defaultdict(float)
            start = time.perf_counter()
            found = program.profile(*self.inputs)
            whole = time.perf_counter() - start
            for problem, spent in zip(survey.calls, found, strict=True):
                times[problem] += spent / 1e9
            return whole, times

        def least(which: _Built) -> Mapping[str, float]:
            # The first thread takes the times. If it comes late, others have done the work, and calls seem to take
            # none. So the run that was quickest by the clock counts, with all its times.
            runs = (profile(program, which.survey) for program in self._warmed(which))
            return min(runs, key=itemgetter(0))[1]

        seconds = _in_turns((a, b), least, share * SECONDS, ROUNDS, round(share * MOST_ROUNDS))
        self._end(b)
        shared = a.survey.kernels.keys() & b.survey.kernels.keys()
        kernels = {p: [(x.get(p, 0.0), y.get(p, 0.0)) for x, y in seconds] for p in sorted(shared)}
        return Comparison([(sum(x.values()), sum(y.values())) for x, y in seconds], kernels)

    def compare_whole(self, first: NetworkChoices, second: NetworkChoices, share: float) -> Comparison:
        """Plain runs in turns, which write to the same memory."""
        a, b = self._pair(first, second)
        found = self._outputs(a.program)
        writers = {id(program): program.writer(found) for built in (a, b) for program in built.programs}

        def run(program: Program) -> float:
            writer = writers[id(program)]
            start = time.perf_counter()
            writer(*self.inputs)
            return time.perf_counter() - start

        def least(built: _Built) -> float:
            return min(map(run, self._warmed(built)))

        most = round(share * MOST_WHOLE_ROUNDS)
        pairs = _in_turns((a, b), least, share * WHOLE_SECONDS, WHOLE_ROUNDS, most)
        self._end(b)
        return Comparison(pairs)

    def close(self) -> None:
        """End all programs."""
        if self._first is not None:
            self._first[1].close()
        self._first = None

    # ---- programs ----

    def _pair(self, first: NetworkChoices, second: NetworkChoices) -> tuple[_Built, _Built]:
        """Both programs, which give the same answer."""
        if self._first is None or self._first[0] != _key(first):
            self.close()
            self._first = (_key(first), self._built(first))
            start = time.perf_counter()
            self._outputs(self._first[1].program)
            self._is_short = time.perf_counter() - start < LONG
        a = self._first[1]
        b = a if _key(first) == _key(second) else self._built(second)
        if a is not b:
            is_exact = _algorithms(first) == _algorithms(second)
            for x, y in zip(self._outputs(a.program), self._outputs(b.program), strict=True):
                if not _agree(x, y, None if is_exact else self.tolerance):
                    raise InternalError(f"other schedules change what {a.program.module.name} gives")
        return a, b

    def _built(self, choices: NetworkChoices) -> _Built:
        survey = Survey(choices.by_problem)
        c = build(replace(self.request, choices=survey), PROGRAM)
        self._surveys[_key(choices)] = survey
        first = load_program(c, self.parameters)
        more = int(min(LOADINGS, 1 + SHARED_CACHE // (1 + first.packed_weights.nbytes))) - 1
        return _Built((first, *(load_program(c, self.parameters) for _ in range(more))), survey)

    def _outputs(self, program: Program) -> Sequence[Array]:
        if program.state:
            program.reset()
        return all_outputs(program(*self.inputs))

    def _end(self, built: _Built) -> None:
        if self._first is None or built is not self._first[1]:
            built.close()

    def _warmed(self, built: _Built) -> Iterator[Program]:
        """The programs one after the other; each finds its own data in the caches, if they hold them."""
        for program in built.programs:
            if self._is_short:
                program(*self.inputs)
            yield program


def _in_turns(
    both: tuple[_Built, _Built],
    run: Callable[[_Built], R],
    seconds: float,
    at_least: int,
    at_most: int,
) -> list[tuple[R, R]]:
    """Results of both, round by round; who begins changes."""
    found: list[tuple[R, R]] = []
    end = time.perf_counter() + seconds
    while len(found) < at_least or (len(found) < at_most and time.perf_counter() < end):
        results = [run(each) for each in (both if len(found) % 2 == 0 else both[::-1])]
        found.append((results[0], results[1]) if len(found) % 2 == 0 else (results[1], results[0]))
    return found


def _key(choices: NetworkChoices) -> object:
    return tuple(
        (problem, tuple((name, c.default, c.setting) for name, c in sorted(choice.decisions.items())))
        for problem, choice in sorted(choices.by_problem.items())
    )


def _algorithms(choices: NetworkChoices) -> Mapping[str, Choice]:
    return {p: choice for p, choice in choices.by_problem.items() if ALGORITHM in choice.decisions}


def _agree(a: Array, b: Array, tolerance: float | None) -> bool:
    """Whether outputs are equal to the bit; with a tolerance, floats are as near as other rounding brings them."""
    if tolerance is None:
        return a.tobytes() == b.tobytes()
    if a.dtype.kind != "f":
        return True  # choices of floats, such as classes
    finite = np.isfinite(a) & np.isfinite(b)
    largest = float(np.abs(a[finite]).max(initial=0))
    return bool(np.all(np.abs(a[finite] - b[finite]) <= tolerance * largest))

"""Many trials, each in a child process: a crash or a hang is found, and made smaller, like any other fault."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st

from .children import isolated, trace
from .source import Shrinking, Source
from .trials import Trial, WrongError, draw_trial


@dataclass
class Record:
    """What a number of trials were made of, and the faults they found."""

    trials: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    operators: Counter[str] = field(default_factory=Counter)
    attributes: defaultdict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    faults: list[str] = field(default_factory=list)

    def add(self, trial: Trial) -> None:
        """Count what a trial is made of."""
        self.trials += 1
        self.kinds[trial.kind] += 1
        for op in trial.network.graph.operations:
            self.operators[op.name] += 1
            for name, value in op.attributes.items():
                values = self.attributes[op.name, name]
                if len(values) < 50:
                    values.add(str(value)[:40])

    def merge(self, other: Record) -> None:
        """Add what another record holds."""
        self.trials += other.trials
        self.kinds += other.kinds
        self.operators += other.operators
        for key, values in other.attributes.items():
            self.attributes[key] |= values
        self.faults += other.faults


def explore(number: int, trials: int, draw: Callable[[Source], Trial] = draw_trial) -> Record:
    """Up to this many trials that follow from a seed, until one finds a fault, which is made as small as it gets."""
    record = Record()
    last: list[str] = []

    @seed(number)
    @settings(
        max_examples=trials,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
    )
    @given(st.data())
    def once(data: st.DataObject) -> None:
        trial = draw(Shrinking(data))
        if not last:
            record.add(trial)
        problem = isolated(trial.check)
        if problem:
            last[:] = [f"{problem.strip()}\n{trial}"]
            raise WrongError(problem.splitlines()[0])

    try:
        once()
    except WrongError:
        record.faults.append(f"seed {number}: {last[0]}")
    except Exception:
        record.faults.append(f"seed {number}: drawing fails\n{trace()}")
    return record

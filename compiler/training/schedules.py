"""Learning-rate schedules: factors of the base rate, computed inside the graph from the number of updates done.

Schedules are written in epochs and evaluated for every update, so that the rate changes smoothly within an epoch. All
of them can warm up: over the first `warmup` epochs the factor is also multiplied by (updates + 1) / warm-up updates
(Goyal et al., "Accurate, large minibatch SGD", 2017). Arithmetic is in f64.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from ..types import DType
from .formula import Formula
from .setting import Setting, parse_setting


@dataclass(frozen=True, kw_only=True)
class Schedule(Setting):
    """Base of the schedules."""

    kind: ClassVar[str] = "schedule"
    warmup: float = 0.0
    """Epochs over which the rate rises from almost nothing."""

    def __post_init__(self) -> None:
        self.require(self.warmup >= 0, "warmup must not be negative")

    @property
    def counts_epochs(self) -> bool:
        """Whether the rate depends on the epoch."""
        return True

    def factor(self, updates: Formula, updates_per_epoch: float) -> Formula:
        """The factor of the base rate for the update after `updates` others (a scalar f64); gives a scalar f64."""
        curve = self.curve(updates * (1 / updates_per_epoch))
        if not self.warmup:
            return curve
        return ((updates + 1) * (1 / (self.warmup * updates_per_epoch))).minimum(1) * curve

    @abstractmethod
    def curve(self, epoch: Formula) -> Formula:
        """The factor without warm-up; `epoch` counts from 0 and has a fraction."""

    def _progress(self, epoch: Formula, epochs: float) -> Formula:
        """How much of the time between warm-up and the end has passed, from 0 to 1."""
        return ((epoch - self.warmup) * (1 / (epochs - self.warmup))).maximum(0).minimum(1)


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The same rate throughout."""

    name: ClassVar[str] = "constant"

    @property
    def counts_epochs(self) -> bool:
        """See `Schedule`."""
        return self.warmup > 0

    def curve(self, epoch: Formula) -> Formula:
        """See `Schedule`."""
        return epoch.number(1)


@dataclass(frozen=True, kw_only=True)
class StepDecay(Schedule):
    """The rate times `gamma` after each `every` epochs, or at the epochs listed as `at`."""

    name: ClassVar[str] = "step"
    every: float = 0.0
    at: tuple[float, ...] = ()
    gamma: float = 0.1

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        self.require((self.every > 0) != bool(self.at), "give either `every` or `at`, in epochs above 0")
        self.require(self.gamma > 0, "gamma must be positive")

    def curve(self, epoch: Formula) -> Formula:
        """See `Schedule`."""
        if self.every:
            steps = ((epoch + _HAIR) * (1 / self.every)).cast(DType.I64).cast(DType.F64)
            return (steps * math.log(self.gamma)).exp()
        factor = epoch.number(1)
        for start in self.at:
            factor = (epoch + _HAIR).greater(start).where(factor * self.gamma, factor)
        return factor


_HAIR = 1e-9
"""Epochs are quotients: adding this makes rounding fall on the right side of whole numbers."""


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Half a wave of the cosine, from 1 to `final` at the end of `epochs`, after the warm-up.

    Source: Loshchilov and Hutter, "SGDR", 2017 (without restarts).
    """

    name: ClassVar[str] = "cosine"
    epochs: float
    final: float = 0.0

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        self.require(self.epochs > self.warmup, "epochs must be more than warmup")

    def curve(self, epoch: Formula) -> Formula:
        """See `Schedule`."""
        wave = (self._progress(epoch, self.epochs) * math.pi).apply("cos")
        return (wave + 1) * (0.5 * (1 - self.final)) + self.final


@dataclass(frozen=True, kw_only=True)
class Polynomial(Schedule):
    """(1 - progress) to the power of `power`, from 1 to `final` at the end of `epochs`, after the warm-up."""

    name: ClassVar[str] = "polynomial"
    epochs: float
    power: float = 1.0
    final: float = 0.0

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        self.require(self.epochs > self.warmup, "epochs must be more than warmup")
        self.require(self.power > 0, "power must be positive")

    def curve(self, epoch: Formula) -> Formula:
        """See `Schedule`."""
        left = 1 - self._progress(epoch, self.epochs)
        falling = left if self.power == 1 else (left.apply("log") * self.power).exp()
        return falling * (1 - self.final) + self.final


@dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """`gamma` to the power of the epoch, its fraction included."""

    name: ClassVar[str] = "exponential"
    gamma: float

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        self.require(self.gamma > 0, "gamma must be positive")

    def curve(self, epoch: Formula) -> Formula:
        """See `Schedule`."""
        return (epoch * math.log(self.gamma)).exp()


SCHEDULES: Mapping[str, type[Schedule]] = MappingProxyType(
    {s.name: s for s in (Constant, StepDecay, Cosine, Polynomial, Exponential)}
)
"""All schedules by name."""


def parse_schedule(text: str) -> Schedule:
    """Read a schedule such as `cosine(epochs=12, warmup=1)`; raises `NetcError`."""
    return parse_setting(text, Schedule.kind, SCHEDULES)

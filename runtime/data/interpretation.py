"""What an array of samples means to a net: layout, element type and range are judged here, and only here.

`interpret` says whether numbers are pixels, which the net's `preprocess` is for, or values that go in as they are, and
how they lie. What it had to guess stands in the notes of the result; what can't be right raises `NetcError`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compiler.errors import NetcError
from ...compiler.preprocess import declaration
from ...compiler.signature import Network
from .images import Preprocess, eight_bits
from .layout import sample_shape

Array = NDArray[Any]
Shape = tuple[int, ...]

_ROWS = 1 << 20
"""Elements that are looked at together: copies of a large array would take as much memory again."""
_WHOLE = 1e-3
"""How far 255 times a number may lie from a whole one, if it is a pixel that was divided by 255."""
_ROUNDING = 1e-3
_ARITHMETIC = ("white", "divide", "mean", "std")


@dataclass(frozen=True, slots=True)
class Facts:
    """What an array of samples [n, ...] holds; `whole`: all are whole numbers, `levels`: 255 times each is."""

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    low: float
    high: float
    whole: bool
    levels: bool

    @staticmethod
    def of(name: str, values: Array) -> Facts:
        """Look at all numbers of an array; raises `NetcError` unless they are numbers, and finite."""
        if values.dtype.kind not in "fiu":
            raise NetcError(f"{name} must hold numbers, not {values.dtype}{list(values.shape)}")
        if values.dtype == np.uint8 or values.size == 0:
            return Facts(name, values.dtype, values.shape, 0, 255, True, False)
        low, high = (float(f(values)) for f in (np.min, np.max))
        if not math.isfinite(high - low):
            raise NetcError(f"{name} holds infinities or NaNs")
        whole = values.dtype.kind in "iu" or all(np.array_equal(part, np.rint(part)) for part in _parts(values))
        levels = low >= 0 and high <= 1 + _ROUNDING and all(_are_levels(part) for part in _parts(values))
        return Facts(name, values.dtype, values.shape, low, high, whole, levels)

    def __str__(self) -> str:
        numbers = "" if self.dtype == np.uint8 else f" from {self.low:g} to {self.high:g}"
        return f"{self.name} is {self.dtype}{numbers}"


def _parts(values: Array) -> Iterator[Array]:
    rows = max(1, _ROWS * len(values) // values.size)
    return (values[i : i + rows] for i in range(0, len(values), rows))


def _are_levels(part: Array) -> bool:
    scaled = part.astype(np.float32)
    scaled *= 255
    distance = np.rint(scaled)
    distance -= scaled
    return bool(max(-distance.min(), distance.max()) < _WHOLE)


@dataclass(frozen=True, slots=True)
class Interpretation:
    """How an array becomes samples of a net."""

    shape: Shape
    """Of one sample, before cropping and resizing."""
    preprocess: Preprocess | None = None
    """What pixels go through; None for values that go in as they are."""
    scale: float = 1.0
    """What makes pixels from 0 to 255 of the numbers."""
    exact: bool = True
    """Whether the pixels are whole: these are pictures, which can be resized and augmented."""
    notes: tuple[str, ...] = ()
    """What isn't plain, for people."""
    turned: bool = False
    """Whether the array has channels first, as its net does."""

    @property
    def resizable(self) -> bool:
        """Whether samples are pictures, which can be brought to any size."""
        return self.preprocess is not None and self.exact and len(self.shape) == 3

    def __call__(self, values: Array) -> Array:
        """Samples [n, *shape]: pixels as uint8, those with fractions as float32, or the values themselves."""
        if self.turned:
            values = np.moveaxis(values, 1, -1)
        samples = values.reshape(len(values), *self.shape)
        if self.preprocess is None or samples.dtype == np.uint8:
            return samples
        if not self.exact:
            return samples.astype(np.float32) * np.float32(self.scale)
        parts = [eight_bits(part, 255 / self.scale) for part in _parts(samples)]
        return np.concatenate(parts)


def interpret(graph: Network, facts: Facts) -> Interpretation:
    """What an array means to the only input of `graph`; raises `NetcError` if it can't be samples of it.

    Samples of pictures have channels last, even if the net takes them first; such a net's own order is turned.
    """
    wanted, own = sample_shape(graph), graph.inputs[0].type.shape[1:]
    if wanted != own and facts.shape[1:] == own:
        turned = replace(facts, shape=(facts.shape[0], *wanted))
        return replace(_interpretation(graph, turned, wanted), turned=True)
    return _interpretation(graph, facts, wanted)


def _interpretation(graph: Network, facts: Facts, wanted: Shape) -> Interpretation:
    are_pictures = len(wanted) == 3 and wanted[2] in (1, 3)
    meaning = _Meaning.of(graph, facts, are_pictures)
    if meaning.scale is None or not are_pictures:
        return _values(graph, facts, wanted, meaning)
    shape = _picture_shape(facts.shape[1:], wanted)
    if shape is None:
        raise _misfit(graph, facts, wanted)
    preprocess = Preprocess.of(graph)
    cut = "" if meaning.exact or shape == wanted else "their pixels aren't whole numbers, so they can't be resized"
    if cut:
        raise NetcError(f"{facts}, {_text(shape)}; net {graph.name} takes {_text(wanted)}: {cut}")
    return Interpretation(
        shape, preprocess, meaning.scale, meaning.exact, (*meaning.notes, *_layout_notes(facts, shape))
    )


def _values(graph: Network, facts: Facts, wanted: Shape, meaning: _Meaning) -> Interpretation:
    """Numbers for which the net's own shape is the only one: values, and pixels for what takes no pictures."""
    if not _same_layout(facts.shape[1:], wanted):
        raise _misfit(graph, facts, wanted)
    notes = (*meaning.notes, *_layout_notes(facts, wanted))
    if meaning.scale is None:
        return Interpretation(wanted, notes=notes)
    preprocess = Preprocess.for_shape(graph, (1, math.prod(wanted[:-1]), wanted[-1]))
    return Interpretation(wanted, preprocess, meaning.scale, meaning.exact, notes)


# ---- range ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Meaning:
    """Whether numbers are pixels: then `scale` times each is one from 0 to 255."""

    scale: float | None = None
    exact: bool = True
    notes: tuple[str, ...] = ()

    @staticmethod
    def of(graph: Network, facts: Facts, are_pictures: bool) -> _Meaning:
        declared = any(key in declaration(graph) for key in _ARITHMETIC)
        if facts.dtype == np.uint8:
            notes = () if are_pictures else (f"{facts}: preprocess is applied",)
            return _Meaning(1.0, notes=notes) if declared or are_pictures else _Meaning()
        if not declared:
            return _undeclared(facts, are_pictures)
        white = declaration(graph).get("white")
        if white is not None and facts.low >= 0:
            over = ", what is above it is clipped" if facts.high > white else ""
            note = f"{facts}: preprocess is applied with white at {white:g}{over}"
            return _Meaning(255 / white, facts.whole or (facts.levels and white == 1), (note,))
        return _declared(graph, facts)


def _undeclared(facts: Facts, are_pictures: bool) -> _Meaning:
    """A net that says nothing: uint8 pictures are divided by 255, integers likewise, floats never."""
    if not are_pictures or not facts.whole or facts.low < 0 or facts.high > 255:
        return _Meaning()
    if facts.dtype.kind in "iu":
        return _Meaning(1.0, notes=(f"{facts}: taken for pixels, which are divided by 255",))
    note = f"{facts}: taken as it is; `preprocess` of the net would say how to scale pixels"
    return _Meaning(notes=(note,) if facts.high > 1 else ())


def _declared(graph: Network, facts: Facts) -> _Meaning:
    if facts.whole and facts.low >= 0 and facts.high <= 255 and (facts.high > 1 or facts.dtype.kind in "iu"):
        return _Meaning(1.0, notes=(f"{facts}: preprocess is applied",))
    low, high = _normalized(graph)
    if facts.low >= 0 and facts.high <= 1 + _ROUNDING:
        note = f"{facts}: taken for pixels / 255, preprocess is applied"
        if (low, high) != (0, 1) or (facts.levels and "crop" in declaration(graph)):
            return _Meaning(255.0, facts.levels, (note,))
        return _Meaning(255.0) if facts.levels else _Meaning()  # preprocess makes the same numbers of such pixels
    inside = low - _ROUNDING <= facts.low and facts.high <= high + _ROUNDING
    if inside and not facts.whole:
        return _Meaning(notes=(f"{facts}: taken as it is, normalised already; preprocess is not applied",))
    if facts.low >= 0 and facts.high <= 255:
        return _Meaning(1.0, False, (f"{facts}: taken for pixels with fractions, preprocess is applied",))
    cure = f"; `white = {facts.high:g}` in preprocess would scale it" if facts.low >= 0 else ""
    return _Meaning(notes=(f"{facts}: these are no pixels from 0 to 255, so preprocess is not applied{cure}",))


def _normalized(graph: Network) -> tuple[float, float]:
    """The smallest and the largest number that preprocess makes of pixels from 0 to 255."""
    *_, channels = sample_shape(graph)
    preprocess = Preprocess.for_shape(graph, (1, 1, channels))
    mean, std = (np.array(v) for v in (preprocess.mean, preprocess.std))
    ends = [(pixel / preprocess.divide - mean) / std for pixel in (0, 255)]
    return float(np.min(ends)), float(np.max(ends))


# ---- layout ---------------------------------------------------------------------------------------------------------


def _picture_shape(given: Shape, wanted: Shape) -> Shape | None:
    """One picture [height, width, channels] of what an array holds; None if it can't be one."""
    if _same_layout(given, wanted):
        return given if len(given) == 3 and given[2] in (1, 3) else wanted
    if 0 in given:
        return None
    if len(given) == 3 and given[2] in (1, 3):
        return given
    return (*given, 1) if len(given) == 2 else None


def _same_layout(given: Shape, wanted: Shape) -> bool:
    """Whether elements lie in the same order, dimensions of 1 aside; a single dimension lies in any order."""
    if math.prod(given) != math.prod(wanted):
        return False
    one, other = ([d for d in shape if d != 1] for shape in (given, wanted))
    return one == other or len(given) == 1 or len(wanted) == 1


def _layout_notes(facts: Facts, shape: Shape) -> tuple[str, ...]:
    """Rows of several channels could be in another order."""
    if len(facts.shape) == 2 and sum(d > 1 for d in shape) > 1 and shape[-1] > 1:
        return (f"{facts.name} is {_text(facts.shape[1:])}: taken row by row as {_text(shape)}, channels last",)
    return ()


def _misfit(graph: Network, facts: Facts, wanted: Shape) -> NetcError:
    given = facts.shape[1:]
    message = f"samples of {facts.name} have shape {_text(given)}, net {graph.name} takes {_text(wanted)}"
    return NetcError(message, hint=_cure(facts.name.split(" ")[0], given, wanted))


def _cure(name: str, given: Shape, wanted: Shape) -> str | None:
    ranks = len(given) == len(wanted)
    axes = ", ".join(map(str, (0, *range(2, len(given) + 1), 1)))
    if ranks and (given[1:] + given[:1] == wanted or (len(wanted) == 3 and given[0] in (1, 3))):
        return f"channels come last: {name}.transpose({axes})"
    if ranks and wanted[1:] + wanted[:1] == given:
        axes = ", ".join(map(str, (0, len(given), *range(1, len(given)))))
        return f"this net takes channels first: {name}.transpose({axes})"
    if len(given) == 3 and given[2] == 4 and len(wanted) == 3:
        return f"leave the fourth channel out: {name}[..., :3]"
    if len(given) != 3 or len(wanted) != 3:
        return None
    if given[2] in (1, 3):
        return "only pictures, with pixels that are whole numbers from 0 to 255, are brought to size"
    return "pictures have 1 or 3 channels, the last dimension"


def _text(shape: Shape) -> str:
    return f"[{','.join(map(str, shape))}]"

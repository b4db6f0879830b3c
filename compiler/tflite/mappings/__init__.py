"""The TFLite form of each operator that has one: functions that write an operation into an `Emitter`, by its name."""

from __future__ import annotations

from collections.abc import Mapping

from ..emitter import Mapping_
from . import arithmetic, contractions, narrow, others, reductions, shapes

_ALL: Mapping[str, Mapping_] = {
    **arithmetic.MAPPINGS,
    **contractions.MAPPINGS,
    **others.MAPPINGS,
    **reductions.MAPPINGS,
    **shapes.MAPPINGS,
}
MAPPINGS: Mapping[str, Mapping_] = {name: narrow.checked(name, emit) for name, emit in _ALL.items()}

__all__ = ["MAPPINGS"]

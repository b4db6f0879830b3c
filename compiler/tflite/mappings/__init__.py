"""The TFLite form of each operator that has one: functions that write an operation into an `Emitter`."""

from . import arithmetic, contractions, control, moves, no_form, others, reductions, shapes

__all__ = ["arithmetic", "contractions", "control", "moves", "no_form", "others", "reductions", "shapes"]

"""The TFLite form of each operator that has one: functions that write an operation into an `Emitter`."""

from . import arithmetic, contractions, control, fourier, moves, no_form, others, recurrent, reductions, shapes

__all__ = [
    "arithmetic",
    "contractions",
    "control",
    "fourier",
    "moves",
    "no_form",
    "others",
    "recurrent",
    "reductions",
    "shapes",
]

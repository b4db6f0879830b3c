"""Prediction of what the Edge TPU compiler does with a model, before there is one.

`predict(model_facts(graph))` for a netc graph, `predict(read_tflite(data))` for a TFLite file: a `Report` of where each
operator runs and why, what its parameters take, and how long an inference lasts. Rules and evidence: docs/edgetpu.md.
"""

from __future__ import annotations

from .facts import ModelFacts, OperatorFacts, TensorFacts
from .from_graph import model_facts
from .from_tflite import read_tflite
from .log import CompilerLog, differences
from .page import to_html
from .release import LATEST, Release
from .report import Report, Row, predict
from .status import Objection, Status
from .text import to_data, to_text

__all__ = [
    "LATEST",
    "CompilerLog",
    "ModelFacts",
    "Objection",
    "OperatorFacts",
    "Release",
    "Report",
    "Row",
    "Status",
    "TensorFacts",
    "differences",
    "model_facts",
    "predict",
    "read_tflite",
    "to_data",
    "to_html",
    "to_text",
]

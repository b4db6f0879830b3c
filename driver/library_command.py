"""The command that builds a library again, as far as a command can: it stands in the library's README.md."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import fields

from .compiler.backends import find_target
from .compiler.graph.ir import Graph
from .compiler.library.header import Build
from .compiler.library.interface import Storage
from .compiler.targets.target import Environment, Target
from .pipeline import Request
from .training import TrainingRequest


def usual_storage(target: Target) -> Storage:
    """Where weights are unless a choice says otherwise."""
    return Storage.EMBEDDED if target.environment is Environment.BARE else Storage.FILE


def command_of(build_: Build, request: Request, target: str) -> str:
    """The command that builds the same, as far as a command can."""
    i = build_.interface
    words = ["netc", "build", i.name if isinstance(request.source, Graph) else os.fspath(request.source)]
    words += ["--target", target, "--prefix", i.prefix]
    words += ["--net", request.net] if request.net else []
    words += ["--batch", str(request.batch)] if request.batch != 1 else []
    for option, settings in (("--set", request.settings), ("--preprocess", request.preprocess)):
        for name, value in settings.items():
            words += [option, f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    if isinstance(request.weights, str | os.PathLike):
        words += ["--weights", os.fspath(request.weights)]
    words += ["--seed", str(request.seed)] if request.seed else []
    words += _training_words(request) if isinstance(request, TrainingRequest) else []
    words += ["--threads", str(i.threads)] if i.threads > 1 else []
    words += ["--inputs-in-workspace"] if request.inputs_in_arena else []
    in_file = usual_storage(find_target(target)) is Storage.FILE
    words += {
        Storage.EMBEDDED: ["--embed-weights"],
        Storage.SECTION: ["--weights-section", i.section or ""],
        Storage.FILE: [] if in_file else ["--no-embed-weights"],
    }[i.storage]
    words += [] if build_.extras.answers else ["--no-selftest"]
    return shlex.join([*words, "-o", "DIR"])


def _training_words(request: TrainingRequest) -> list[str]:
    """The options of a training step that aren't the usual ones."""
    words = ["--train"]
    names = ("loss", "optimizer", "schedule", "steps_per_epoch", "label_smoothing", "weight_decay", "clip_norm")
    for field in fields(TrainingRequest):
        value = getattr(request, field.name)
        if field.name in (*names, "accumulate", "ema") and value is not None and value != field.default:
            words += [f"--{field.name.replace('_', '-')}", str(value)]
        elif field.name in ("freeze", "skip"):
            patterns = [value] if isinstance(value, str) else value
            words += [word for pattern in patterns for word in (f"--{field.name}", pattern)]
        elif field.name == "rates":
            words += [word for pattern, rate in value.items() for word in ("--lr", f"{pattern}={rate!r}")]
    return words

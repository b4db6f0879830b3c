"""What a browser or Node needs beside the code of a network: an ES module with types, and a page to try it.

The page is opened from disk, where browsers load neither modules nor other files than scripts: so code and weights are
text in a script beside it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from ...page import escape
from ...text import printable
from ...types import TensorType
from ..interface import MEANINGS, WORKER_BYTES, Interface, Storage, Tensor
from ..wasm import STACK_BYTES, link

_ARRAYS = {
    "f64": "Float64Array",
    "f32": "Float32Array",
    "f16": "Uint16Array",
    "i64": "BigInt64Array",
    "i32": "Int32Array",
    "i16": "Int16Array",
    "i8": "Int8Array",
    "u8": "Uint8Array",
    "bool": "Uint8Array",
}
_DRAWABLE = 64
"""Grey pictures up to this height and width can be drawn by hand."""


@dataclass(frozen=True, slots=True)
class Picture:
    """How the network's only input is made of a picture (`runtime.data.images.Preprocess`)."""

    height: int
    width: int
    channels: int
    crop: float | None
    resize: str
    divide: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels_first: bool = False


@dataclass(frozen=True, slots=True)
class Meaning:
    """What inputs and outputs are, as far as it is known."""

    picture: Picture | None = None
    labels: Sequence[str] = ()
    """The names of classes, by index."""
    probable: bool = False
    """The first output has probabilities, not logits."""
    has_selftest: bool = False


def web_files(interface: Interface, code: bytes, weights: bytes | None, meaning: Meaning) -> dict[str, bytes]:
    """All files by name, for an object of LLVM's and the file of its weights, if they aren't inside the object."""
    prefix = interface.prefix
    linked = link(code, _functions(interface, meaning))
    module = linked.code
    facts = _facts(interface, meaning, linked.heap)
    core = f"const facts = {_json(facts)};\n\n" + _text("core.js") + (_text("picture.js") if meaning.picture else "")
    load = "loadThreads as load" if interface.web_workers else "load"
    picture = ["preprocess"] if meaning.picture else []
    names = [load, "create", "inputs", "outputs", "labels", "classify", *picture]
    head = f"// {printable(interface.name)}: made by netc; docs/libraries.md describes it.\n\n"
    types = head + _types(interface, meaning)
    data = {"code": module, **({"weights": weights} if weights is not None else {})}
    texts = {
        f"{prefix}.mjs": head + core + _module(interface) + f"\nexport {{ {', '.join(names)} }};\n",
        f"{prefix}.d.mts": types,
        f"{prefix}.d.ts": f'{head}export * from "./{prefix}.mjs";\n',
        f"{prefix}.data.js": "const data = {\n"
        + "".join(f'  {key}: "{base64.b64encode(value).decode()}",\n' for key, value in data.items())
        + "};\n",
        "index.html": _page(interface, facts, core, data, meaning),
    }
    if interface.web_workers:
        texts[f"{prefix}.worker.mjs"] = _text("worker.js")
    files_ = {f"{prefix}.wasm": module, **{name: text.encode() for name, text in texts.items()}}
    if interface.web_workers:
        threaded = ("context_start", "context_run", "context_stop", "worker")
        names = [*_functions(interface, meaning), *(f"{prefix}_{name}" for name in threaded)]
        files_[f"{prefix}.threads.wasm"] = link(code, names, shared=True).code
    return files_


def _module(interface: Interface) -> str:
    return _text("module.js") + (_text("threads.js") if interface.web_workers else "")


def _functions(interface: Interface, meaning: Meaning) -> list[str]:
    names = {
        "run": True,
        "bind": interface.storage is Storage.FILE,
        "reset": interface.state_bytes > 0,
        "selftest": meaning.has_selftest,
    }
    return [f"{interface.prefix}_{name}" for name, there in names.items() if there]


def _facts(interface: Interface, meaning: Meaning, heap: int) -> dict[str, Any]:
    """What the scripts know of the network."""
    prefix, first = interface.prefix, interface.outputs[0].type
    is_row = first.rank >= 1 and first.size == first.shape[-1] and first.size > 1
    return {
        "name": interface.name,
        "prefix": prefix,
        "files": {"code": f"{prefix}.wasm"}
        | ({"weights": f"{prefix}.weights"} if interface.storage is Storage.FILE else {}),
        "heap": heap,
        "workspaceBytes": interface.workspace_bytes,
        "hasState": interface.state_bytes > 0,
        "hasSelftest": meaning.has_selftest,
        "meanings": {int(status): words for status, words in MEANINGS.items()},
        "inputs": [_tensor(t) for t in interface.inputs],
        "outputs": [_tensor(t) for t in interface.outputs],
        "classes": is_row and (len(meaning.labels) == first.size or meaning.picture is not None),
        "probable": meaning.probable,
        "labels": list(meaning.labels),
        "picture": _picture(meaning.picture),
        **({"threads": _threads(interface)} if interface.web_workers else {}),
    }


def _threads(interface: Interface) -> dict[str, Any]:
    """What starts workers."""
    return {
        "most": interface.threads,
        "code": f"{interface.prefix}.threads.wasm",
        "worker": f"{interface.prefix}.worker.mjs",
        "contextBytes": interface.context_bytes,
        "offset": interface.workers_offset,
        "bytes": WORKER_BYTES,
        "stackBytes": STACK_BYTES,
    }


def _tensor(tensor: Tensor) -> dict[str, Any]:
    fact: dict[str, Any] = {
        "name": tensor.identifier,
        "shape": list(tensor.type.shape),
        "dtype": str(tensor.type.dtype),
    }
    given = tensor.type.quantization
    if given is not None and given.axis is None:
        fact |= {"scale": given.scale, "zeroPoint": given.zero_point}
    return fact


def _picture(picture: Picture | None) -> Mapping[str, Any] | None:
    if picture is None:
        return None
    names = {name: getattr(picture, name) for name in Picture.__dataclass_fields__}
    return {**names, "channelsFirst": names.pop("channels_first")}


def _json(facts: Any) -> str:
    """Facts in a script: no text of theirs ends it."""
    return json.dumps(facts, indent=2).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _text(name: str) -> str:
    return files("netc.compiler.library.web").joinpath(name).read_text(encoding="utf-8")


# ---- types ----------------------------------------------------------------------------------------------------------


def _types(interface: Interface, meaning: Meaning) -> str:
    text = _text("types.ts")
    for side in ("inputs", "outputs"):
        lines = [_member(t) for t in getattr(interface, side)]
        text = text.replace("{{" + side + "}}", "\n".join(lines))
    return text + (_text("picture.ts") if meaning.picture else "")


def _member(tensor: Tensor) -> str:
    array = _ARRAYS[str(tensor.type.dtype)]
    return f"  /** {_shape(tensor.type)} */\n  {tensor.identifier}: {array};"


def _shape(type_: TensorType) -> str:
    given = type_.quantization
    scaled = f", a number is (element - {given.zero_point}) * {given.scale!r}" if given and given.axis is None else ""
    return f"{type_.dtype}[{', '.join(map(str, type_.shape))}], row by row{scaled}"


# ---- the page -------------------------------------------------------------------------------------------------------


def _page(
    interface: Interface, facts: Mapping[str, Any], core: str, data: Mapping[str, bytes], meaning: Meaning
) -> str:
    common = files("netc.compiler").joinpath("page.css").read_text(encoding="utf-8")
    words = {
        "title": escape(interface.name),
        "style": common + _text("page.css"),
        "sizes": ", ".join(f"{_size(len(part))} of {what}" for what, part in data.items()),
        "work": _work(facts, meaning),
        "data": escape(f"{interface.prefix}.data.js"),
        "script": core + _text("page.js"),
    }
    text = _text("page.html")
    for word, value in words.items():
        text = text.replace("{{" + word + "}}", value)
    return text


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _work(facts: Mapping[str, Any], meaning: Meaning) -> str:
    picture = meaning.picture
    if picture is None:
        return '<div><button id="run" type="button">Run on random numbers</button></div>'
    choose = '<label class="file">Open a picture<input id="file" type="file" accept="image/*"></label>'
    view = '<canvas id="picture" hidden></canvas>'
    if picture.channels > 1 or max(picture.height, picture.width) > _DRAWABLE:
        return f"<div>{choose}{view}</div>"
    draw = '<canvas id="drawing" width="280" height="280" aria-label="Draw here"></canvas>'
    return f'<div>{draw}<button id="clear" type="button">Clear</button>{choose}{view}</div>'

"""Everything of netc that reads what users wrote: for each reader a sound input, and a call that reads another one.

`benchmarks/fuzz.py` and `tests/test_broken_input.py` feed them with broken inputs. A reader may take anything or raise
`NetcError`; every other exception would end a command with exit code 1.
"""

from __future__ import annotations

import gzip
import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from netc.commands.check import check_command
from netc.commands.opt import opt_command
from netc.compiler.modules.reader import parse_module
from netc.compiler.passes import run
from netc.compiler.quantization import Ranges
from netc.compiler.tflite import to_tflite
from netc.compiler.training import parse_loss, parse_optimizer, parse_schedule
from netc.frontend import check, load_network, load_text
from netc.frontend.tflite import load_tflite
from netc.loading import load
from netc.options import settings_option
from netc.pipeline import Request, build
from netc.runtime.data.calibration import taken
from netc.runtime.data.images import decode
from netc.runtime.data.labels import read_labels
from netc.runtime.data.registry import open_samples, open_source
from netc.runtime.training.augment import parse_augmentation
from netc.runtime.training.checkpoint import read_checkpoint
from netc.runtime.training.run import read_description, read_records
from netc.runtime.weights import initial_weights, read_metadata, read_weights, write_weights

NET = """\
block unit(x, filters, act: block = relu) { return x |> conv@conv(filters, 3) |> batch_norm@bn |> act }
net tiny(image: f32[N, 8, 8, 1], widths = [2, 3], classes = 4) {
  for (i, w) in enumerate(widths) { image = unit@"unit{i}"(image, w) }
  return image |> max_pool(2) |> flatten |> dense@fc(classes)
}
preprocess tiny { divide = 255, labels = ["a", "b", "c", "d"] }
train tiny { data = mnist; optimizer = sgd(lr = 0.1); schedule = cosine(epochs = 2, warmup = 1) }
"""


@dataclass(frozen=True)
class FileReader:
    """Reads a file of the given name in a folder of its own."""

    name: str
    sound: Callable[[], bytes]
    read: Callable[[Path], object]
    beside: Mapping[str, Callable[[], bytes]] | None = None
    """Other files that must lie in the folder."""


@dataclass(frozen=True)
class TextReader:
    """Reads a text of one of netc's small languages."""

    sound: tuple[str, ...]
    read: Callable[[str], object]


@cache
def _tiny() -> Any:
    return load_text(NET, "tiny.net", net="tiny")


@cache
def _labelled() -> Any:
    return load_text(NET.replace('["a", "b", "c", "d"]', '"names.txt"'), net="tiny")


def _opt(path: Path) -> object:
    return opt_command.main(["dce", str(path), "-o", "/dev/null"], standalone_mode=False)


def _edgetpu(path: Path) -> object:
    return check_command.main([str(path), "--target", "edgetpu", "--report", "/dev/null.json"], standalone_mode=False)


def _arrays(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _npz() -> bytes:
    pictures = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), np.uint8)
    labels = np.arange(6) % 2
    return _arrays(x_train=pictures, y_train=labels, x_test=pictures[:2], y_test=labels[:2])


def picture(kind: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (17, 11)) -> bytes:
    """A small picture as a file of some kind."""
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, kind)
    return stream.getvalue()


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(3):
            archive.writestr(f"{i}.png", picture())
    return stream.getvalue()


def _idx(*sizes: int) -> bytes:
    values = np.random.default_rng(2).integers(0, 10, sizes, np.uint8)
    header = b"".join(n.to_bytes(4, "big") for n in (0x800 + len(sizes), *sizes))
    return gzip.compress(header + values.tobytes())


def _cifar() -> bytes:
    records = np.random.default_rng(3).integers(0, 10, (3, 3073), np.uint8)
    return records.tobytes()


def _weights() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.safetensors"
        write_weights(path, _tiny(), initial_weights(_tiny()), {"progress": "{}", "sha256": ""})
        return path.read_bytes()


def _run() -> bytes:
    return json.dumps({"format": 1, "recipe": {"data": "mnist", "epochs": 2, "model": "tiny"}}).encode()


def _tflite() -> bytes:
    graph = _tiny()
    return to_tflite(graph, initial_weights(graph))


FILES: Mapping[str, FileReader] = {
    "network": FileReader("tiny.net", NET.encode, lambda p: (check(p), load_network(p))),
    "imported network": FileReader(
        "part.net",
        NET.encode,
        lambda p: load_network(p.with_name("whole.net")),
        {"whole.net": b'import "part.net"\nnet whole = tiny(classes = 3)\n'.__bytes__},
    ),
    "graph": FileReader("tiny.ir", lambda: str(_tiny()).encode(), _opt),
    "graph as a network": FileReader("tiny.ir", lambda: str(_tiny()).encode(), load),
    "network of any format": FileReader("tiny", _tflite, load),
    "TFLite file": FileReader("tiny.tflite", _tflite, load_tflite),
    "TFLite file for the Edge TPU": FileReader("tiny.tflite", _tflite, _edgetpu),
    "weights": FileReader("w.safetensors", _weights, lambda p: dict(read_weights(p, _tiny()))),
    "metadata": FileReader("w.safetensors", _weights, read_metadata),
    "checkpoint": FileReader("w.safetensors", _weights, read_checkpoint),
    "arrays": FileReader("d.npz", _npz, lambda p: open_source(str(p))),
    "archive of pictures": FileReader("d.zip", _zip, lambda p: list(taken(open_samples(p), 3))),
    "pictures of mnist": FileReader(
        "t10k-images-idx3-ubyte.gz",
        lambda: _idx(5, 28, 28),
        lambda p: list(open_source("mnist", "test", p.parent)),
        {"t10k-labels-idx1-ubyte.gz": lambda: _idx(5)},
    ),
    "labels of mnist": FileReader(
        "t10k-labels-idx1-ubyte.gz",
        lambda: _idx(5),
        lambda p: list(open_source("mnist", "test", p.parent)),
        {"t10k-images-idx3-ubyte.gz": lambda: _idx(5, 28, 28)},
    ),
    "cifar10": FileReader(
        "cifar10/test_batch.bin", _cifar, lambda p: list(open_source("cifar10", "test", p.parents[1]))
    ),
    "table of labels": FileReader(
        "imagenet_samples/labels.csv",
        lambda: b"file,wnid,class,name\n0.png,n1,3,owl\n",
        lambda p: list(open_source("imagenet-samples", "test", p.parents[1])),
        {"imagenet_samples/images.zip": _zip},
    ),
    "PNG": FileReader("p.png", picture, decode),
    "JPEG": FileReader("p.jpg", lambda: picture("JPEG"), decode),
    "description of a run": FileReader("run.json", _run, lambda p: read_description(p.parent)),
    "metrics": FileReader(
        "metrics.jsonl", lambda: b'{"kind": "step", "loss": 1.5}\n' * 3, lambda p: list(read_records(p.parent))
    ),
    "ranges": FileReader("r.json", lambda: Ranges({}, "mse", 3).to_json().encode(), Ranges.read),
    "labels": FileReader(
        "names.txt",
        lambda: b"a\nb\nc\nd\n",
        lambda p: read_labels(_labelled(), [p.parent]),
    ),
}


def _settings(text: str) -> object:
    option: Any = settings_option(lambda: None)
    (parameter,) = option.__click_params__
    given = parameter.callback(click.Context(click.Command("show")), parameter, [text])
    sizes = {name: value for name, value in given.items() if name[:1].isupper()}
    hyperparameters = {name: value for name, value in given.items() if name not in sizes}
    return load_text(NET, net="tiny", sizes=sizes, hyperparameters=hyperparameters)


@cache
def _module() -> str:
    return str(build(Request(_tiny(), cpu="x86-64-v3", threads=2), until="loops").module)


TEXTS: Mapping[str, TextReader] = {
    "pipelines": TextReader(
        ("fold-batch-norm,cse,fuse{limit=8}", "canonicalize,decompose,fold-constants,dce,fuse,assign-layouts"),
        lambda text: run(_tiny(), text),
    ),
    "optimizers": TextReader(
        ("sgd(lr=0.1, momentum=0.9, nesterov=true)", "adam(lr=0.001, beta1=0.9)"), parse_optimizer
    ),
    "schedules": TextReader(("cosine(epochs=12, warmup=1)", "step(at=[30, 60], gamma=0.1)"), parse_schedule),
    "losses": TextReader(("softmax_cross_entropy(label_smoothing=0.1)", "hinge(margin=1)"), parse_loss),
    "augmentations": TextReader(
        ("crop(4, mode=reflect), flip(until=20)", "random_resized_crop(scale=[0.08, 1]), color_jitter(brightness=0.4)"),
        parse_augmentation,
    ),
    "data sets": TextReader(("mnist(classes=[0, 1])", "imagefolder:/nowhere"), open_source),
    "settings": TextReader(("classes=3", "widths=[1, 2]", "N=2", "classes=[1, {}]"), _settings),
}


def loops() -> TextReader:
    """Modules of loops, whose sound text takes a while to make."""
    return TextReader((_module(),), parse_module)


def graphs() -> TextReader:
    """Graphs in text form."""
    from netc import parse_graph

    return TextReader((str(_tiny()), str(run(_tiny(), "canonicalize,fold-batch-norm,decompose,cse,fuse"))), parse_graph)

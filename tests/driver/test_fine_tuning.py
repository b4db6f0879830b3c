"""Files that hold their weights, trained: ONNX exports as the modules of PyTorch that they come from, TFLite files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import netc
from netc.compiler.errors import NetcError

from .conftest import Call

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
STEPS = 4


def _module() -> Any:
    """A small network with batch normalisation, whose running statistics aren't those of the start."""
    nn = torch.nn
    torch.manual_seed(0)
    features = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16, momentum=0.2), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
    )
    module = nn.Sequential()
    for name, part in (("features", features), ("flatten", nn.Flatten()), ("head", nn.Linear(16, 10))):
        module.add_module(name, part)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight.data, part.running_var, part.bias.data, part.running_mean):
                tensor.uniform_(0.5, 1.5)
    return module


def _export(path: Path, module: Any, **settings: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = torch.zeros(1, 1, 12, 12)
        torch.onnx.export(module, (example,), str(path), dynamo=False, verbose=False, **settings)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    mode = torch.onnx.TrainingMode
    _export(folder / "folded.onnx", _module().eval())
    _export(folder / "preserved.onnx", _module().eval(), training=mode.PRESERVE, do_constant_folding=False)
    _export(folder / "training.onnx", _module().train(), training=mode.TRAINING, do_constant_folding=False)
    return folder


def _samples(count: int = 6) -> tuple[Any, Any]:
    rng = np.random.default_rng(3)
    return rng.normal(size=(count, 1, 12, 12)).astype(np.float32), rng.integers(0, 10, count).astype(np.int32)


@pytest.mark.parametrize("name", ["preserved", "training"])
def test_it_trains_as_the_module_does(files: Path, name: str) -> None:
    module, (x, labels) = _module().train(), _samples()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    expected = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(torch.from_numpy(x)), torch.from_numpy(labels).long())
        loss.backward()
        optimizer.step()
        expected.append(float(loss.detach()))
    options: dict[str, Any] = {"batch": len(x), "threads": 1, "optimizer": "sgd(lr=0.05, momentum=0.9)"}
    with netc.compile_training(files / f"{name}.onnx", **options) as trainer:
        losses = [trainer.step(x, labels) for _ in range(STEPS)]
        np.testing.assert_allclose(losses, expected, rtol=1e-4)
        trainer.save(files / f"{name}.safetensors")
    assert expected[-1] < expected[0]
    saved = load_file(files / f"{name}.safetensors")
    wanted = {k: v.numpy() for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert saved.keys() == wanted.keys()
    for key, array in wanted.items():
        if name == "training" and "running" in key:
            continue  # to export it, PyTorch runs the module once, in training mode
        np.testing.assert_allclose(saved[key], array, rtol=2e-3, atol=2e-5, err_msg=key)


def test_a_run_from_a_file_and_its_evaluation(netc: Call, files: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        f"{k}_{s}": a for s in ("train", "test") for k, a in (("x", _pictures(rng)), ("y", rng.integers(0, 9, 32)))
    }
    np.savez(tmp_path / "d.npz", **arrays)
    options = ("--data", tmp_path / "d.npz", "--batch", 16, "--threads", 1)
    run = tmp_path / "run"
    made = netc(
        "train", files / "preserved.onnx", *options, "--epochs", 1, "--freeze", "features.0.*", "--run-dir", run
    )
    assert made.code == 0, made.err
    assert "folded" not in made.err
    before, after = load_file(_start(netc, files, tmp_path)), load_file(run / "best.safetensors")
    changed = {name for name in after if not np.array_equal(before[name], after[name])}
    assert changed == after.keys() - {"features.0.weight"}
    result = netc("eval", files / "preserved.onnx", *options, "--weights", run / "best.safetensors", "--json")
    assert result.code == 0, result.err
    assert f"best: epoch 1, accuracy {_top1(result.out):.2%}" in made.err + made.out
    assert netc("eval", files / "preserved.onnx", *options, "--json").out != result.out
    wrong = netc("eval", files / "folded.onnx", *options, "--weights", run / "best.safetensors")
    assert (wrong.code, "does not fit net folded" in wrong.err) == (2, True)
    assert "folded" in netc("train", files / "folded.onnx", *options, "--epochs", 1, "--run-dir", tmp_path / "r").err


def _pictures(rng: np.random.Generator) -> Any:
    return rng.integers(0, 256, (32, 12, 12), np.uint8)


def _start(netc: Call, files: Path, tmp_path: Path) -> Path:
    result = netc("import", files / "preserved.onnx", "-o", tmp_path / "start.net")
    assert result.code == 0, result.err
    return tmp_path / "start.safetensors"


def _top1(text: str) -> float:
    import json

    return float(json.loads(text)["top1"])


def test_quantization_takes_other_weights(netc: Call, files: Path, tmp_path: Path) -> None:
    weights = load_file(_start(netc, files, tmp_path))
    module = _module()
    module.load_state_dict({k: torch.from_numpy(v * 0) for k, v in weights.items()}, strict=False)
    torch_weights = tmp_path / "zeros.safetensors"
    from safetensors.numpy import save_file

    save_file({k: np.zeros_like(v) + k.endswith("var") for k, v in weights.items()}, torch_weights)
    output = tmp_path / "z.tflite"
    made = netc("quantize", files / "preserved.onnx", "--float16", "--weights", torch_weights, "-o", output)
    assert made.code == 0, made.err
    assert not netc_output(output).any()


def netc_output(path: Path) -> Any:
    with netc.compile(path, threads=1) as program:
        return np.asarray(program(_samples(1)[0]))


def test_a_tflite_file_is_trained(tmp_path: Path) -> None:
    text = "net t(x: f32[N, 8, 8, 1]) { return x |> conv@c(4, 3) |> relu |> flatten |> dense@d(3) }"
    (tmp_path / "t.net").write_text(text)
    with netc.compile(tmp_path / "t.net", seed=1) as program:
        program.save(tmp_path / "t.tflite")
    x = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype(np.float32)
    labels = np.arange(8, dtype=np.int32) % 3
    losses = []
    for source in ("t.net", "t.tflite"):
        with netc.compile_training(tmp_path / source, batch=8, threads=1, seed=1) as trainer:
            losses.append([trainer.step(x, labels) for _ in range(3)])
            assert len(trainer.weights()) == 4
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_integers_are_not_trained(tmp_path: Path) -> None:
    text = "net t(x: f32[N, 8, 8, 1]) { return x |> conv@c(4, 3) |> relu |> flatten |> dense@d(3) }"
    (tmp_path / "t.net").write_text(text)
    samples = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype(np.float32)
    with netc.compile(tmp_path / "t.net", quantize="int8", calibration=samples) as program:
        program.save(tmp_path / "t.tflite")
    with pytest.raises(NetcError, match="holds no weights of floats"):
        netc.compile_training(tmp_path / "t.tflite", batch=8)

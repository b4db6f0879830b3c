"""`netc compile --target edgetpu`, without Google's compiler and with a stand-in for it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netc.compiler.errors import NetcError
from netc.edgetpu import run_compiler
from netc.loading import load
from netc.runtime.weights import initial_weights, write_weights

from .conftest import Call

LEAKY = """\
net leaky(image: f32[N, 8, 8, 3]) { return image |> conv(4, 3) |> leaky_relu |> conv(4, 3) |> sin }
preprocess leaky { divide = 255 }
"""
COMPILER = """\
#!/bin/sh
# Stands in for edgetpu_compiler: it is called with -s -o FOLDER MODEL.
cp "$4" "${4%.tflite}_edgetpu.tflite"
cat <<END
Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 12 ms.

Input model: $4
Input size: 3.10KiB
Output model: ${4%.tflite}_edgetpu.tflite
Output size: 20.00KiB
On-chip memory used for caching model parameters: 2.00KiB
On-chip memory remaining for caching model parameters: 7.86MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 4
Operation log: tiny_edgetpu.log

Operator                       Count      Status

CONV_2D                        1          Mapped to Edge TPU
MAX_POOL_2D                    1          Mapped to Edge TPU
FULLY_CONNECTED                1          Mapped to Edge TPU
RESHAPE                        1          Operation not supported
Compilation child process completed within timeout period.
Compilation succeeded!
END
"""


@pytest.fixture(autouse=True)
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PATH without the real compiler; a folder that is searched first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (12, 12), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def install(folder: Path, script: str) -> None:
    path = folder / "edgetpu_compiler"
    path.write_text(script, encoding="utf-8")
    path.chmod(0o755)


def test_without_the_compiler(netc: Call, tiny: Path, tiny_weights: Path, pictures: Path, tmp_path: Path) -> None:
    model, page = tmp_path / "m.tflite", tmp_path / "page.html"
    given = ("--target", "edgetpu", "--weights", tiny_weights, "--calibrate", pictures, "-o", model)
    result = netc("compile", tiny, *given, "--report", page)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"{model}: {model.stat().st_size:,} bytes\n\nPrediction for Edge TPU Compiler")
    assert "FULLY_CONNECTED                1          Mapped to Edge TPU" in result.out
    assert result.out.splitlines()[-1].startswith("edgetpu_compiler is not on PATH: ")
    assert "<title>m.tflite on the Edge TPU</title>" in page.read_text(encoding="utf-8")
    assert str(load(model).inputs[0].type).startswith("i8[1,12,12,1]")
    again = netc("compile", model, "--target", "edgetpu")
    assert again.out == result.out


def test_a_network_of_integers_takes_no_samples(
    netc: Call, tiny: Path, tiny_weights: Path, pictures: Path, tmp_path: Path
) -> None:
    quantized, text, again = (str(tmp_path / name) for name in ("q.tflite", "tiny.net", "again.tflite"))
    samples = ("--weights", str(tiny_weights), "--calibrate", str(pictures), "--samples", "4")
    netc("compile", str(tiny), "--target", "edgetpu", *samples, "-o", quantized)
    netc("import", quantized, "-o", text)
    weights = ("--weights", str(tmp_path / "tiny.safetensors"))
    made = json.loads(netc("compile", text, "--target", "edgetpu", *weights, "-o", again, "--json").out)
    given = json.loads(netc("compile", quantized, "--target", "edgetpu", "--json").out)
    facts = [[(o["operator"], o["output"], o["status"]) for o in told["operators"]] for told in (made, given)]
    assert facts[0] == facts[1]
    refused = netc("compile", text, "--target", "edgetpu", *weights, "--calibrate", str(pictures))
    assert "it takes no --calibrate" in refused.err


def test_what_was_rewritten_and_where_the_causes_are(netc: Call, pictures: Path, tmp_path: Path) -> None:
    path, weights, model = tmp_path / "leaky.net", tmp_path / "w.safetensors", tmp_path / "leaky.tflite"
    path.write_text(LEAKY.replace("|> sin ", ""), encoding="utf-8")
    write_weights(weights, load(path), initial_weights(load(path)))
    given = ("--target", "edgetpu", "--weights", weights, "--calibrate", pictures, "--method", "minmax")
    report = tmp_path / "report.json"
    result = netc("compile", path, *given, "-o", model, "--json", "--report", report)
    data = json.loads(result.out)
    assert data == json.loads(report.read_text(encoding="utf-8"))
    assert data["rewritten"] == {"leaky_relu": 1}
    assert data["compiler"] is None
    kinds = [op["operator"] for op in data["operators"]]
    assert [kind for kind in kinds if kind != "QUANTIZE"] == ["CONV_2D", "MUL", "MAXIMUM", "CONV_2D"]
    assert data["operators"][-1]["location"] == f"{path}:1:81"
    path.write_text(LEAKY, encoding="utf-8")
    assert "has no integer form" in netc("compile", path, *given, "-o", model).err


def test_with_the_compiler(
    netc: Call, tiny: Path, tiny_weights: Path, pictures: Path, tmp_path: Path, bare_path: Path
) -> None:
    install(bare_path, COMPILER)
    model = tmp_path / "m.tflite"
    given = ("--target", "edgetpu", "--weights", tiny_weights, "--calibrate", pictures, "-o", model)
    lines = netc("compile", tiny, *given).out.splitlines()
    start = lines.index(
        f"edgetpu_compiler 16.0.384591198 wrote {tmp_path}/m_edgetpu.tflite: {model.stat().st_size:,} bytes"
    )
    assert lines[start + 1] == "parameters: cached 2.00KiB, remaining 7.86MiB, streamed 0.00B"
    assert lines[start + 6] == "Other than predicted:"
    assert "  RESHAPE, Mapped to Edge TPU: 1 predicted, 0 in the log" in lines[start + 7 :]
    assert any(line.startswith("  parameters cached: ") for line in lines[start + 7 :])


def test_a_compiler_that_fails_or_hangs(tiny: Path, bare_path: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(b"")
    install(bare_path, "#!/bin/sh\necho 'ERROR: Model could not be parsed'\nexit 1\n")
    with pytest.raises(NetcError, match=r"didn't compile m\.tflite: ERROR: Model could not be parsed"):
        run_compiler(model)
    install(bare_path, "#!/bin/sh\nsleep 60 &\nwait\n")
    with pytest.raises(NetcError, match=r"took longer than 0\.2 seconds"):
        run_compiler(model, seconds=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--target", "edgetpu"), "needs --weights FILE.safetensors"),
        (("--target", "edgetpu", "--weights", "w.safetensors"), "needs --calibrate FOLDER"),
        (("--target", "edgetpu", "--emit", "llvm"), "--emit is not for --target edgetpu"),
        (("--target", "edgetpu", "--batch", "2"), "one sample at a time, not 2"),
        (("--method", "mse", "--calibrate", "c"), "--calibrate, --method are for --target edgetpu"),
        (("--weights", "w"), "--weights is for --target edgetpu, or for -o FILE.netc"),
        (("--target", "edgetpu", "--release", "new"), "not a release"),
    ],
)
def test_options_that_are_missing_or_in_vain(netc: Call, tiny: Path, options: tuple[str, ...], message: str) -> None:
    result = netc("compile", tiny, *options)
    assert result.code == 2
    assert message in result.err


def test_a_tflite_file_is_compiled_for_this_machine(
    netc: Call, tiny: Path, tiny_weights: Path, pictures: Path, tmp_path: Path
) -> None:
    model, code = tmp_path / "m.tflite", tmp_path / "m.o"
    netc("quantize", tiny, "--weights", tiny_weights, "--calibrate", pictures, "-o", model)
    assert netc("compile", model).out.startswith("m, batch 1, for ")
    for stage, sign in (("graph", "q_conv2d"), ("optimized", "fused"), ("loops", "kernel @"), ("llvm", "define ")):
        assert sign in netc("compile", model, "--emit", stage).out
    assert netc("compile", model, "--emit", "object", "-o", code).code == 0
    assert code.read_bytes()[:4] == b"\x7fELF"

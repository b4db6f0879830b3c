"""No input gives anything but a graph or a `NetcError`: mutated networks, abuse of limits, files that are no text."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from fuzz_inputs import mutated_text

from netc.compiler.errors import Diagnostic, NetcError
from netc.frontend import (
    SourceError,
    check,
    check_text,
    load_network,
    load_text,
    models_folder,
    parse_source,
    render,
    to_json,
)

SNIPPETS = sorted((Path(__file__).parent / "diagnostics").glob("*.net"))
SEEDS = [path.read_text("utf-8") for path in [*sorted(models_folder().glob("*.net")), *SNIPPETS]]
WORDS = (
    *"(){}[];,=@\"'.%\\",
    *("\n", "\r", "\t", "\0", "é", "\u2028", "\ud800"),
    *("net ", "block ", "func ", "import ", "if ", "then ", "else ", "for ", "in ", "return ", "not ", "same", "f32["),
    *("|>", "//", "==", "**", "+=", "{x}", "9", "1e999", "0.5", "9**9**9", "x", "-" * 300, "(" * 200, "not " * 400),
    *("a |> relu " * 50, "1+" * 2000),
)


def problems(text: str, file: str = "<text>") -> Sequence[Diagnostic] | None:
    """The errors of a text that is loaded, None if it has none."""
    try:
        load_text(text, file)
    except NetcError as error:
        return error.diagnostics
    return None


@pytest.mark.parametrize("seed", range(6))
def test_mutated_networks(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = random.Random(seed)
    for _ in range(30):
        text = mutated_text(rng.choice(SEEDS), rng, WORDS)
        diagnostics = check_text(text, "t.net")
        assert render(SourceError(diagnostics, {"t.net": text})) or not diagnostics
        assert to_json(diagnostics)
        found = problems(text, "resnet.net")
        assert found is None or found


VALUES = (
    "0",
    "-1",
    "3.5",
    "true",
    "none",
    '"same"',
    "[1, 2]",
    "[[1, 1], [1, 1]]",
    "[]",
    "1e308",
    "a",
    "b",
    "c",
    "relu",
    "[a, b]",
)


@pytest.mark.parametrize("seed", range(4))
def test_layers_with_arbitrary_arguments(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        name = rng.choice(("conv", "depthwise_conv", "dense", "max_pool", "concat", "flatten", "pad", "transpose"))
        arguments = ", ".join([rng.choice("abc"), *rng.choices(VALUES, k=rng.randrange(5))])
        text = f"net n(a: f32[N, 8, 8, 4], b: f32[N, 6], c: u8[N]) {{ x = {name}({arguments})\n return a }}"
        assert all(d.location for d in problems(text) or ()), text


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 5000 + "x" + ")" * 5000,
        "[" * 99 + "x" + "]" * 99,
        "-" * 5000 + "x",
        "not " * 5000 + "x",
        "x" + " ** x" * 5000,
        "if x then " * 3000 + "x" + " else x" * 3000,
        "f(" * 99 + "x" + ")" * 99,
        "9 ** 9 ** 9",
        "2 ** 62 * 2 ** 62",
        "int(1e308) * 10",
        "round(1.5, 10 ** 18)",
        "[0] * 10 ** 12",
        "[0] * -5 + 0",
        '"{"{1}"}"',
        "1" * 5000,
        "1." + "1" * 5000,
        '"' + "a" * 50000 + '"',
    ],
)
def test_abuse_of_the_limits(expression: str) -> None:
    text = f"net n(x: f32[N, 2]) {{ y = {expression}\n return conv(y, 1) }}"
    assert check_text(text)
    with pytest.raises(NetcError):
        load_text(text)


def test_long_chains_are_fine() -> None:
    sums = "1" + " + 1" * 3000
    pipes = "x" + " |> relu" * 1000
    branches = "if k == 0 { y = x } " + "".join(f"else if k == {i} {{ y = x }} " for i in range(1, 2000))
    text = f"net n(x: f32[N, 2], k = 1999) {{\n  k = {sums} - 1002\n  {branches}\n  return {pipes}\n}}"
    assert len(load_text(text).operations) == 1000


def test_elaboration_ends() -> None:
    doubling = "".join(f"block b{i}(x) {{ x = b{i - 1}(x)\n return b{i - 1}(x) }}\n" for i in range(1, 30))
    text = "block b0(x) { return relu(x) }\n" + doubling + "net n(x: f32[N]) { return b29(x) }"
    with pytest.raises(NetcError, match="more than 25000 operations"):
        load_text(text)
    deep = "".join(f"block b{i}(x) {{ return b{i - 1}(x) }}\n" for i in range(1, 500))
    text = "block b0(x) { return relu(x) }\n" + deep + "net n(x: f32[N]) { return b499(x) }"
    with pytest.raises(NetcError, match="nested too deeply"):
        load_text(text)


@pytest.mark.parametrize(
    ("name", "head", "cure"),
    [
        ("w.pt", b"PK\3\4" + bytes(22) + b"\x0a\0\0\0w/data.pkl", "netc.from_torch"),
        ("long.pt", b"PK\3\4" + bytes(22) + b"\x6d\0\0\0" + b"w" * 100 + b"/data.pkl", "netc.from_torch"),
        ("w.npz", b"PK\3\4" + bytes(22) + b"\x0b\0\0\0layer/w.npy", "a network is a .net file"),
        ("w.keras", b"PK\3\4" + bytes(22) + b"\x0d\0\0\0metadata.json///", "a network is a .net file"),
        ("old.pth", b"\x80\2\x8a\nl\xfc\x9cF\xf9", "netc.from_torch"),
        ("w.safetensors", (600).to_bytes(8, "little") + b'{"w":\xff', "by --weights"),
        ("keras.h5", b"\x89HDF\r\n\x1a\n", "ONNX file"),
        ("dog.jpg", b"\xff\xd8\xff\xe0", "by --image"),
        ("frozen.pb", b"\n\xff\x12", "a network is a .net file"),
    ],
)
@pytest.mark.parametrize("size", [100, 2 << 20])
def test_what_is_no_network_is_told_by_its_beginning(
    tmp_path: Path, name: str, head: bytes, cure: str, size: int
) -> None:
    file = tmp_path / name
    file.write_bytes(head + b"\xff" * size)
    with pytest.raises(NetcError, match=r"not UTF-8|too large") as caught:
        load_network(file)
    assert cure in (caught.value.diagnostics[0].hint or "")


def test_files_that_are_no_networks(tmp_path: Path) -> None:
    latin = tmp_path / "latin.net"
    latin.write_bytes(b"net a(x: f32[N]) {\n return x // caf\xe9\n}")
    large = tmp_path / "large.net"
    large.write_bytes(b" " * (2 << 20))
    empty = tmp_path / "empty.net"
    empty.write_bytes(b"")
    loop = tmp_path / "loop.net"
    loop.symlink_to(loop)
    for source, message in [
        (latin, "not UTF-8 text: byte 0xe9 in line 2"),
        (large, "too large"),
        (empty, "has no net"),
        (tmp_path, "is a folder"),
        (tmp_path / "missing.net", "there is no file"),
        (loop, "can't read"),
        ("a\0b.net", "can't read"),
        ("x" * 5000 + ".net", "can't read"),
        ("x" * 5000, "there is no model"),
        ("", "is a folder"),
    ]:
        with pytest.raises(NetcError, match=message):
            load_network(source)
    assert check(empty) == []
    assert len(check(latin)) == 1


def test_parsing_random_bytes() -> None:
    rng = random.Random(0)
    for _ in range(50):
        text = bytes(rng.randrange(256) for _ in range(200)).decode("latin-1")
        assert parse_source(text, "t").diagnostics

"""Networks of strangers: reading ends soon and in little memory, and no other files are read or quoted."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from netc.compiler.errors import Diagnostic, NetcError
from netc.frontend import SourceError, allowing, check, check_text, load_network, load_recipe, load_text, render
from netc.frontend.budget import MAX_TOKENS
from netc.frontend.diagnostics import render_diagnostic
from netc.frontend.parser import MAX_ERRORS
from netc.runtime.data.registry import path_of

SECONDS = 5
LISTS = "a = [0] * 10000; b = [a] * 10000; c = [b] * 10000; d = [c] * 10000"
OTHERS = LISTS.translate(str.maketrans("abcd", "efgh"))
BODIES = {
    "walk": f"{LISTS}; t = max(d)",
    "equality": f"{LISTS}; {OTHERS}; if d == h {{ x = relu(x) }}",
    "arguments": f"{LISTS}; x = reshape(x, shape = d)",
    "operands": f"{LISTS}; x = concat(d)",
    "function": f"{LISTS}; t = f(d)",
    "text": f'{LISTS}; t = "{{d}}"; u = str(d) + t',
    "enumerate": "a = [0] * 10000\nfor i in a { b = enumerate(a) }",
    "reversed": "a = [0] * 10000\nfor i in a { for j in range(30) { b = reversed(a) } }",
    "zip": "a = [0] * 10000\nfor i in a { b = zip(a, a, a) }",
    "zip of many": f"{LISTS}; t = zip(b)",
    "sum": "a = range(10000)\nfor i in a { for j in a { b = sum(a) } }",
    "sums": "a = [0] * 10000\nfor i in a { b = a + []; c = b * 1 }",
    "texts": 't = "a"\nfor i in range(13) { t = t + t }\nfor i in range(10000) { for j in range(90) { u = t + "b" } }',
    "interpolation": 't = "a"\nfor i in range(13) { t = t + t }\nfor i in range(10000) { u = "{t}{i}" }',
    "labels": 'for i in range(5000) { x = x |> dense@"{i}' + "a" * 980 + '"(4) }',
    "operands in all": "b = [x] * 5000\nfor i in range(10000) { y = concat(b) }",
    "errors": "for i in range(10000) { for j in range(100) { y = z + 1 } }",
    "different errors": "\n".join(f"y{i} = cnov{i}(x)" for i in range(2000)),
    "large statement": f"for i in range(10000) {{ if z > 0 {{ {'y = x;' * 3000} }} }}",
    "dimensions": "s = [1] * 5000\nfor i in range(5000) { x = reshape(x, shape = s) }",
}


def timed(text: str) -> Sequence[Diagnostic]:
    start = time.process_time()
    found = check_text(text, "t.net")
    rendered = render(SourceError(found, {"t.net": text}))
    assert time.process_time() - start < SECONDS
    assert len(rendered) < 1 << 20
    assert len(found) <= MAX_ERRORS
    return found


@pytest.mark.parametrize("name", BODIES)
def test_elaboration_ends_soon(name: str) -> None:
    timed(f"func f(a) {{ return 1 }}\nnet t(x: f32[N, 4]) {{\n{BODIES[name]}\nreturn x }}")


def test_the_message_names_the_limit() -> None:
    (steps,) = timed(f"net t(x: f32[N, 4]) {{\n{BODIES['walk']}\nreturn x }}")
    assert "more than 1000000 steps" in steps.message
    (memory,) = timed(f"net t(x: f32[N, 4]) {{\n{BODIES['enumerate']}\nreturn x }}")
    assert "take more than 64 MiB" in memory.message
    assert memory.location is not None
    assert memory.location.line == 3
    deep = "block b0(x) { return dense(x, 4) }\n" + "".join(
        f'block b{i + 1}(x) {{ return x |> b{i}@"{"a" * 300}" }}\n' for i in range(5)
    )
    (path,) = timed(deep + "net t(x: f32[N, 4]) { return x |> b5 }")
    assert "longer than 1,000 characters" in path.message


def test_all_nets_of_a_file_share_the_limits() -> None:
    loop = "for i in range(1000) { for j in range(300) { y = 1 } }"
    text = "".join(f"net n{i}(x: f32[N, 4]) {{ {loop}\nreturn x }}\n" for i in range(30))
    assert len(timed(text)) == 1
    assert load_text(text, net="n29").name == "n29"


@pytest.mark.parametrize(
    "text",
    [
        "net t(x: f32[N]) {\n" + "y=x+1;" * 100_000 + "\nreturn x }",
        'net t(x: f32[N]) { y = "' + "{x}" * 100_000 + '"\nreturn x }',
        "// comment\n" * 80_000,
        "é" * 300_000,
        "(" * 500_000,
        ";" * 900_000,
        "".join(f"net a{i} = a{i + 1}()\n" for i in range(6000)),
        "".join(f"block b{i}(x) {{ return b{i + 1}(x) }}\n" for i in range(3000)) + "block b3000(x) { return b0(x) }",
        "net t(x: f32[N]) {\n" + "y = = 1\n" * 5000 + "return x }",
    ],
    ids=["tokens", "interpolations", "comments", "strange", "brackets", "ends", "specialised", "circle", "errors"],
)
def test_long_texts_end_soon(text: str) -> None:
    timed(text)


def test_too_many_tokens_are_one_error(tmp_path: Path) -> None:
    half = "".join(f"block {{}}{i}(x) {{{{ return x }}}}\n" for i in range(MAX_TOKENS // 18))
    for name in "ab":
        (tmp_path / f"{name}.net").write_text(half.replace("{}", name).replace("{{", "{").replace("}}", "}"))
    (tmp_path / "t.net").write_text('import "a.net"\nimport "b.net"\nimport "a.net"\nnet t(x: f32[N]) { return x }')
    (found,) = check(tmp_path / "t.net")
    assert f"a net may have {MAX_TOKENS:,} names, numbers and signs in all its files" in found.message


def test_memory_is_bounded() -> None:
    tracemalloc.start()
    try:
        for name in ("zip", "labels"):
            check_text(f"net t(x: f32[N, 4]) {{\n{BODIES[name]}\nreturn x }}")
        assert tracemalloc.get_traced_memory()[1] < 1 << 28
    finally:
        tracemalloc.stop()


# ---- files ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    """A folder `nets`, beside a folder that it may not read from."""
    (tmp_path / "nets" / "parts").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.net").write_text("block key(x) { return relu(x) }")
    (tmp_path / "secret" / "words.txt").write_text("swordfish\nopen sesame\n")
    (tmp_path / "nets" / "parts" / "part.net").write_text('import "../other.net"\nblock part(x) { return other(x) }')
    (tmp_path / "nets" / "other.net").write_text("block other(x) { return relu(x) }")
    return tmp_path / "nets"


def net(folder: Path, head: str, rest: str = "") -> Path:
    path = folder / "t.net"
    path.write_text(f"{head}\nnet t(x: f32[N, 2]) {{ return relu(x) }}\n{rest}")
    return path


def test_what_lies_below_may_be_imported(nets: Path) -> None:
    path = net(nets, 'import "parts/part.net"\nimport "resnet.net"')
    assert load_network(path).name == "t"
    assert check(path) == []


def test_nothing_else_may_be_imported(nets: Path) -> None:
    (nets / "link.net").symlink_to(nets.parent / "secret" / "key.net")
    (nets / "loop.net").symlink_to("loop.net")
    outside = nets.parent / "secret"
    for name in (
        "../secret/key.net",
        "../secret/words.txt",
        f"{outside}/key.net",
        "link.net",
        "loop.net",
        "parts/../..",
    ):
        (found,) = check(net(nets, f'import "{name}"'))
        assert "lies outside the folder of the network" in found.message, name
        assert "--allow-import" in (found.hint or "")
        assert "sword" not in render_diagnostic(found)
    (exists,), (lacks,) = (check(net(nets, f'import "../secret/{name}"')) for name in ("key.net", "none.net"))
    assert exists.message.replace("key", "") == lacks.message.replace("none", "")


def test_folders_may_be_allowed(nets: Path) -> None:
    path = net(nets, 'import "../secret/key.net"')
    secret = nets.parent / "secret"
    assert load_network(path, allow_import=[secret]).name == "t"
    with allowing([secret]):
        assert check(path) == []
    assert len(check(path)) == 1


def test_labels_and_data_stay_below(nets: Path) -> None:
    path = net(nets, "", 'preprocess t { labels = "../secret/words.txt" }')
    with pytest.raises(NetcError, match="lies outside the folder of the network"):
        load_network(path)
    assert load_network(path, allow_import=[nets.parent / "secret"]).attributes["preprocess"]["labels"]
    for data in ("imagefolder:../secret", f"{nets.parent}/secret/x.npz"):
        path = net(nets, "", f'train t {{ data = "{data}" }}')
        with pytest.raises(NetcError, match="lies outside the folder of the network"):
            load_recipe(path, data_path=path_of)
        assert load_recipe(path) is not None


def test_what_is_no_network_is_not_quoted(nets: Path) -> None:
    words = nets.parent / "secret" / "words.txt"
    (nets / "hidden.net").symlink_to(words)
    (found,) = check(nets / "hidden.net")
    assert "holds no network" in render_diagnostic(found)
    assert "sword" not in render_diagnostic(found)


def test_locations_that_a_text_claims_quote_no_files(nets: Path) -> None:
    from netc.compiler.errors import Location

    secret = nets.parent / "secret"
    for name, quoted in (("words.txt", False), ("key.net", True)):
        text = render_diagnostic(Diagnostic("a", Location(str(secret / name), 1, 1)))
        assert (" 1 | " in text) is quoted

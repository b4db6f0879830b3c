"""The parser: what is accepted, how line ends and comments are read, and where nodes say they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from netc.compiler.errors import Location
from netc.frontend import ast, check, parse_source, parser
from netc.frontend.parser import SyntaxTree


def parsed(text: str) -> SyntaxTree:
    tree = parse_source(text, "t.net")
    assert not tree.diagnostics, [str(d) for d in tree.diagnostics]
    return tree


def statements(body: str) -> tuple[ast.Statement, ...]:
    (block,) = parsed(f"block b(x, y, z) {{\n{body}\n}}").definitions
    assert isinstance(block, ast.Block)
    return block.body.statements


def expression(text: str) -> ast.Expr:
    (statement,) = statements(f"return {text}")
    assert isinstance(statement, ast.Return)
    return statement.value


def shape(node: ast.Expr) -> str:
    """An expression with all its parentheses."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Literal(value=value):
            return str(value)
        case ast.Unary(operator=op, operand=operand):
            return f"({op} {shape(operand)})"
        case ast.Binary(operator=op, left=left, right=right):
            return f"({shape(left)} {op} {shape(right)})"
        case ast.Compare(operands=operands, operators=operators):
            pairs = zip(operators, operands[1:], strict=True)
            return f"({shape(operands[0])} {' '.join(f'{o} {shape(e)}' for o, e in pairs)})"
        case ast.Conditional(condition=condition, yes=yes, no=no):
            return f"(if {shape(condition)} then {shape(yes)} else {shape(no)})"
        case ast.Sequence(items=items):
            return f"[{', '.join(map(shape, items))}]"
        case ast.Call(callee=callee, arguments=arguments):
            return f"{shape(callee)}({', '.join(shape(a.value) for a in arguments)})"
        case ast.Pipe(value=value, stages=stages):
            return " |> ".join([shape(value), *map(shape, stages)])
        case ast.Index(value=value, index=index):
            return f"{shape(value)}[{shape(index)}]"
        case _:
            return "text"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x + y * z", "(x + (y * z))"),
        ("x - y - z", "((x - y) - z)"),
        ("-x ** 2", "(- (x ** 2))"),
        ("x ** -y ** z", "(x ** (- (y ** z)))"),
        ("not x == y and z or x", "(((not (x == y)) and z) or x)"),
        ("0 < x <= y", "(0 < x <= y)"),
        ("x + y |> f", "(x + y) |> f()"),
        ("x |> f |> g(1, n = 2)", "x |> f() |> g(1, 2)"),
        ("(x |> f) + y", "(x |> f() + y)"),
        ("if x then y else if y then z else x |> f", "(if x then y else (if y then z else x |> f()))"),
        ("[x, (y, z,),]", "[x, [y, z]]"),
        ("x[0][y](z)", "x[0][y](z)"),
        ("x |> y[0](z)", "x |> y[0](z)"),
        ("(x)(y)", "x(y)"),
        ("1_000 + .5e-1", "(1000 + 0.05)"),
        ("(x // y)", "(x // y)"),
        ("x, y", "[x, y]"),
    ],
)
def test_precedence(text: str, expected: str) -> None:
    assert shape(expression(text)) == expected


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("y = x\n  |> f\n  |> g\nreturn y", 2),
        ("y = x +\n  z\nreturn y", 2),
        ("y = x\n  + z\nreturn y", 2),
        ("y = f(\n  x,\n\n  z,\n)\nreturn y", 2),
        ("y = x; z = y; return z", 3),
        ("if x { y = 1 }\nelse { y = 2 }\nreturn y", 2),
        ("if x\n{ y = 1 }\nreturn y", 2),
        ("return if x\n  then y\n  else z", 1),
        ("y =\n  x\n\n\n\nreturn y", 2),
        ("(y, z) = x\n(z, y) = x\nreturn y", 3),
        ("y += 1; y -= 2; y *= 3; y /= 4; return y", 5),
    ],
)
def test_line_ends(body: str, count: int) -> None:
    assert len(statements(body)) == count


@pytest.mark.parametrize(
    ("body", "comments"),
    [
        ("return x // floor of it", ["// floor of it"]),
        ("n = y // 2\nreturn n", []),
        ("n = y // 2 // half of it\nreturn n", ["// half of it"]),
        ("n = y // z\nreturn n", []),
        ("n = y // stem\nreturn n", ["// stem"]),
        ("n = y // max(z, 2)\nreturn n", []),
        ("n = y // 3x3 window\nreturn n", ["// 3x3 window"]),
        ("n = y // (z + 1) // 2\nreturn n", []),
        ("n = y // [N, 56, 56]\nreturn n", ["// [N, 56, 56]"]),
        ("n = y //\nreturn n", ["//"]),
        ("n = x |> relu // relu\nreturn n", ["// relu"]),
        ("n = x |> relu(y // 2) // 2\nreturn n", ["// 2"]),
        ("n = x\n  |> relu // x\nreturn n", ["// x"]),
        ("if y // 2 == 0 { n = 1 } // y\nreturn n", ["// y"]),
        ("n = f(y // 2, width = 3)\nreturn n", []),
        ("n = if y // 2 then a else b\nreturn n", []),
        ("// x\nn = 1\n// y // z\nreturn n", ["// x", "// y // z"]),
        ("n = f(x, // x\n  y // the second one\n)\nreturn n", ["// x", "// the second one"]),
        ('for _ in y { n = x |> conv(3, 3) }      // conv pads "same"\nreturn n', ['// conv pads "same"']),
        ('n = "no // comment"\nreturn n', []),
        ('return x@"a{y // z}"(1)', []),
    ],
)
def test_comments_and_floor_divisions(body: str, comments: list[str]) -> None:
    assert [c.text for c in parsed(f"block b(x, y, z) {{\n{body}\n}}").comments] == comments


def test_interpolation() -> None:
    node = expression('"layer{x + 1}.{y}{{z}}\\"\\n"')
    assert isinstance(node, ast.String)
    assert [p if isinstance(p, str) else shape(p) for p in node.parts] == [
        "layer",
        "(x + 1)",
        ".",
        "y",
        "{",
        "z",
        "}",
        '"',
        "\n",
    ]


def test_definitions() -> None:
    tree = parsed(
        'import "other.net"\n'
        "net a(image: f32[N, size, 2 * size], size = 3, unit: block = b, depths: int[]) { return image }\n"
        "net c = a(depths = [1])\n"
        "func f(n) { return n } block b(x) { return x }\n"
        "train a { data = mnist, lr = 1 }\n"
        "preprocess a {\n  crop = 0.5\n  mean = [1, 2]\n\n}\n"
    )
    kinds = ["Import", "Net", "Specialisation", "Func", "Block", "Train", "Preprocess"]
    assert [type(d).__name__ for d in tree.definitions] == kinds


def test_windows_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.net"
    path.write_bytes("\ufeffnet a(x: f32[N, 2]) {\r\n  y = relu(x)\r\n  return y\r\n}\r\n".encode())
    assert check(path) == []


def test_every_node_says_where_it_stands() -> None:
    text = (
        "block b(x, n: int[] = [1, -2], *extra) { return x }".replace(", *extra", "")
        + '\nnet a(image: f32[N, 4], k = 2) {\n  y = image |> b@"q{k + 1}"([k], n = [k // 2])\n'
        + "  for (i, j) in [[1, 2]] { y = if i < j and not false then y[0] else (none, 2) }\n  return y\n}\n"
        + "net c = a(k = 3)\npreprocess a { crop = 0.5 }\n"
    )
    lines = text.split("\n")
    for definition in parsed(text).definitions:
        for node in ast.walk(definition):
            at = node.location
            assert isinstance(at, Location)
            assert (at.line, at.column) < (at.end_line, at.end_column)
            stretch = "\n".join(lines[at.line - 1 : at.end_line])
            inside = stretch[at.column - 1 : len(stretch) - len(lines[at.end_line - 1]) + at.end_column - 1]
            if isinstance(node, ast.Name):
                assert inside == node.id
            if isinstance(node, ast.Call):
                assert inside.endswith(")")
            if isinstance(node, ast.Body):
                assert inside[0] + inside[-1] == "{}"


def test_errors_do_not_hide_each_other() -> None:
    tree = parse_source(
        "block a(x) {\n  y = = 1\n  z = ) 2\n  return x\n}\nblock b(x) { return + }\nblock c(x) { return x }", "t"
    )
    assert [d.location.line for d in tree.diagnostics if d.location] == [3, 6]
    assert [d.name.id for d in tree.definitions if isinstance(d, ast.Block)] == ["b", "c"]


def test_tables_of_the_grammar_are_kept_and_made_anew_if_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parser, "cache_from_source", lambda file: str(tmp_path / "parser.pyc"))
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    made: list[str] = []
    make = parser.make_parser
    monkeypatch.setattr(parser, "make_parser", lambda text: (made.append(text), make(text))[1])

    def terminals() -> list[str]:
        return sorted(str(t) for t in parser.grammar.__wrapped__().terminals)

    first = terminals()
    (kept,) = tmp_path.iterdir()
    assert terminals() == first
    assert len(made) == 1
    for damaged in (b"", kept.read_bytes()[:1000], b"nothing"):
        kept.write_bytes(damaged)
        assert terminals() == first
    assert len(made) == 4
    assert list(tmp_path.iterdir()) == [kept]
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    kept.unlink()
    assert terminals() == first
    assert not list(tmp_path.iterdir())


def test_parsers_with_kept_tables_read_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "cache_from_source", lambda file: str(tmp_path / "parser.pyc"))
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    texts = ["net n(x: f32[1]) { return x |> relu }", "net n(x: f32[1]) { return x |> }", "block b(x) { y = ( }"]
    found = []
    for _ in range(2):
        kept = parser.grammar.__wrapped__()
        monkeypatch.setattr(parser, "grammar", lambda kept=kept: kept)
        found.append([repr(parse_source(text, "t.net")) for text in texts])
        monkeypatch.undo()
        monkeypatch.setattr(parser, "cache_from_source", lambda file: str(tmp_path / "parser.pyc"))
    assert found[0] == found[1]

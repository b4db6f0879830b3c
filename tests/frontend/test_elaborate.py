"""Elaboration: what the language's constructs leave in the graph, and how parameters are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.compiler.graph.ir import Graph
from netc.frontend import Recipe, check, load_network, load_recipe, load_text
from netc.frontend.modules import MAX_FILES


def load(body: str, inputs: str = "image: f32[N, 8, 8, 4]", before: str = "", **options: object) -> Graph:
    return load_text(f"{before}\nnet n({inputs}) {{\n{body}\n}}\n", "n.net", **options)


def names(graph: Graph) -> list[str | None]:
    return [p.result.name for p in graph.parameters]


def operators(graph: Graph) -> list[str]:
    return [op.name for op in graph.operations if op.name not in ("param", "constant")]


def number(expression: str, before: str = "") -> int:
    """The value of a compile-time expression, through the size of a dense layer."""
    graph = load(f"return image |> flatten |> dense({expression})", before=before)
    return graph.outputs[0].type.shape[1]


def problem(text: str) -> str:
    with pytest.raises(NetcError) as caught:
        load_text(text, "n.net")
    return str(caught.value)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 ** 3 + 7 // 2 - 5 % 3", 9),
        ("-7 // 2 + 10", 6),
        ("int(3.9) + round(2.5) + ceil(1.2) + floor(-0.5)", 6),
        ("max(1, 5, 3) + min([4, 2]) + abs(-1)", 8),
        ('len([1, 2, 3]) + len("ab") + sum([1, 2]) + int(true)', 9),
        ("if 1 < 2 <= 2 and not false then 3 else 1 / 0", 3),
        ("if false and 1 / 0 == 1 then 3 else 4", 4),
        ("if [1, [2]] == [1, (2,)] and 1 == 1.0 and not (true == 1) then 5 else 6", 5),
        ("range(2, 9, 3)[-1] + reversed([1, 2, 3])[0] + enumerate([7], 2)[0][0]", 13),
        ("([1] * 3 + [2])[3] + zip([1, 2], [3, 4])[1][0]", 4),
        ("shape(image)[1] + rank(image) + channels(image)", 16),
        ('len("{1 + 1}{true}{[1, none]}")', 14),
        ("int(sqrt(16) + exp(0) + log(1)) + round(2.345, 1) * 10 - 23 + 0 * len(str(1.5)) |> int", 5),
    ],
)
def test_compile_time_arithmetic(expression: str, value: int) -> None:
    assert number(expression) == value


def test_funcs_see_later_definitions_and_return_early() -> None:
    functions = """
    func first(n) { for i in range(n) { if i * i > n { return twice(i) } }
      return 0 }
    func twice(n, factor = 1 + 1) { return n * factor }
    """
    assert number("first(10)", functions) == 8


def test_parameter_names_are_paths_of_labels() -> None:
    graph = load(
        'for s in range(2) { image = unit@"layer{s + 1}.0"(image) }\nreturn image |> dense@fc(2)',
        before="block unit(x) { return x |> conv@conv1(4, 3, bias = false) |> batch_norm@bn }",
    )
    bn = ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"]
    units = [f"layer{s}.0.{name}" for s in (1, 2) for name in ["conv1.weight", *bn]]
    assert names(graph) == [*units, "fc.weight", "fc.bias"]


def test_derived_names_count_the_calls_of_each_layer_in_each_block() -> None:
    unit = "block unit(x) { return x |> conv(4, 3, bias = false) |> conv(4, 1, bias = false) }"
    plain = load("return image |> unit |> dense(3, bias = false) |> relu |> unit", before=unit)
    convolutions = ["conv_1.weight", "conv_2.weight"]
    expected = [f"unit_1.{c}" for c in convolutions] + ["dense_1.weight"] + [f"unit_2.{c}" for c in convolutions]
    assert names(plain) == expected
    edited = load(
        "x = conv@stem(image, 4, 3) |> max_pool(2)\nreturn unit@a(x) |> dense(3, bias = false) |> relu |> unit",
        before=unit,
    )
    assert names(edited)[4:] == expected[2:]


def test_blocks_layers_operators_and_funcs_are_values() -> None:
    before = """
    block swish(x) { return x * sigmoid(x) }
    func four(n) { return 4 * n }
    block unit(x, norm: block, act: block, width: block = four) { return x |> conv(width(1), 3) |> norm |> act }
    """
    graph = load("for act in [relu, swish] { image = unit(image, batch_norm, act) }\nreturn image", before=before)
    assert operators(graph) == ["conv2d", "batch_norm", "relu", "conv2d", "batch_norm", "sigmoid", "mul"]


def test_arithmetic_of_tensors() -> None:
    graph = load("return max(-image + 1, (2 - image) / image * 0.5, image ** 3)")
    assert operators(graph) == ["neg", "add", "sub", "div", "mul", "mul", "mul", "maximum", "maximum"]
    constants = [op.attributes["value"] for op in graph.operations if op.name == "constant"]
    assert [c.item() for c in constants] == [1.0, 2.0, 0.5]
    assert all(c.dtype == np.float32 and c.shape == () for c in constants)


def test_constants_must_fit_the_element_type() -> None:
    assert "number 300 is out of the range of u8" in problem("net n(x: u8[N]) { return x + 300 }")
    assert "number 1e+39 is out of the range of f32" in problem("net n(x: f32[N]) { return x + 1e39 }")
    assert "number 0.5 is no i32" in problem("net n(x: i32[N]) { return x + 0.5 }")


def test_variadic_layers_take_tensors_and_lists() -> None:
    graph = load("a = [image, image]\nreturn concat(concat(a), image, axis = -1)")
    assert graph.outputs[0].type.shape == (1, 8, 8, 12)
    assert load("return (image, image) |> concat").outputs[0].type.shape == (1, 8, 8, 8)


def test_several_outputs() -> None:
    graph = load("y = relu(image)\nreturn y, image + y")
    assert [v.type.shape for v in graph.outputs] == [(1, 8, 8, 4)] * 2


def test_locations_and_input_names() -> None:
    graph = load("x = image\n  |> conv(3, 3)\n  |> relu\nreturn x")
    assert [v.name for v in graph.inputs] == ["image"]
    assert [(op.name, str(op.location)) for op in graph.operations][-2:] == [
        ("conv2d", "n.net:4:6"),
        ("relu", "n.net:5:6"),
    ]


def test_free_sizes() -> None:
    body = "return x |> reshape(shape = [N, L * C])"
    graph = load(body, "x: f32[N, L, C], y: f32[N, L // 2]", batch=2, sizes={"L": 8, "C": 3})
    assert [v.type.shape for v in (*graph.inputs, *graph.outputs)] == [(2, 8, 3), (2, 4), (2, 24)]
    text = "net n(x: f32[N, L]) { return relu(x) }"
    for options, message in [
        ({}, "the free size L of net n is not given"),
        ({"sizes": {"L": 0}}, "a size must be a positive whole number"),
        ({"sizes": {"L": 1, "K": 2}}, "net n has no free size K"),
        ({"sizes": {"L": 1}, "batch": 0}, "a size must be a positive whole number"),
    ]:
        with pytest.raises(NetcError, match=message):
            load_text(text, **options)
    with pytest.raises(NetcError, match="no free batch size"):
        load_text("net n(x: f32[1, 2]) { return relu(x) }", batch=4)


def test_blocks_with_typed_tensors_bind_free_sizes() -> None:
    before = "block b(x: f32[N, S, S, C]) { return x |> conv(C * S, 1) }"
    assert load("return b(image)", before=before).outputs[0].type.shape == (1, 8, 8, 32)
    text = before + "net n(x: f32[N, 4, 5, 3]) { return b(x) }"
    assert "`x` must be f32[1,4,4,3], not f32[1,4,5,3]" in problem(text)


def test_specialisation_and_hyperparameters() -> None:
    text = """
    net base(x: f32[N, size], size = 4, act: block = relu, widths: int[]) {
      for w in widths { x = x |> dense(w) |> act }
      return x
    }
    net middle = base(widths = [1, 2], act = tanh)
    net top = middle(size = 2 * 3, widths = [3])
    """
    top = load_text(text, net="top")
    assert top.name == "top"
    assert top.inputs[0].type.shape == (1, 6)
    assert operators(top) == ["dense", "tanh"]
    given = load_text(text, net="middle", hyperparameters={"widths": [5, 6, 7], "act": "sigmoid"})
    assert operators(given) == ["dense", "sigmoid"] * 3
    with pytest.raises(NetcError, match="net base needs a value for `widths`"):
        load_text(text, net="base")
    with pytest.raises(NetcError, match="net base has no hyperparameter `width`"):
        load_text(text, net="top", hyperparameters={"width": 3})
    with pytest.raises(NetcError, match="hyperparameter `size` can't be"):
        load_text(text, net="top", hyperparameters={"size": b"2"})
    with pytest.raises(NetcError, match="not a finite number"):
        load_text(text, net="top", hyperparameters={"size": float("nan")})


def test_nets_can_be_called() -> None:
    before = "net inner(x: f32[N, 4], units = 3) { return x |> dense@fc(units) }\nnet wide = inner(units = 9)"
    graph = load("return wide@body(image) |> relu", "image: f32[N, 4]", before)
    assert names(graph) == ["body.fc.weight", "body.fc.bias"]
    assert graph.outputs[0].type.shape == (1, 9)


def test_choosing_a_net() -> None:
    two = "net a(x: f32[N]) { return relu(x) }\nnet b = a()\n"
    assert load_text(two, "b.net").name == "b"
    assert load_text(two, "c.net", net="a").name == "a"
    assert load_text(two.splitlines()[0], "c.net").name == "a"
    with pytest.raises(NetcError, match="several nets") as caught:
        load_text(two, "c.net")
    assert caught.value.diagnostics[0].hint == "choose one of a, b"
    with pytest.raises(NetcError, match="no net `bb`"):
        load_text(two, "c.net", net="bb")
    with pytest.raises(NetcError, match="has no net"):
        load_text("block a(x) { return x }", "c.net")


def test_imports(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "base.net").write_text(
        "block unit(x) { return helper(x) }\nblock helper(x) { return relu(x) }\n"
    )
    (tmp_path / "lib" / "more.net").write_text('import "base.net"\nblock more(x) { return unit(x) }\n')
    path = tmp_path / "main.net"
    head = 'import "lib/more.net"\nimport "lib/base.net"\nimport "resnet.net"\n'
    path.write_text(head + "block help(x) { return tanh(x) }\nnet main(x: f32[N]) { return x |> more |> help }\n")
    assert operators(load_network(path)) == ["relu", "tanh"]
    assert load_network(path, net="resnet").inputs[0].type.shape == (1, 224, 224, 3)


def test_import_circles_and_ambiguous_names(tmp_path: Path) -> None:
    (tmp_path / "a.net").write_text('import "b.net"\nblock f(x) { return x }\n')
    (tmp_path / "b.net").write_text('import "a.net"\nblock g(x) { return x }\n')
    (problem,) = check(tmp_path / "a.net")
    assert problem.message == "files import each other in a circle"
    assert problem.hint is not None
    assert problem.hint.count(".net") == 3
    for name in "cd":
        (tmp_path / f"{name}.net").write_text("block f(x) { return x }\n")
    (tmp_path / "e.net").write_text('import "c.net"\nimport "d.net"\nnet e(x: f32[N]) { return f(x) }\n')
    (problem,) = check(tmp_path / "e.net")
    assert problem.message == "`f` is defined in two imported files"


def test_files_in_a_long_chain_of_imports_are_counted(tmp_path: Path) -> None:
    (tmp_path / f"{MAX_FILES}.net").write_text("block f(x) { return x }\n")
    for number in range(MAX_FILES):
        (tmp_path / f"{number}.net").write_text(f'import "{number + 1}.net"\n')
    (problem,) = check(tmp_path / "0.net")
    assert problem.message == "a net may be spread over 100 files at most"
    assert check(tmp_path / "1.net") == []


def test_preprocess_is_resolved_and_inherited() -> None:
    text = """
    net a(x: f32[N, 2]) { return relu(x) }
    net b = a()
    net c = a()
    preprocess a { crop = 7 / 8, resize = bicubic, mean = [0.5] * 3, labels = "a.txt" }
    preprocess c { divide = 255 }
    """
    expected = {"crop": 0.875, "resize": "bicubic", "mean": (0.5, 0.5, 0.5), "labels": "a.txt"}
    assert load_text(text, net="a").attributes["preprocess"] == expected
    assert load_text(text, net="b").attributes["preprocess"] == expected
    assert load_text(text, net="c").attributes["preprocess"] == {"divide": 255}
    assert "preprocess" not in load("return image").attributes


def test_recipes_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.net"
    path.write_text(
        "net a(x: f32[N]) { return x }\nnet b = a()\ntrain a { data = mnist\n optimizer = sgd(lr = 0.1) }\n"
    )
    recipe = load_recipe(path, net="b")
    assert isinstance(recipe, Recipe)
    assert recipe.net == "a"
    assert list(recipe.settings) == ["data", "optimizer"]
    path.write_text("net a(x: f32[N]) { return x }\n")
    assert load_recipe(path) is None


def test_an_error_does_not_cause_others() -> None:
    message = problem(
        """
        block b(x, n) { y = conv(x, n, oops)
          return y |> relu }
        net n(image: f32[N, 8, 8, 4]) {
          for i in range(3) { image = b(image, 4) |> max_pool(2) }
          k = image |> dense(3)
          return k + image
        }
        """
    )
    assert message.count("error:") == 1
    assert "there is no name `oops`" in message


@pytest.mark.parametrize(
    ("batch", "reason"),
    [(3000, "concat gives a tensor of more than 2**31 elements: f32[3000,8,8,16384], 12.5 GB"), (10**300, "000.0 GB")],
)
def test_tensors_that_are_too_large_are_refused_with_their_bytes(batch: int, reason: str) -> None:
    with pytest.raises(NetcError) as caught:
        load("return concat([image] * 4096)", batch=batch)
    assert reason in str(caught.value)


def test_loading_is_deterministic() -> None:
    assert str(load_network("resnet18")) == str(load_network("resnet18"))

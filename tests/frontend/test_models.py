"""The shipped networks: published parameter counts, and names and shapes of the published weights."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from netc.compiler.errors import NetcError
from netc.compiler.graph.ir import Graph
from netc.frontend import check, load_network, load_recipe, models_folder, shipped_nets
from netc.frontend.index import nets_in

DATA = Path(os.environ.get("NETC_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
WEIGHTS = DATA.parent / "weights"

PARAMETERS = {
    "perceptron": 785,
    "mlp_mnist": 669_706,
    "cnn_mnist": 3_489_130,
    "cnn_cifar": 2_431_018,
    "alexnet": 61_100_840,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
    "resnet20": 272_474,
    "resnet56": 855_770,
    "resnet110": 1_730_714,
    "preact_resnet110": 1_730_522,
    "wide_resnet28_10": 36_479_194,
    "wide_resnet16_4": 2_748_890,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "wide_resnet50_2": 68_883_240,
    "resnext50_32x4d": 25_028_904,
    "googlenet": 6_624_904,
    "inception_v3": 23_834_568,
    "inception_v3_auxiliary": 27_161_264,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496,
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "mobilenet_v1": 4_231_976,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v2_tf": 3_506_153,
    "mobilenet_v3_large": 5_483_032,
    "mobilenet_v3_small": 2_542_856,
    "mnasnet0_5": 2_218_512,
    "mnasnet1_0": 4_383_312,
    "shufflenet_v2_x0_5": 1_366_792,
    "shufflenet_v2_x1_0": 2_278_604,
    "shufflenet_v2_x1_5": 3_503_624,
    "shufflenet_v2_x2_0": 7_393_996,
    "regnet_x_400mf": 5_495_976,
    "regnet_y_400mf": 4_344_144,
    "regnet_y_800mf": 6_432_512,
    "regnet_y_1_6gf": 11_202_430,
    "regnet_y_3_2gf": 19_436_338,
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b5": 30_389_784,
    "efficientnet_b6": 43_040_704,
    "efficientnet_b7": 66_347_960,
    "efficientnet_v2_s": 21_458_488,
    "efficientnet_v2_m": 54_139_356,
    "efficientnet_lite0": 4_652_008,
    "efficientnet_lite1": 5_416_680,
    "efficientnet_lite2": 6_092_072,
    "efficientnet_lite3": 8_197_096,
    "efficientnet_lite4": 13_006_568,
    "efficientnet_edgetpu_s": 5_438_392,
    "efficientnet_edgetpu_m": 6_899_496,
    "efficientnet_edgetpu_l": 10_589_712,
    "nasnet_mobile": 5_289_978,
    "nasnet_large": 88_753_150,
    "pnasnet5large": 86_057_668,
    "amoebanet_a": 86_739_341,
    "deeplabv3_resnet50": 42_004_074,
    "deeplabv3_mobilenet_v3_large": 11_029_328,
    "fcn_resnet50": 35_322_218,
    "lraspp_mobilenet_v3_large": 3_221_538,
    "unet": 31_030_658,
    "ssd300_vgg16": 35_641_826,
    "ssdlite320_mobilenet_v3_large": 3_440_060,
    "retinanet_resnet50_fpn": 34_068_119,
    "maskrcnn_resnet50_fpn": 44_454_513,
    "pnet": 6_632,
    "rnet": 100_178,
    "onet": 389_040,
    "convnext_tiny": 28_589_128,
    "convnext_small": 50_223_688,
    "convnext_base": 88_591_464,
    "vit_b_16": 86_567_656,
    "vit_b_32": 88_224_232,
    "vit_l_16": 304_326_632,
    "vit_l_32": 306_535_400,
    "swin_t": 28_288_354,
    "swin_s": 49_606_258,
    "swin_b": 87_768_224,
    "r3d_18": 33_371_472,
    "mc3_18": 11_695_440,
    "r2plus1d_18": 31_505_325,
    "voxnet": 921_736,
    "astronet": 9_940_193,
    "alphazero": 23_333_708,
    # MLPerf Tiny: Keras counts 78,666, 221,794, 24,908 and 269,992, running statistics among them.
    "tiny_resnet8": 78_186,
    "tiny_mobilenet": 216_322,
    "tiny_ds_cnn": 23_756,
    "tiny_autoencoder": 267_928,
    "qanet": 2_283_730,
}
"""Trainable parameters: those of torchvision's and timm's networks where they have them."""

FAMILIES = (
    "cnn",
    "convnext",
    "densenet",
    "efficientnet",
    "efficientnet_edgetpu",
    "efficientnet_lite",
    "mnasnet",
    "mobilenet_v3",
    "nasnet",
    "pnasnet",
    "regnet",
    "resnet",
    "segmentation",
    "shufflenet_v2",
    "squeezenet",
    "ssd",
    "swin",
    "vgg",
    "video_resnet",
    "vit",
)

WITHOUT_LABELS = (
    *("perceptron", "r3d_18", "mc3_18", "r2plus1d_18", "voxnet", "astronet", "alphazero", "qanet"),
    *("unet", "pnet", "rnet", "onet"),
    *("tiny_resnet8", "tiny_mobilenet", "tiny_ds_cnn", "tiny_autoencoder"),
)
"""Nets whose classes are not those of the data that netc knows, or that have none."""

ORDERS = {None: None, "oi": (1, 0), "oihw": (3, 2, 0, 1), "oidhw": (4, 3, 0, 1, 2), "iohw": (2, 3, 0, 1)}
"""For each order of dimensions in published weights, where its dimensions are in netc's."""

SOME_SHAPES: dict[str, dict[str, Any]] = {
    "vgg19": {
        "features.34.weight": (512, 512, 3, 3),
        "classifier.0.weight": (4096, 25088),
        "classifier.6.bias": (1000,),
    },
    "deeplabv3_resnet50": {
        "backbone.layer4.0.downsample.0.weight": (2048, 1024, 1, 1),
        "classifier.0.convs.2.0.weight": (256, 2048, 3, 3),
        "classifier.4.weight": (21, 256, 1, 1),
        "aux_classifier.0.weight": (256, 1024, 3, 3),
    },
    "lraspp_mobilenet_v3_large": {
        "backbone.13.block.0.0.weight": (672, 112, 1, 1),
        "classifier.scale.1.weight": (128, 960, 1, 1),
    },
    "ssd300_vgg16": {
        "backbone.scale_weight": (512,),
        "backbone.extra.0.7.1.weight": (1024, 512, 3, 3),
        "head.classification_head.module_list.1.weight": (546, 1024, 3, 3),
    },
    "ssdlite320_mobilenet_v3_large": {
        "backbone.features.0.13.1.running_var": (672,),
        "backbone.features.1.0.2.fc1.weight": (168, 672, 1, 1),
        "backbone.extra.3.2.0.weight": (128, 64, 1, 1),
        "head.regression_head.module_list.5.1.weight": (24, 128, 1, 1),
    },
    "retinanet_resnet50_fpn": {
        "backbone.body.layer1.0.bn1.running_mean": (64,),
        "backbone.fpn.inner_blocks.2.0.weight": (256, 2048, 1, 1),
        "backbone.fpn.extra_blocks.p7.bias": (256,),
        "head.classification_head.cls_logits.weight": (819, 256, 3, 3),
    },
    "maskrcnn_resnet50_fpn": {
        "rpn.head.conv.0.0.weight": (256, 256, 3, 3),
        "roi_heads.box_head.fc6.weight": (1024, 12544),
        "roi_heads.box_predictor.bbox_pred.weight": (364, 1024),
        "roi_heads.mask_predictor.mask_fcn_logits.bias": (91,),
    },
    "onet": {"conv4.weight": (128, 64, 2, 2), "prelu5.weight": (256,), "dense6_3.bias": (10,)},
    "resnet34": {"layer2.0.downsample.0.weight": (128, 64, 1, 1), "layer4.2.bn2.running_var": (512,)},
    "resnet50": {
        "conv1.weight": (64, 3, 7, 7),
        "layer1.0.downsample.1.weight": (256,),
        "layer3.5.conv2.weight": (256, 256, 3, 3),
        "fc.weight": (1000, 2048),
    },
    "mobilenet_v2": {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.2.conv.1.0.weight": (96, 1, 3, 3),
        "features.17.conv.3.running_mean": (320,),
        "classifier.1.weight": (1000, 1280),
    },
    "efficientnet_edgetpu_s": {
        "conv_stem.weight": (32, 3, 3, 3),
        "blocks.0.0.conv_exp.weight": (96, 32, 3, 3),
        "blocks.3.0.conv_dw.weight": (384, 1, 5, 5),
        "blocks.5.1.bn3.bias": (192,),
        "conv_head.weight": (1280, 192, 1, 1),
    },
    "vit_b_16": {
        "class_token": (1, 1, 768),
        "encoder.pos_embedding": (1, 197, 768),
        "encoder.layers.encoder_layer_11.self_attention.in_proj_weight": (2304, 768),
        "heads.head.weight": (1000, 768),
    },
    "swin_t": {
        "features.1.1.attn.relative_position_bias_table": (169, 3),
        "features.4.reduction.weight": (384, 768),
        "features.7.0.attn.qkv.bias": (2304,),
    },
    "r3d_18": {"stem.0.weight": (64, 3, 3, 7, 7), "layer2.0.downsample.0.weight": (128, 64, 1, 1, 1)},
    "efficientnet_edgetpu_l": {"conv_stem.weight": (40, 3, 3, 3), "conv_head.weight": (1536, 232, 1, 1)},
}


def shapes(graph: Graph) -> dict[str | None, tuple[int, ...]]:
    """Shapes of the parameters as published weights hold them."""
    found = {}
    for parameter in graph.parameters:
        shape, order = parameter.result.type.shape, ORDERS[parameter.attributes["checkpoint"]]
        found[parameter.result.name] = tuple(shape[i] for i in order) if order else shape
    return found


def test_all_models_are_known() -> None:
    assert set(shipped_nets()) == {*PARAMETERS, *FAMILIES}


def test_a_shipped_net_stands_in_one_file() -> None:
    assert {name: files for name, files in nets_in(models_folder()).items() if len(files) > 1} == {}


def test_a_net_is_found_by_its_name() -> None:
    recipe = load_recipe("resnet34")
    assert recipe is not None
    assert recipe.net == "resnet"
    assert str(load_network("resnet34")) == str(load_network(models_folder() / "resnet34.net"))
    assert load_network("resnet34", net="resnet18").name == "resnet18"


def test_what_the_index_takes_for_a_net(tmp_path: Path) -> None:
    (tmp_path / "a.net").write_text(
        """// net comment(x)
block b(x) { return "net text(x)" }
net one(image: f32[N, 4]) { return image } net two = one() // net other = one()
"""
    )
    (tmp_path / "b.net").write_text("net one(image: f32[N, 5]) { return image }\n" + 'net three = one(s = "open\n')
    (tmp_path / "c.txt").write_text("net four(image: f32[N, 5]) { return image }")
    found = {name: [path.name for path in paths] for name, paths in nets_in(tmp_path).items()}
    assert found == {"one": ["a.net", "b.net"], "three": ["b.net"], "two": ["a.net"]}
    assert load_network(tmp_path / "two.net").name == "two"
    with pytest.raises(NetcError, match=r"two files define the net `one`: .*a\.net and .*b\.net") as caught:
        load_network(tmp_path / "one.net")
    assert caught.value.diagnostics[0].hint == "give the file, and --net one"
    (tmp_path / "one.net").write_text("net one(image: f32[N, 6]) { return image }")
    assert load_network(tmp_path / "one.net").inputs[0].type.shape == (1, 6)
    assert nets_in(tmp_path / "nothing") == {}


def test_an_import_of_a_net_that_stands_in_another_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.net"
    path.write_text('import "resnet50.net"\nnet mine = resnet50(classes = 3)\n')
    assert check(path)[0].hint == "the net resnet50 stands in resnet.net"


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_parameter_counts(name: str) -> None:
    graph = load_network(name)
    assert sum(p.result.type.size for p in graph.parameters if p.attributes["trainable"]) == PARAMETERS[name]
    assert graph.name == name
    assert graph.inputs[0].type.shape[0] == 1
    labels = graph.attributes.get("preprocess", {}).get("labels")
    assert (models_folder() / labels).is_file() if labels else name in WITHOUT_LABELS


@pytest.mark.parametrize("path", sorted(models_folder().glob("*.net")), ids=lambda path: path.stem)
def test_models_have_no_errors(path: Path) -> None:
    assert check(path) == []


@pytest.mark.parametrize("name", SOME_SHAPES)
def test_names_and_shapes_of_published_weights(name: str) -> None:
    found = shapes(load_network(name))
    assert {key: found[key] for key in SOME_SHAPES[name]} == SOME_SHAPES[name]


@pytest.mark.parametrize(
    "name", ["mlp_mnist", "cnn_mnist", "cnn_cifar", "mobilenet_v2_tf", "efficientnet_lite0", "efficientnet_lite2"]
)
def test_names_and_shapes_of_trained_weights(name: str) -> None:
    path = WEIGHTS / f"{name}.safetensors"
    if not path.exists():
        pytest.skip(f"there are no trained weights at {path}; NETC_DATA names the folder beside them")
    with safe_open(path, "np") as file:
        expected = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    assert shapes(load_network(name)) == expected


@pytest.mark.parametrize(("name", "size"), [("s", 224), ("m", 240), ("l", 300)])
def test_compound_scaling_of_the_input(name: str, size: int) -> None:
    assert load_network(f"efficientnet_edgetpu_{name}", batch=2).inputs[0].type.shape == (2, size, size, 3)


def test_padding_of_mobilenet() -> None:
    first = {}
    for name in ("mobilenet_v2", "mobilenet_v2_tf"):
        graph = load_network(name)
        first[name] = next(op for op in graph.operations if op.name == "conv2d").attributes["padding"]
        assert graph.outputs[0].type.shape == (1, 1001 if name.endswith("tf") else 1000)
    assert first == {"mobilenet_v2": ((1, 1), (1, 1)), "mobilenet_v2_tf": "same"}


def test_classes_of_imagenet() -> None:
    names = (models_folder() / "imagenet_1000.txt").read_text("utf-8").splitlines()
    assert len(names) == 1000
    assert (names[0], names[388], names[999]) == ("tench", "giant panda", "toilet tissue")
    assert (models_folder() / "imagenet_1001.txt").read_text("utf-8").splitlines() == ["background", *names]
    table = DATA / "imagenet_samples" / "labels.csv"
    if not table.exists():
        pytest.skip(f"there are no class names to compare with at {table}; NETC_DATA names the folder")
    with table.open(encoding="utf-8") as file:
        assert names == [row["name"] for row in csv.DictReader(file)]


def test_misspelt_models_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NetcError, match="there is no model `resnet3`") as caught:
        load_network("resnet3")
    assert caught.value.diagnostics[0].hint == "did you mean resnet34?"
    (tmp_path / "mine.net").write_text("net mine(x: f32[N]) { return relu(x) }")
    with pytest.raises(NetcError, match="there is no file mien") as caught:
        load_network("mien.net")
    assert caught.value.diagnostics[0].hint == "did you mean mine.net?"
    assert load_network("./mine.net").name == "mine"


def test_an_empty_label_adds_nothing_to_the_path(tmp_path: Path) -> None:
    path = tmp_path / "plain.net"
    path.write_text(
        'block inner(x) { return x |> dense@a(2) |> dense@""(2) }\n'
        'net plain(x: f32[N, 3]) { return x |> inner@"" |> inner@"b" }\n'
    )
    names = [p.result.name for p in load_network(path).parameters]
    assert names == ["a.weight", "a.bias", "weight", "bias", "b.a.weight", "b.a.bias", "b.weight", "b.bias"]

"""Pictures: every mode decodes, preprocessing is exact, bad files give one message."""

import io
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Graph
from netc.compiler.preprocess import overridden
from netc.compiler.types import DType, TensorType
from netc.runtime.data.decoding import jpeg_pixels, open_picture, pixels_of
from netc.runtime.data.images import Preprocess, assumption, decode, depth_note, eight_bits
from netc.runtime.data.layout import as_input

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
GREY = RGB[:, :, 0]


def net(shape: tuple[int, ...] = (1, 8, 8, 3), **preprocess: object) -> Graph:
    builder = GraphBuilder("small", {"preprocess": preprocess})
    return builder.finish([builder.input("image", TensorType(DType.F32, shape))])


def png(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "MPO", "BMP", "GIF"])
def test_usual_pictures_are_what_pillow_opens(kind: str) -> None:
    options = {"save_all": True, "append_images": [Image.fromarray(RGB[::-1])]} if kind == "MPO" else {}
    data = png(Image.fromarray(RGB), kind, **options)
    image, whole = open_picture(data), Image.open(io.BytesIO(data))
    assert (image.format, image.mode, image.size) == (whole.format, whole.mode, whole.size)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(whole))


def test_only_what_reads_a_picture_is_imported() -> None:
    code = (
        "import sys\nfrom netc.runtime.data.images import decode\ndecode(sys.stdin.buffer.read())\nprint(*sys.modules)"
    )
    data = png(Image.fromarray(RGB))
    found = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True).stdout.split()
    assert b"PIL.PngImagePlugin" in found
    assert b"PIL.JpegImagePlugin" not in found


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "YCbCr"])
def test_colour_modes_give_three_channels(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "picture.tif"
    Image.fromarray(RGB).convert(mode).save(path)
    assert np.abs(decode(path).astype(int) - RGB).max() <= 3


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey_modes_give_one_channel(mode: str) -> None:
    np.testing.assert_array_equal(decode(png(Image.fromarray(GREY).convert(mode)))[:, :, 0], GREY)


def test_one_bit_palette_and_transparent_palette() -> None:
    bits = GREY > 100
    np.testing.assert_array_equal(decode(png(Image.fromarray(bits)))[:, :, 0], bits * np.uint8(255))
    palette = Image.fromarray(RGB).quantize(16)
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(decode(png(palette)), expected)
    np.testing.assert_array_equal(decode(png(palette, transparency=bytes(range(16)))), expected)


def test_16_bit_grey_is_scaled() -> None:
    values = np.array([[0, 256, 32768, 65535]], np.uint16)
    picture = decode(png(Image.fromarray(values)))
    np.testing.assert_array_equal(picture[0, :, 0], values[0])
    preprocess = Preprocess.of(net((1, 1, 4, 1)))
    np.testing.assert_array_equal(preprocess.pixels(eight_bits(picture))[0, :, 0], [0, 1, 128, 255])


def test_exif_rotation_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, "JPEG", exif=exif)
    assert decode(stream.getvalue()).shape == RGB.shape


@pytest.mark.parametrize("damage", [b"", b"hello", png(Image.fromarray(RGB))[:200], png(Image.fromarray(RGB))[:20]])
def test_damaged_picture_gives_one_message(damage: bytes) -> None:
    with pytest.raises(NetcError, match=r"can't read picture a\.png"):
        decode(damage, "a.png")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(NetcError, match="there is no picture"):
        decode(tmp_path / "none.png")
    with pytest.raises(NetcError, match="is a folder, not a picture"):
        decode(tmp_path)


def test_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = png(Image.fromarray(RGB))
    for limit in (500, 100):  # Pillow warns above the limit and refuses above twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(NetcError, match="too large"):
            decode(data)


@pytest.mark.parametrize(
    ("kind", "mode", "side", "limit"),
    [("PNG", "RGB", 8661, "75,000,000"), ("PNG", "I;16", 5478, "30,000,000"), ("JPEG2000", "RGB", 5200, "26,086,956")],
)
def test_small_files_of_large_pictures_are_refused(kind: str, mode: str, side: int, limit: str) -> None:
    stream = io.BytesIO()
    Image.new(mode, (side, 8)).save(stream, kind)
    data = stream.getvalue().replace((8).to_bytes(4, "big"), side.to_bytes(4, "big"))
    place = data.index(b"IHDR") + 4 if kind == "PNG" else 0
    if place:  # its checksum fits
        data = data[: place + 13] + zlib.crc32(data[place - 4 : place + 13]).to_bytes(4, "big") + data[place + 17 :]
    assert len(data) < 5000
    with pytest.raises(NetcError, match=rf"picture a is too large: {side} x {side} pixels, of which {limit} may be"):
        decode(data, "a")


def test_tiles_that_are_larger_than_their_picture_are_refused() -> None:
    tags = {256: 10, 257: 10, 258: 8, 259: 8, 262: 1, 277: 1, 322: 32768, 323: 32768, 324: 8, 325: 0}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    with pytest.raises(NetcError, match="a is too large: a tile of 32768 x 32768 pixels, of which 75,000,000 may be"):
        decode(data, "a")


def test_jpeg_files_with_very_many_scans_are_refused() -> None:
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    scan = data[data.rindex(b"\xff\xda") : -2]
    assert decode(data[:-2] + 90 * scan + b"\xff\xd9" + 200 * scan).shape == RGB.shape
    with pytest.raises(NetcError, match="a is too large: 110 scans, of which 100 may be decoded"):
        decode(data[:-2] + 100 * scan + b"\xff\xd9", "a")


def test_pictures_that_run_programs_are_not_read() -> None:
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    with pytest.raises(NetcError, match="not a picture in a format that is read"):
        decode(data)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "L", "LA", "1", "P"])
def test_strips_are_parts_of_the_whole(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(RGB).convert(mode)
    for wanted in ("L", "RGB"):
        whole = np.asarray(image.convert(wanted))
        for pixels in (1, 70, 1 << 20):
            monkeypatch.setattr("netc.runtime.data.decoding._STRIP", pixels)
            np.testing.assert_array_equal(pixels_of(image, wanted), whole)


def test_simplejpeg_gives_the_pixels_of_pillow() -> None:
    pytest.importorskip("simplejpeg", reason="simplejpeg is not installed (netc[jpeg])")
    for size, mode, sampling, progressive in product(((61, 45), (1, 1)), ("RGB", "L"), (0, 1, 2), (False, True)):
        picture = Image.fromarray(RGB).resize(size).convert(mode)
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=85, subsampling=sampling, progressive=progressive)
        with open_picture(file.getvalue()) as image:
            pixels = jpeg_pixels(image, file.getvalue())
            assert pixels is not None
            np.testing.assert_array_equal(pixels.reshape(np.asarray(image).shape), np.asarray(image))


def test_a_jpeg_file_that_is_cut_off_is_refused_with_and_without_simplejpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.fromarray(RGB).resize((200, 200)).save(file, "JPEG")
    cut = file.getvalue()[: len(file.getvalue()) // 2]
    messages = set[str]()
    for _ in range(2):
        with pytest.raises(NetcError) as caught:
            decode(cut)
        messages.add(str(caught.value))
        monkeypatch.setattr("netc.runtime.data.decoding._simplejpeg", lambda: None)
    assert len(messages) == 1


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.tif"
    Image.fromarray(GREY.astype(np.float32)).save(path)
    with pytest.raises(NetcError, match="floating-point"):
        decode(path)


def test_crop_is_central_and_rounds_down() -> None:
    picture = np.zeros((21, 30, 3), np.uint8)
    side = round(0.875 * 21)
    top, left = (21 - side) // 2, (30 - side) // 2
    picture[top : top + side, left : left + side] = 7
    pixels = Preprocess.of(net((1, side, side, 3), crop=0.875)).pixels(picture)
    assert (pixels == 7).all()
    assert pixels.shape == (side, side, 3)


def test_resize_is_antialiased_bilinear() -> None:
    pixels = Preprocess.of(net(resize="bilinear")).pixels(RGB)
    expected = np.asarray(Image.fromarray(RGB).resize((8, 8), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(pixels, expected)


def test_channels_follow_the_input() -> None:
    assert Preprocess.of(net((1, 20, 30, 1)))(RGB).shape == (20, 30, 1)
    colour = Preprocess.of(net((1, 20, 30, 3))).pixels(GREY[:, :, np.newaxis])
    np.testing.assert_array_equal(colour, np.repeat(GREY[:, :, np.newaxis], 3, axis=2))


def test_formula_is_exact_to_float32() -> None:
    mean, std = (0.4913, 0.4821, 0.4465), (0.2452, 0.2428, 0.2606)
    values = Preprocess.of(net((1, 20, 30, 3), divide=255, mean=mean, std=std))(RGB)
    expected = (RGB / 255 - np.array(mean)) / np.array(std)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, expected.astype(np.float32))
    signed = Preprocess.of(net((1, 20, 30, 3), divide=128, mean=1, std=1))(RGB)
    np.testing.assert_array_equal(signed, RGB / np.float32(128) - 1)


def test_without_declaration_pixels_are_divided_by_255() -> None:
    builder = GraphBuilder("bare")
    graph = builder.finish([builder.input("image", TensorType(DType.F32, (1, 20, 30, 3)))])
    np.testing.assert_array_equal(Preprocess.of(graph)(RGB), (RGB / 255).astype(np.float32))


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"croop": 0.9}, "did you mean crop"),
        ({"crop": 1.5}, "positive number up to 1"),
        ({"crop": "half"}, "positive number up to 1"),
        ({"divide": 0}, "divide must be a positive number"),
        ({"white": 0}, "white must be a positive number"),
        ({"mean": (1, 2)}, "mean must be a number or 3 numbers"),
        ({"mean": "imagenet"}, "mean must be a number or 3 numbers"),
        ({"std": (1, 0, 1)}, "std can't be 0"),
        ({"resize": "bilinea"}, "did you mean bilinear"),
    ],
)
def test_bad_declarations_are_refused(declared: dict[str, object], message: str) -> None:
    with pytest.raises(NetcError, match=message):
        Preprocess.of(net(**declared))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_deep_grey_has_a_white_that_can_be_declared(dtype: type) -> None:
    values: Any = np.arange(784, dtype=dtype).reshape(28, 28) * 5
    picture = decode(png(Image.fromarray(values), "PNG" if dtype == np.uint16 else "TIFF"))
    plain, declared = (Preprocess.of(net((1, 28, 28, 1), **w)) for w in ({}, {"white": 3915}))
    for prepare in (plain, plain.pixels):
        with pytest.warns(UserWarning, match="-bit grey is scaled to 8 bits: 65535 counts as white; `white`") as told:
            assert len(np.unique(prepare(picture))) == 16
        assert [each.filename for each in told] == [__file__]
    with pytest.warns(UserWarning, match="3000 counts as white; what is above it is clipped"):
        assert Preprocess.of(net((1, 28, 28, 1), white=3000)).pixels(picture).max() == 255
    np.testing.assert_array_equal(declared.pixels(picture)[..., 0], np.rint(values / 3915 * 255))
    note = depth_note(picture, "x.png", plain.white)
    assert note is not None
    assert "from 0 to 3915: 65535 counts as white, so that its 784 values become 16; `white`" in note
    assert depth_note(picture, "x.png", declared.white) is None
    assert "so that its 784 values become 201" in (depth_note(picture, "x.png", 1000) or "")
    assert depth_note(GREY[:, :, np.newaxis], "x.png") is None


def test_channels_come_first_where_the_net_takes_them_first() -> None:
    graph = net((1, 3, 4, 6), divide=1, mean=[1, 2, 3])
    preprocess = Preprocess.of(graph)
    assert (preprocess.height, preprocess.width, preprocess.channels) == (4, 6, 3)
    picture = np.random.default_rng(2).integers(0, 256, (4, 6, 3), np.uint8)
    tensor = as_input(preprocess(picture), graph.inputs[0].type)
    np.testing.assert_array_equal(tensor, (picture - np.array([1.0, 2.0, 3.0])).transpose(2, 0, 1))
    np.testing.assert_array_equal(as_input(tensor, graph.inputs[0].type), tensor)


def test_channels_come_last_where_both_orders_would_fit() -> None:
    assert Preprocess.of(net((1, 3, 4, 1))).channels == 1
    assert Preprocess.of(net((1, 3, 3, 3))).channels == 3


def test_what_is_assumed_of_other_tools_networks() -> None:
    foreign = replace(net((1, 4, 4, 3)), attributes={"format": "tflite"})
    note = assumption(foreign)
    assert note is not None
    assert "pixel / 255 is taken" in note
    assert "--preprocess divide=127.5 --preprocess mean=1" in note
    settings = overridden({}, {"divide": 127.5, "mean": 1})
    assert assumption(replace(foreign, attributes={**foreign.attributes, "preprocess": settings})) is None
    assert assumption(net((1, 4, 4, 3))) is None


def test_settings_of_pictures_are_checked() -> None:
    settings = overridden({"divide": 255, "crop": 0.5}, {"divide": 127.5, "mean": [1, 1, 1]})
    assert settings == {"divide": 127.5, "crop": 0.5, "mean": (1, 1, 1)}
    with pytest.raises(NetcError, match="preprocess has no setting `dvide`"):
        overridden(settings, {"dvide": 1})
    with pytest.raises(NetcError, match="divide must be a positive number, not 0"):
        overridden(settings, {"divide": 0})


def test_net_that_takes_no_picture_is_refused() -> None:
    with pytest.raises(NetcError, match="not pictures"):
        Preprocess.of(net((1, 10)))
    with pytest.raises(NetcError, match="takes 0 inputs"):
        Preprocess.of(GraphBuilder("none").finish(()))

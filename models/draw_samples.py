"""Draws the sample pictures that ship with the nets: a panda (sample.png) and a handwritten-looking seven (digit.png).

    python models/draw_samples.py

Shapes are drawn large and scaled down, so that edges are smooth; the output is the same on every run.
"""

from pathlib import Path

from PIL import Image, ImageDraw

SCALE = 4
SIZE = 256
BLACK, WHITE, GREY = (28, 28, 32), (246, 246, 242), (214, 216, 214)
SKY, GRASS, BAMBOO, LEAF = (190, 220, 235), (126, 170, 92), (104, 158, 66), (70, 128, 54)

Box = tuple[int, int, int, int]


def ellipse(draw: ImageDraw.ImageDraw, box: Box, fill: tuple[int, int, int]) -> None:
    """A filled ellipse in a box given in pixels of the final picture."""
    draw.ellipse([SCALE * v for v in box], fill=fill)


def line(draw: ImageDraw.ImageDraw, points: list[tuple[int, int]], fill: tuple[int, int, int], width: int) -> None:
    """A line through points given in pixels of the final picture."""
    draw.line([(SCALE * x, SCALE * y) for x, y in points], fill=fill, width=SCALE * width, joint="curve")


def draw_background(draw: ImageDraw.ImageDraw) -> None:
    """Sky, grass and some bamboo."""
    draw.rectangle([0, 0, SCALE * SIZE, SCALE * SIZE], fill=SKY)
    ellipse(draw, (-80, 180, 336, 420), GRASS)
    for x, lean in ((22, -4), (46, 3), (226, 5)):
        line(draw, [(x, 256), (x + lean, 0)], BAMBOO, 9)
        for y in range(30, 256, 46):
            line(draw, [(x - 6, y), (x + 6, y)], LEAF, 2)
            ellipse(draw, (x + 2, y - 14, x + 34, y - 4), LEAF)


def draw_panda(draw: ImageDraw.ImageDraw) -> None:
    """A sitting panda, seen from the front."""
    ellipse(draw, (72, 120, 184, 250), WHITE)
    for box in ((50, 124, 100, 204), (156, 124, 206, 204), (56, 206, 114, 252), (142, 206, 200, 252)):
        ellipse(draw, box, BLACK)
    ellipse(draw, (92, 128, 164, 168), BLACK)
    for box in ((66, 22, 106, 62), (150, 22, 190, 62)):
        ellipse(draw, box, BLACK)
    ellipse(draw, (64, 34, 192, 146), WHITE)
    for left, right in (((84, 72, 116, 108), (96, 80, 110, 96)), ((140, 72, 172, 108), (146, 80, 160, 96))):
        ellipse(draw, left, BLACK)
        ellipse(draw, right, WHITE)
        ellipse(draw, (right[0] + 4, right[1] + 4, right[2] - 3, right[3] - 3), BLACK)
    ellipse(draw, (108, 98, 148, 134), GREY)
    ellipse(draw, (118, 102, 138, 115), BLACK)
    line(draw, [(128, 114), (128, 121)], BLACK, 2)
    draw.arc([SCALE * v for v in (116, 112, 140, 128)], 20, 160, fill=BLACK, width=2 * SCALE)


def panda() -> Image.Image:
    """The sample for nets that take colour pictures: 256 x 256, RGB."""
    image = Image.new("RGB", (SCALE * SIZE, SCALE * SIZE))
    draw = ImageDraw.Draw(image)
    draw_background(draw)
    draw_panda(draw)
    return image.resize((SIZE, SIZE), Image.Resampling.LANCZOS).quantize(96, dither=Image.Dither.NONE)


def seven() -> Image.Image:
    """The sample for nets that take digits: 28 x 28, grey, 0 = background."""
    image = Image.new("L", (28 * 16, 28 * 16))
    stroke = [(112, 118), (200, 112), (310, 110), (272, 196), (236, 276), (208, 350)]
    draw = ImageDraw.Draw(image)
    draw.line(stroke, fill=255, width=36, joint="curve")
    for x, y in (stroke[0], stroke[-1]):
        draw.ellipse([x - 18, y - 18, x + 18, y + 18], fill=255)
    return image.resize((28, 28), Image.Resampling.BOX)


def main() -> None:
    """Write both pictures beside this file."""
    here = Path(__file__).parent
    panda().save(here / "sample.png", optimize=True)
    seven().save(here / "digit.png", optimize=True)


if __name__ == "__main__":
    main()

"""Boxes, names and coloured areas on a picture."""

from __future__ import annotations

import colorsys
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..compiler.signature import Array
from ..runtime.data.images import Pixels

GOLDEN = 0.618033988749895
"""Hues this far apart around the circle stay apart, however many there are."""
OPACITY = 0.5
"""Of coloured areas."""


def colour_of(number: int) -> tuple[int, int, int]:
    """A colour for a class: the same on every run, and unlike those of its neighbours."""
    red, green, blue = colorsys.hsv_to_rgb(number * GOLDEN % 1, 0.85, 1)
    return round(255 * red), round(255 * green), round(255 * blue)


@dataclass
class Canvas:
    """A picture in colour that is drawn on."""

    image: Image.Image

    @staticmethod
    def of(picture: Pixels) -> Canvas:
        """A copy of a picture uint8 [height, width, 3]."""
        return Canvas(Image.fromarray(picture.copy()))

    @property
    def line(self) -> int:
        """Width of lines: they can be seen on large pictures, too."""
        return max(2, round(max(self.image.size) / 300))

    def box(self, sides: Array, text: str, colour: tuple[int, int, int]) -> None:
        """A frame (x1, y1, x2, y2) with a name at its upper left corner."""
        from PIL import ImageDraw, ImageFont  # as long to import as a network's run

        pen = ImageDraw.Draw(self.image)
        x1, y1, x2, y2 = (float(side) for side in sides)
        pen.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colour, width=self.line)
        font = ImageFont.load_default()
        if not isinstance(font, ImageFont.FreeTypeFont):  # the font without FreeType has Latin letters alone
            text = text.encode("latin-1", "replace").decode("latin-1")
        left, top, right, bottom = pen.textbbox((x1, y1), text, font=font)
        below = min(0.0, self.image.width - right - 4)
        pen.rectangle((left + below, top, right + below + 4, bottom + 2), fill=colour)
        pen.text((x1 + below + 2, y1), text, fill=(0, 0, 0), font=font)

    def fill(self, mask: Array, colour: tuple[int, int, int]) -> None:
        """Colour the pixels of a mask bool [height, width]."""
        pixels = np.array(self.image)
        mixed = (1 - OPACITY) * pixels[mask] + OPACITY * np.array(colour, np.float64)
        pixels[mask] = np.rint(mixed).astype(np.uint8)
        self.image = Image.fromarray(pixels)

    def png(self) -> bytes:
        """The picture as a file."""
        file = io.BytesIO()
        self.image.save(file, "PNG")
        return file.getvalue()

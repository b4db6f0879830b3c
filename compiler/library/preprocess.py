"""The C function that makes an input of a picture, equal to the last bit to what `runtime.data.images` does.

Resizing is that of Pillow, whose method is public: filters stretched to the scale, coefficients of 22 bits, first along
rows, then along columns, with rounding to 8 bits after each. What a pixel then becomes is looked up in a table.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..graph.ir import Array
from ..types import DType
from .header import C_TYPES


@dataclass(frozen=True, slots=True)
class Picture:
    """What becomes of a picture."""

    height: int
    width: int
    channels: int
    crop: float | None
    """The side of the central square in units of the shorter side; None: all of it."""
    resize: str
    dtype: DType
    tables: tuple[Array, ...]
    """The element for each value of a pixel, one table for all channels or one for each."""
    channels_first: bool


SUPPORT = {"box": 0.5, "bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}
"""How far the filters reach; `nearest` has none."""

_FILTERS = {
    "box": """static double filter(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }
""",
    "bilinear": """static double filter(double x) {
  x = x < 0.0 ? -x : x;
  return x < 1.0 ? 1.0 - x : 0.0;
}
""",
    "bicubic": """static double filter(double x) {
  const double a = -0.5;
  x = x < 0.0 ? -x : x;
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}
""",
    "lanczos": """#include <math.h>

static double sinc(double x) {
  if (x >= 0.0 && x <= 0.0) return 1.0;
  x = x * 3.14159265358979323846;
  return sin(x) / x;
}

static double filter(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }
""",
}


def preprocess_source(picture: Picture, prefix: str) -> str:
    """The text of the C file."""
    tables = "\n".join(_table(picture, number, table) for number, table in enumerate(picture.tables))
    resize = _nearest(picture) if picture.resize == "nearest" else _resample(picture)
    body = _BODY.format(
        prefix=prefix,
        upper=prefix.upper(),
        height=picture.height,
        width=picture.width,
        channels=picture.channels,
        type=C_TYPES[picture.dtype],
        round=_ROUND if picture.crop is not None else "",
        crop=_crop(picture.crop),
        place=(
            "((size_t)c * HEIGHT + (size_t)y) * WIDTH + (size_t)x"
            if picture.channels_first
            else "((size_t)y * WIDTH + (size_t)x) * CHANNELS + (size_t)c"
        ),
        table="table0[value]" if len(picture.tables) == 1 else "tables[c][value]",
    )
    head = _HEAD.format(
        prefix=prefix, height=picture.height, width=picture.width, channels=picture.channels, tables=tables
    )
    return head + resize.replace("PREFIX", prefix) + body


def _table(picture: Picture, number: int, values: Array) -> str:
    kind = C_TYPES[picture.dtype]
    numbers = [_literal(v, picture.dtype) for v in (values.view("u2") if kind == "uint16_t" else values).tolist()]
    rows = [", ".join(numbers[i : i + 8]) for i in range(0, 256, 8)]
    text = f"static const {kind} table{number}[256] = {{\n  " + ",\n  ".join(rows) + "};\n"
    if number == len(picture.tables) - 1 and number:
        names = ", ".join(f"table{n}" for n in range(number + 1))
        text += f"static const {kind} *const tables[CHANNELS] = {{{names}}};\n"
    return text


def _literal(value: float, dtype: DType) -> str:
    if not isinstance(value, float):
        return str(int(value))
    return f"{value!r}{'f' if dtype is DType.F32 else ''}"


def _crop(crop: float | None) -> str:
    if crop is None:
        return "  const int32_t left = 0, top = 0, box_width = width, box_height = height;\n"
    return f"""  const int32_t nearest = to_nearest({crop!r} * (height < width ? height : width));
  const int32_t side = nearest < 1 ? 1 : nearest;
  const int32_t left = (width - side) / 2, top = (height - side) / 2, box_width = side, box_height = side;
"""


_HEAD = """/* Pictures for {prefix}: see {prefix}.h. Written by netc. Products and sums must be rounded one by one. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#include "{prefix}.h"

enum {{ HEIGHT = {height}, WIDTH = {width}, CHANNELS = {channels} }};

{tables}
/* A pixel's channel: grey counts three times, and colours become grey with weights of 16 bits. */
static uint8_t channel(const uint8_t *pixel, int32_t channels, int32_t c) {{
  if (channels == CHANNELS) return pixel[c];
  if (channels == 1) return pixel[0];
  const uint32_t red = pixel[0] * UINT32_C(19595), green = pixel[1] * UINT32_C(38470), blue = pixel[2] * UINT32_C(7471);
  return (uint8_t)((red + green + blue + 0x8000) >> 16);
}}

"""


def _nearest(picture: Picture) -> str:
    return """/* Each pixel is the one at its centre. */
size_t PREFIX_preprocess_bytes(int32_t height, int32_t width) {
  (void)height;
  (void)width;
  return sizeof(int32_t) * WIDTH + (size_t)HEIGHT * WIDTH * CHANNELS;
}

static void resized(const uint8_t *pixels, int32_t height, int32_t width, int32_t channels, ptrdiff_t stride,
                    void *scratch, uint8_t *result) {
  const double across = (double)width / WIDTH, down = (double)height / HEIGHT;
  int32_t *columns = (int32_t *)scratch;
  double place = across * 0.5;
  for (int32_t x = 0; x < WIDTH; x++, place += across) {
    const int32_t column = (int32_t)place;
    columns[x] = column < width ? column : width - 1;
  }
  place = down * 0.5;
  for (int32_t y = 0; y < HEIGHT; y++, place += down) {
    const int32_t row = (int32_t)place;
    const uint8_t *line = pixels + (row < height ? row : height - 1) * stride;
    for (int32_t x = 0; x < WIDTH; x++)
      for (int32_t c = 0; c < CHANNELS; c++)
        *result++ = channel(line + columns[x] * channels, channels, c);
  }
}

static uint8_t *result_of(void *scratch, int32_t height, int32_t width) {
  (void)height;
  (void)width;
  return (uint8_t *)scratch + sizeof(int32_t) * WIDTH;
}
"""


def _resample(picture: Picture) -> str:
    return f"{_FILTERS[picture.resize]}{_RESAMPLE}".replace("SUPPORT", repr(SUPPORT[picture.resize]))


_RESAMPLE = """
enum { BITS = 22 };

/* How many pixels a coefficient list has room for. */
static int32_t taps(int32_t size, int32_t wanted) {
  double scale = (double)size / wanted;
  scale = scale < 1.0 ? 1.0 : scale;
  const double support = SUPPORT * scale;
  int32_t above = (int32_t)support;
  above += (double)above < support;
  return above * 2 + 1;
}

/* For each of `wanted` pixels: its first source pixel, their number, and their coefficients. */
static void coefficients(int32_t size, int32_t wanted, double *row, int32_t *bounds, int32_t *result) {
  const int32_t room = taps(size, wanted);
  const double scale = (double)size / wanted;
  const double stretched = scale < 1.0 ? 1.0 : scale;
  const double support = SUPPORT * stretched, narrowed = 1.0 / stretched;
  for (int32_t x = 0; x < wanted; x++, bounds += 2, result += room) {
    const double centre = (x + 0.5) * scale;
    double total = 0.0;
    int32_t first = (int32_t)(centre - support + 0.5), last = (int32_t)(centre + support + 0.5);
    first = first < 0 ? 0 : first;
    last = last > size ? size : last;
    for (int32_t i = 0; i < last - first; i++) {
      row[i] = filter((i + first - centre + 0.5) * narrowed);
      total += row[i];
    }
    for (int32_t i = 0; i < last - first; i++) {
      if (total < 0.0 || total > 0.0) row[i] /= total;
      const double scaled = row[i] * (1 << BITS);
      result[i] = (int32_t)(scaled < 0 ? -0.5 + scaled : 0.5 + scaled);
    }
    bounds[0] = first;
    bounds[1] = last - first;
  }
}

static uint8_t clipped(int32_t sum) {
  sum = sum < 0 ? -1 : sum >> BITS;
  return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

static size_t rounded(size_t bytes) { return (bytes + 7) & ~(size_t)7; }

/* Parts of the scratch memory: the result, rows that have the right width, and lists. */
static size_t result_bytes(void) { return rounded((size_t)HEIGHT * WIDTH * CHANNELS); }

static size_t list_bytes(int32_t size, int32_t wanted) {
  const size_t room = (size_t)taps(size, wanted);
  return rounded(sizeof(int32_t) * (size_t)wanted * (room + 2)) + sizeof(double) * room;
}

size_t PREFIX_preprocess_bytes(int32_t height, int32_t width) {
  if (height < 1 || width < 1) return 8;
  return result_bytes() + rounded((size_t)height * WIDTH * CHANNELS) + list_bytes(width, WIDTH) +
         list_bytes(height, HEIGHT);
}

static uint8_t *result_of(void *scratch, int32_t height, int32_t width) {
  (void)height;
  (void)width;
  return (uint8_t *)scratch;
}

static void across(const uint8_t *pixels, int32_t height, int32_t width, int32_t channels, ptrdiff_t stride,
                   uint8_t *lists, uint8_t *rows) {
  const int32_t room = taps(width, WIDTH);
  double *row = (double *)(void *)lists;
  int32_t *bounds = (int32_t *)(void *)(row + room), *weights = bounds + 2 * WIDTH;
  if (width != WIDTH) coefficients(width, WIDTH, row, bounds, weights);
  for (int32_t y = 0; y < height; y++) {
    const uint8_t *line = pixels + y * stride;
    for (int32_t x = 0; x < WIDTH; x++) {
      if (width == WIDTH) {
        for (int32_t c = 0; c < CHANNELS; c++) *rows++ = channel(line + x * channels, channels, c);
        continue;
      }
      for (int32_t c = 0; c < CHANNELS; c++) {
        int32_t sum = 1 << (BITS - 1);
        for (int32_t i = 0; i < bounds[2 * x + 1]; i++)
          sum += channel(line + (bounds[2 * x] + i) * channels, channels, c) * weights[x * room + i];
        *rows++ = clipped(sum);
      }
    }
  }
}

static void down(const uint8_t *rows, int32_t height, uint8_t *lists, uint8_t *result) {
  const int32_t room = taps(height, HEIGHT), pitch = WIDTH * CHANNELS;
  double *row = (double *)(void *)lists;
  int32_t *bounds = (int32_t *)(void *)(row + room), *weights = bounds + 2 * HEIGHT;
  if (height != HEIGHT) coefficients(height, HEIGHT, row, bounds, weights);
  for (int32_t y = 0; y < HEIGHT; y++) {
    for (int32_t x = 0; x < pitch; x++) {
      if (height == HEIGHT) {
        *result++ = rows[y * pitch + x];
        continue;
      }
      int32_t sum = 1 << (BITS - 1);
      for (int32_t i = 0; i < bounds[2 * y + 1]; i++)
        sum += rows[(bounds[2 * y] + i) * pitch + x] * weights[y * room + i];
      *result++ = clipped(sum);
    }
  }
}

static void resized(const uint8_t *pixels, int32_t height, int32_t width, int32_t channels, ptrdiff_t stride,
                    void *scratch, uint8_t *result) {
  uint8_t *rows = (uint8_t *)scratch + result_bytes();
  uint8_t *lists = rows + rounded((size_t)height * WIDTH * CHANNELS);
  across(pixels, height, width, channels, stride, lists, rows);
  down(rows, height, lists + list_bytes(width, WIDTH), result);
}
"""

_ROUND = """/* The nearest whole number, the even one of two. */
static int32_t to_nearest(double number) {
  const int32_t whole = (int32_t)number;
  const double rest = number - whole;
  return whole + (rest > 0.5 || (rest >= 0.5 && whole % 2 == 1));
}

"""

_BODY = """
{round}{prefix}_status {prefix}_preprocess(const uint8_t *pixels, int32_t height, int32_t width, int32_t channels,
    ptrdiff_t stride, void *scratch, void *input) {{
  if (!pixels || !scratch || !input) return {upper}_NULL_POINTER;
  if (height < 1 || width < 1 || (channels != 1 && channels != 3)) return {upper}_WRONG_PICTURE;
{crop}  uint8_t *result = result_of(scratch, box_height, box_width);
  resized(pixels + top * stride + (ptrdiff_t)left * channels, box_height, box_width, channels, stride, scratch, result);
  {type} *elements = ({type} *)input;
  for (int32_t y = 0; y < HEIGHT; y++)
    for (int32_t x = 0; x < WIDTH; x++)
      for (int32_t c = 0; c < CHANNELS; c++) {{
        const uint8_t value = *result++;
        elements[{place}] = {table};
      }}
  return {upper}_OK;
}}
"""

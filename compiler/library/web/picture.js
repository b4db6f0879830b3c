
const FILTERS = {
  box: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, (x) => {
    const a = -0.5, t = Math.abs(x);
    if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
    return t < 2 ? (((t - 5) * t + 8) * t - 4) * a : 0;
  }],
  lanczos: [3, (x) => {
    const sinc = (v) => (v === 0 ? 1 : Math.sin(v * Math.PI) / (v * Math.PI));
    return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
  }],
};

/** For each place of the result: the first place that it is made of, and weights in units of 2^-22. */
function coefficients(size, goal, [support, filter]) {
  const scale = size / goal, stretch = Math.max(scale, 1), reach = support * stretch;
  return Array.from({ length: goal }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const last = Math.min(size, Math.trunc(centre + reach + 0.5));
    const weights = Array.from({ length: last - first }, (_, j) => filter((first + j - centre + 0.5) / stretch));
    const sum = weights.reduce((a, b) => a + b, 0);
    return [first, weights.map((w) => {
      const scaled = (sum === 0 ? w : w / sum) * 4194304;
      return Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    })];
  });
}

/** One direction of a resize: `lines` lines, whose pixels lie `step` apart, from `size` to `goal` pixels. */
function resample(source, channels, size, goal, lines, step, jump, filter) {
  const target = new Uint8Array(lines * goal * channels);
  const [to, over] = step === channels ? [channels, goal * channels] : [lines * channels, channels];
  coefficients(size, goal, filter).forEach(([first, weights], i) => {
    for (let line = 0; line < lines; line++) {
      for (let c = 0; c < channels; c++) {
        let sum = 2097152;
        for (let j = 0; j < weights.length; j++) sum += source[line * jump + (first + j) * step + c] * weights[j];
        target[line * over + i * to + c] = Math.max(0, Math.min(255, Math.floor(sum / 4194304)));
      }
    }
  });
  return target;
}

function resize(pixels, width, height, channels, goal) {
  if (width === goal.width && height === goal.height) return pixels;
  if (goal.resize === "nearest") {
    const target = new Uint8Array(goal.width * goal.height * channels);
    for (let y = 0; y < goal.height; y++) {
      for (let x = 0; x < goal.width; x++) {
        const from = Math.floor((y + 0.5) * height / goal.height) * width + Math.floor((x + 0.5) * width / goal.width);
        for (let c = 0; c < channels; c++) target[(y * goal.width + x) * channels + c] = pixels[from * channels + c];
      }
    }
    return target;
  }
  const filter = FILTERS[goal.resize];
  let made = pixels;
  if (width !== goal.width) {
    made = resample(made, channels, width, goal.width, height, channels, width * channels, filter);
  }
  if (height !== goal.height) {
    const row = goal.width * channels;
    made = resample(made, channels, height, goal.height, goal.width, row, channels, filter);
  }
  return made;
}

/** A picture, {data, width, height} with four bytes for each pixel as of a canvas, as the network's input. */
function preprocess({ data, width, height }) {
  const goal = facts.picture, { channels } = goal;
  let left = 0, top = 0, across = width, down = height;
  if (goal.crop) {
    const side = goal.crop * Math.min(width, height), below = Math.floor(side);
    const even = side - below === 0.5 ? below + (below % 2) : Math.round(side);
    across = down = Math.max(1, even);
    left = Math.floor((width - across) / 2);
    top = Math.floor((height - down) / 2);
  }
  const pixels = new Uint8Array(across * down * channels);
  for (let y = 0; y < down; y++) {
    for (let x = 0; x < across; x++) {
      const from = 4 * ((top + y) * width + left + x), to = (y * across + x) * channels;
      if (channels === 1) {
        pixels[to] = (data[from] * 19595 + data[from + 1] * 38470 + data[from + 2] * 7471 + 32768) >> 16;
      } else {
        for (let c = 0; c < 3; c++) pixels[to + c] = data[from + c];
      }
    }
  }
  const resized = resize(pixels, across, down, channels, goal);
  const tensor = facts.inputs[0];
  const values = new KINDS[tensor.dtype](count(tensor));
  const area = goal.width * goal.height;
  const [low, high] = { i8: [-128, 127], u8: [0, 255], i16: [-32768, 32767] }[tensor.dtype] ?? [-Infinity, Infinity];
  for (let at = 0; at < area * channels; at++) {
    const c = at % channels;
    let value = Math.fround((resized[at] / goal.divide - goal.mean[c]) / goal.std[c]);
    if (high < Infinity) {
      if (tensor.scale !== undefined) value = value / tensor.scale + tensor.zeroPoint;
      value = Math.max(low, Math.min(high, Math.floor(value + 0.5)));
    }
    values[goal.channelsFirst ? c * area + (at - c) / channels : at] = value;
  }
  return values;
}


const $ = (id) => document.getElementById(id);
const state = (word) => { document.body.dataset.state = word; };

function fail(error) {
  $("error").textContent = String(error.message ?? error);
  $("error").hidden = false;
  state("error");
}

function decoded(text) {
  const characters = atob(text), bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

function row(table, cells) {
  const line = table.insertRow();
  for (const [content, kind] of cells) {
    const cell = line.insertCell();
    cell.className = kind ?? "";
    cell.append(content);
  }
}

function bar(share) {
  const outer = document.createElement("div"), inner = document.createElement("div");
  outer.className = "bar";
  inner.style.width = `${Math.max(0.5, 100 * share)}%`;
  outer.append(inner);
  return outer;
}

function show(results, milliseconds) {
  const table = $("answer");
  table.replaceChildren();
  if (facts.classes) {
    for (const { label, probability } of classify(results)) {
      row(table, [[label, "label"], [bar(probability), "share"], [`${(100 * probability).toFixed(1)} %`, "number"]]);
    }
  } else {
    row(table, [["output"], ["shape"], ["smallest", "number"], ["largest", "number"], ["mean", "number"]]);
    for (const tensor of facts.outputs) {
      const values = real(tensor, results[tensor.name]);
      const sum = values.reduce((a, b) => a + b, 0);
      const ends = [Math.min, Math.max].map((pick) => values.reduce((a, b) => pick(a, b)));
      const numbers = [...ends, sum / values.length].map((v) => [v.toPrecision(4), "number"]);
      row(table, [[tensor.name, "label"], [`${tensor.dtype} [${tensor.shape.join(", ")}]`], ...numbers]);
    }
  }
  $("time").textContent = Number.isNaN(milliseconds) ? "" : `${milliseconds.toFixed(milliseconds < 10 ? 2 : 1)} ms`;
  $("result").hidden = false;
  state("done");
}

/** Runs and shows the answer; the time is the mean of repetitions, as clocks of browsers are coarse. */
function answer(network, inputs) {
  try {
    let results = network.run(inputs), runs = 0;
    const start = performance.now();
    if (!facts.hasState) {
      do {
        results = network.run(inputs);
        runs++;
      } while (performance.now() - start < 10 && runs < 20);
    }
    show(results, runs ? (performance.now() - start) / runs : NaN);
  } catch (error) {
    fail(error);
  }
}

function scratch(width, height) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#000";
  context.fillRect(0, 0, width, height);
  return context;
}

async function open(network, file) {
  try {
    const image = await createImageBitmap(file, { colorSpaceConversion: "none" });
    const context = scratch(image.width, image.height);
    context.drawImage(image, 0, 0);
    const view = $("picture");
    Object.assign(view, { width: image.width, height: image.height, hidden: false });
    view.getContext("2d").drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, image.width, image.height);
    answer(network, { [facts.inputs[0].name]: preprocess(pixels) });
  } catch (error) {
    fail(new Error(`this file can't be read as a picture (${error.message})`));
  }
}

/** What was drawn, as data sets of digits have it: five sevenths of the picture high or wide, centred by its mass. */
function drawn(canvas) {
  const { width, height } = facts.picture, context = canvas.getContext("2d");
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  let left = Infinity, right = -1, top = Infinity, bottom = -1, mass = 0, mx = 0, my = 0;
  for (let y = 0; y < canvas.height; y++) {
    for (let x = 0; x < canvas.width; x++) {
      const ink = data[4 * (y * canvas.width + x)];
      if (!ink) continue;
      [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
      mass += ink; mx += ink * x; my += ink * y;
    }
  }
  if (!mass) return null;
  const scale = (5 / 7) * Math.min(width, height) / Math.max(right - left + 1, bottom - top + 1);
  const target = scratch(width, height);
  target.imageSmoothingQuality = "high";
  target.setTransform(scale, 0, 0, scale, width / 2 - scale * mx / mass, height / 2 - scale * my / mass);
  target.drawImage(canvas, 0, 0);
  return target.getImageData(0, 0, width, height);
}

function drawing(network) {
  const canvas = $("drawing"), context = canvas.getContext("2d", { willReadFrequently: true });
  let last = null;
  const clear = () => {
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    $("result").hidden = true;
    state("ready");
  };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height];
  };
  const stroke = (to) => {
    Object.assign(context, { lineWidth: 22, lineCap: "round", lineJoin: "round", strokeStyle: "#fff" });
    context.beginPath();
    context.moveTo(...last);
    context.lineTo(...to);
    context.stroke();
    last = to;
  };
  const ask = () => {
    const pixels = drawn(canvas);
    if (pixels) answer(network, { [facts.inputs[0].name]: preprocess(pixels) });
  };
  canvas.addEventListener("pointerdown", (event) => {
    last = place(event);
    stroke(last);
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    stroke(place(event));
    ask();
  });
  addEventListener("pointerup", () => {
    if (last) ask();
    last = null;
  });
  $("clear").addEventListener("click", clear);
  clear();
}

function random(tensor) {
  const values = new KINDS[tensor.dtype](count(tensor));
  const isFloat = tensor.dtype.startsWith("f");
  const make = { i64: () => 0n, f16: () => 0, bool: () => Math.random() * 2 }[tensor.dtype];
  for (let i = 0; i < values.length; i++) {
    values[i] = make ? make() : Math.random() * (isFloat ? 1 : tensor.scale === undefined ? 2 : 256);
  }
  return values;
}

async function main() {
  state("loading");
  if (typeof data === "undefined") throw new Error(`${facts.prefix}.data.js, which has code and weights, isn't beside this page`);
  const network = await create(decoded(data.code), data.weights && decoded(data.weights));
  delete data.code;
  delete data.weights;
  if (facts.picture) {
    $("file").addEventListener("change", (event) => {
      if (event.target.files[0]) open(network, event.target.files[0]);
    });
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files[0]) open(network, event.dataTransfer.files[0]);
    });
    addEventListener("paste", (event) => {
      if (event.clipboardData.files[0]) open(network, event.clipboardData.files[0]);
    });
  } else {
    $("run").addEventListener("click", () => {
      answer(network, Object.fromEntries(facts.inputs.map((t) => [t.name, random(t)])));
    });
  }
  if ($("drawing")) drawing(network);
  state("ready");
  return network;
}

const ready = main();
ready.catch(fail);

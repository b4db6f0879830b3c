const KINDS = {
  f64: Float64Array, f32: Float32Array, f16: Uint16Array, i64: BigInt64Array, i32: Int32Array, i16: Int16Array,
  i8: Int8Array, u8: Uint8Array, bool: Uint8Array,
};

const count = (tensor) => tensor.shape.reduce((product, size) => product * size, 1);

const check = (status) => {
  if (status) throw new Error(`${facts.name}: ${facts.meanings[status] ?? `status ${status}`}`);
};

/** Where each thing lies in a memory: the workspace, the file of weights, tensors, tables of them, and `more` in bytes. */
function plan(weightsBytes, more = []) {
  let top = facts.heap;
  const place = (bytes) => {
    const start = Math.ceil(top / 64) * 64;
    top = start + bytes;
    return start;
  };
  const workspace = place(facts.workspaceBytes), file = place(weightsBytes);
  const places = {};
  for (const side of ["inputs", "outputs"]) {
    places[side] = facts[side].map((t) => place(count(t) * KINDS[t.dtype].BYTES_PER_ELEMENT));
  }
  const tables = ["inputs", "outputs"].map((side) => place(4 * places[side].length));
  return { workspace, file, places, tables, more: more.map(place), pages: Math.ceil(top / 65536) };
}

/** The network in a WebAssembly instance: its memory, and one run at a time. */
class Network {
  threads = 1;
  /** Why there are fewer threads than were asked for. */
  note = "";
  #exports; #plan; #buffers;
  #views = { inputs: {}, outputs: {} };

  constructor(exports, memory, plan, weights) {
    const { workspace, file, places, tables, pages } = plan, missing = pages - memory.buffer.byteLength / 65536;
    if (missing > 0) memory.grow(missing);
    this.#exports = exports;
    this.#plan = plan;
    this.#buffers = places.inputs[0] ?? places.outputs[0];
    const { buffer } = memory;
    ["inputs", "outputs"].forEach((side, i) => {
      new Uint32Array(buffer, tables[i], places[side].length).set(places[side]);
      facts[side].forEach((t, j) => {
        this.#views[side][t.name] = new KINDS[t.dtype](buffer, places[side][j], count(t));
      });
    });
    if (weights) {
      new Uint8Array(buffer, file, weights.byteLength).set(weights);
      this.#call("bind", workspace, file, weights.byteLength);
    }
    if (facts.hasState) this.#call("reset", workspace);
  }

  #call(name, ...operands) {
    check(this.#exports[`${facts.prefix}_${name}`](...operands));
  }

  _put(inputs) {
    for (const tensor of facts.inputs) {
      const given = inputs[tensor.name], view = this.#views.inputs[tensor.name];
      if (!given) throw new TypeError(`${facts.name}: the input ${tensor.name} is missing`);
      if (given.length !== view.length) {
        throw new RangeError(`${facts.name}: ${tensor.name} has ${view.length} elements, not ${given.length}`);
      }
      view.set(given);
    }
  }

  _take() {
    return Object.fromEntries(Object.entries(this.#views.outputs).map(([name, view]) => [name, view.slice()]));
  }

/** Compute all outputs, as fresh arrays by name, from inputs: arrays by name, row by row. */
  run(inputs) {
    this._put(inputs);
    this.#call("run", this.#plan.workspace, ...this.#plan.tables);
    return this._take();
  }

  /** The same on all threads, as a promise; one run at a time. */
  async compute(inputs) {
    return this.run(inputs);
  }

  /** End its threads: it is of no use after that. */
  async stop() {}

  /** Run a stored input; an error says so if the answer isn't the stored one. */
  selftest() {
    if (facts.hasSelftest) this.#call("selftest", this.#plan.workspace, this.#buffers);
  }

  /** Give the state that the network keeps from run to run its first values. */
  reset() {
    if (facts.hasState) this.#call("reset", this.#plan.workspace);
  }
}

/** A network of its code (bytes or a compiled module) and the bytes of its weights, unless the code has them. */
async function create(code, weights) {
  const module = code instanceof WebAssembly.Module ? code : await WebAssembly.compile(code);
  const bytes = weightBytes(weights);
  const { exports } = await WebAssembly.instantiate(module, {});
  return new Network(exports, exports.memory, plan(bytes?.byteLength ?? 0), bytes);
}

/** The file of the weights, if there is one. */
function weightBytes(weights) {
  if (!facts.files.weights) return null;
  if (!weights) throw new TypeError(`${facts.name}: the weights are missing`);
  return ArrayBuffer.isView(weights)
    ? new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength)
    : new Uint8Array(weights);
}

/** The numbers that the elements of a quantized tensor stand for; those of others as they are. */
function real(tensor, values) {
  if (tensor.scale === undefined) return Float64Array.from(values, Number);
  return Float64Array.from(values, (v) => (v - tensor.zeroPoint) * tensor.scale);
}

/** The most probable classes of a row of scores: [{index, label, probability}]. */
function classify(outputs, most = 5) {
  const tensor = facts.outputs[0];
  const scores = real(tensor, outputs[tensor.name]);
  let shares = scores;
  if (!facts.probable) {
    const highest = scores.reduce((a, b) => Math.max(a, b), -Infinity);
    shares = scores.map((s) => Math.exp(s - highest));
    const sum = shares.reduce((a, b) => a + b, 0);
    shares = shares.map((s) => s / sum);
  }
  const order = Array.from(shares.keys()).sort((a, b) => shares[b] - shares[a] || a - b).slice(0, most);
  return order.map((index) => ({
    index, label: facts.labels[index] ?? `class ${index}`, probability: shares[index],
  }));
}

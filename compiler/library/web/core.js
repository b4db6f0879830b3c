const KINDS = {
  f64: Float64Array, f32: Float32Array, f16: Uint16Array, i64: BigInt64Array, i32: Int32Array, i16: Int16Array,
  i8: Int8Array, u8: Uint8Array, bool: Uint8Array,
};

const count = (tensor) => tensor.shape.reduce((product, size) => product * size, 1);

/** The network in a WebAssembly instance: its memory, and one run at a time. */
class Network {
  #memory; #exports; #workspace; #tables; #buffers;
  #views = { inputs: {}, outputs: {} };

  constructor(exports, weights) {
    let top = facts.heap;
    const place = (bytes) => {
      const start = Math.ceil(top / 64) * 64;
      top = start + bytes;
      return start;
    };
    this.#exports = exports;
    this.#memory = exports.memory;
    this.#workspace = place(facts.workspaceBytes);
    const file = place(weights?.byteLength ?? 0);
    const places = {};
    for (const side of ["inputs", "outputs"]) {
      places[side] = facts[side].map((t) => place(count(t) * KINDS[t.dtype].BYTES_PER_ELEMENT));
    }
    this.#tables = ["inputs", "outputs"].map((side) => place(4 * places[side].length));
    this.#buffers = places.inputs[0] ?? places.outputs[0];
    const missing = Math.ceil((top - this.#memory.buffer.byteLength) / 65536);
    if (missing > 0) this.#memory.grow(missing);
    const { buffer } = this.#memory;
    ["inputs", "outputs"].forEach((side, i) => {
      new Uint32Array(buffer, this.#tables[i], places[side].length).set(places[side]);
      facts[side].forEach((t, j) => {
        this.#views[side][t.name] = new KINDS[t.dtype](buffer, places[side][j], count(t));
      });
    });
    if (weights) {
      new Uint8Array(buffer, file, weights.byteLength).set(weights);
      this.#call("bind", this.#workspace, file, weights.byteLength);
    }
    if (facts.hasState) this.reset();
  }

  #call(name, ...operands) {
    const status = this.#exports[`${facts.prefix}_${name}`](...operands);
    if (status) throw new Error(`${facts.name}: ${facts.meanings[status] ?? `status ${status}`}`);
  }

  /** Compute all outputs, as fresh arrays by name, from inputs: arrays by name, row by row. */
  run(inputs) {
    for (const tensor of facts.inputs) {
      const given = inputs[tensor.name], view = this.#views.inputs[tensor.name];
      if (!given) throw new TypeError(`${facts.name}: the input ${tensor.name} is missing`);
      if (given.length !== view.length) {
        throw new RangeError(`${facts.name}: ${tensor.name} has ${view.length} elements, not ${given.length}`);
      }
      view.set(given);
    }
    this.#call("run", this.#workspace, ...this.#tables);
    return Object.fromEntries(Object.entries(this.#views.outputs).map(([name, view]) => [name, view.slice()]));
  }

  /** Run a stored input; an error says so if the answer isn't the stored one. */
  selftest() {
    if (facts.hasSelftest) this.#call("selftest", this.#workspace, this.#buffers);
  }

  /** Give the state that the network keeps from run to run its first values. */
  reset() {
    if (facts.hasState) this.#call("reset", this.#workspace);
  }
}

/** A network of its code (bytes or a compiled module) and the bytes of its weights, unless the code has them. */
async function create(code, weights) {
  const module = code instanceof WebAssembly.Module ? code : await WebAssembly.compile(code);
  const { exports } = await WebAssembly.instantiate(module, {});
  if (!facts.files.weights) return new Network(exports, null);
  if (!weights) throw new TypeError(`${facts.name}: the weights are missing`);
  return new Network(exports, ArrayBuffer.isView(weights)
    ? new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength)
    : new Uint8Array(weights));
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

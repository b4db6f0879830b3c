// Runs of networks for `browser.py`, in Node and in a browser: outputs for given inputs, and times beside
// onnxruntime-web. `read` gives the bytes of a file, `load` the module of one, by its address.

export function inputsOf(module, bytes) {
  let at = 0;
  const kinds = { f32: Float32Array, i32: Int32Array, i16: Int16Array, i8: Int8Array, u8: Uint8Array, bool: Uint8Array };
  return Object.fromEntries(module.inputs.map((tensor) => {
    const kind = kinds[tensor.dtype], count = tensor.shape.reduce((a, b) => a * b, 1);
    const size = count * kind.BYTES_PER_ELEMENT;
    const values = new kind(bytes.buffer.slice(bytes.byteOffset + at, bytes.byteOffset + at + size));
    at += size;
    return [tensor.name, values];
  }));
}

/** The bytes of all outputs, as hexadecimal digits. */
export async function answers({ read, load }, job) {
  const module = await load(job.module);
  const network = await module.create(await read(job.code), await read(job.weights));
  network.selftest();
  const results = network.run(inputsOf(module, new Uint8Array(await read(job.inputs))));
  return module.outputs.map(({ name }) => {
    const { buffer, byteOffset, byteLength } = results[name];
    return Array.from(new Uint8Array(buffer, byteOffset, byteLength), (b) => b.toString(16).padStart(2, "0")).join("");
  });
}

/** Milliseconds of each round for netc and for onnxruntime-web, one run of each in turn. */
export async function times({ read, load, clock }, job) {
  const module = await load(job.module);
  const network = await module.create(await read(job.code), await read(job.weights));
  const ort = await load(job.ort);
  Object.assign(ort.env.wasm, { numThreads: 1, wasmPaths: job.wasmPaths });
  ort.env.logLevel = "fatal";
  const session = await ort.InferenceSession.create(new Uint8Array(await read(job.onnx)), { executionProviders: ["wasm"] });
  const random = (count) => Float32Array.from({ length: count }, Math.random);
  const count = module.inputs[0].shape.reduce((a, b) => a * b, 1);
  const values = module.inputs[0].dtype === "f32" ? random(count) : random(count).map((v) => 127 * v);
  const ours = { [module.inputs[0].name]: values };
  const theirs = { [session.inputNames[0]]: new ort.Tensor("float32", random(count), job.dims) };
  const rounds = [];
  for (let i = -3; i < job.rounds; i++) {
    const start = clock();
    network.run(ours);
    const middle = clock();
    await session.run(theirs);
    const end = clock();
    if (i >= 0) rounds.push([middle - start, end - middle]);
  }
  return rounds;
}

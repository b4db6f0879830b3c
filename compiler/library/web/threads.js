
const { most, code: sharedCode, worker: workerFile } = facts.threads;
const MARK = 0xa5, MARKED = 64;

/** Why memory can't be shared with workers here; empty if it can. */
function whyUnshared() {
  if (globalThis.crossOriginIsolated === false) return "the page isn't cross-origin isolated";
  return typeof SharedArrayBuffer === "undefined" ? "there is no SharedArrayBuffer" : "";
}

/** A worker of a browser or of Node; answers and errors go to two functions. */
async function spawn(url, answered, failed) {
  if (typeof Worker === "undefined") {
    const threads = await import("node:worker_threads");
    return new threads.Worker(url, { execArgv: [] }).on("message", answered).on("error", failed);
  }
  const worker = new Worker(url, { type: "module" });
  worker.onmessage = ({ data }) => answered(data);
  worker.onerror = (event) => failed(new Error(event.message || `${url} can't be loaded`));
  return worker;
}

/** A worker with an instance of its own: `ask` sends it a message and gives a promise of its answer. */
async function hire(url, start) {
  let pending;
  const answer = () => new Promise((resolve, reject) => { pending = { resolve, reject }; });
  const alive = answer();
  const worker = await spawn(
    url,
    ({ error, status }) => (error ? pending.reject(new Error(error)) : pending.resolve(status)),
    (error) => pending.reject(error),
  );
  const ask = (message) => {
    const answered = answer();
    worker.postMessage(message);
    return answered;
  };
  try {
    await alive;
    await ask(start);
  } catch (error) {
    worker.terminate();
    throw error;
  }
  return { ask, end: () => worker.terminate() };
}

/** The network on several threads: workers compute, as a page's own thread may not wait. */
class ThreadedNetwork extends Network {
  #plan; #workers; #marks; #failure; #state = "free";

  constructor(exports, memory, plan, weights, workers) {
    super(exports, memory, plan, weights);
    const [context, ...stacks] = plan.more, { prefix } = facts;
    this.#plan = plan;
    this.#workers = workers;
    this.threads = workers.length;
    this.#marks = stacks.map((stack) => new Uint8Array(memory.buffer, stack, MARKED).fill(MARK));
    check(exports[`${prefix}_context_start`](context, plan.workspace, workers.length));
    const { offset, bytes } = facts.threads;
    const works = workers.slice(1).map((worker, i) => {
      return worker.ask({ call: `${prefix}_worker`, operands: [context + offset + bytes * (i + 1)] });
    });
    this.#failure = new Promise((_, reject) => works.forEach((work) => work.catch(reject)));
    this.#failure.catch(() => this.#end());
  }

  #end() {
    this.#state = "stopped";
    this.#workers.forEach((worker) => worker.end());
  }

  #free() {
    if (this.#state === "free") return;
    throw new Error(`${facts.name}: ${this.#state === "busy" ? "a run is under way" : "its threads have ended"}`);
  }

  async compute(inputs) {
    this.#free();
    this._put(inputs);
    this.#state = "busy";
    const call = { call: `${facts.prefix}_context_run`, operands: [this.#plan.more[0], ...this.#plan.tables] };
    try {
      check(await Promise.race([this.#workers[0].ask(call), this.#failure]));
    } catch (error) {
      this.#end();
      throw error;
    }
    if (!this.#marks.every((mark) => mark.every((byte) => byte === MARK))) {
      this.#end();
      throw new Error(`${facts.name}: a thread's stack is too small`);
    }
    this.#state = "free";
    return this._take();
  }

  run(inputs) {
    this.#free();
    return super.run(inputs);
  }

  selftest() {
    this.#free();
    super.selftest();
  }

  reset() {
    this.#free();
    super.reset();
  }

  async stop() {
    if (this.#state === "stopped") return;
    this.#free();
    this.#state = "busy";
    await this.#workers[0].ask({ call: `${facts.prefix}_context_stop`, operands: [this.#plan.more[0]] });
    this.#end();
  }
}

async function startThreads(weights, count) {
  const files = [read(sharedCode), weights ?? (facts.files.weights && read(facts.files.weights))];
  const [code, file] = await Promise.all(files);
  const module = await WebAssembly.compile(code);
  const bytes = weightBytes(file), { contextBytes, stackBytes } = facts.threads;
  const places = plan(bytes?.byteLength ?? 0, [contextBytes, ...Array(count).fill(stackBytes)]);
  const memory = new WebAssembly.Memory({ initial: places.pages, maximum: places.pages, shared: true });
  const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
  const url = new URL(workerFile, import.meta.url);
  const hired = await Promise.allSettled(places.more.slice(1).map((stack) => {
    return hire(url, { module, memory, stack: stack + stackBytes });
  }));
  const workers = hired.filter(({ status }) => status === "fulfilled").map(({ value }) => value);
  const failed = hired.find(({ status }) => status === "rejected");
  if (failed) {
    workers.forEach((worker) => worker.end());
    throw failed.reason;
  }
  return new ThreadedNetwork(exports, memory, places, bytes, workers);
}

/** The network on up to so many threads; on one, with a note that says why, where there can't be more. */
async function loadThreads({ threads = 1, ...sources } = {}) {
  const count = Math.min(Math.trunc(threads), most);
  let note = "";
  if (count > 1) {
    note = whyUnshared();
    try {
      if (!note) return await startThreads(sources.weights, count);
    } catch (error) {
      note = error.message;
    }
  }
  const network = await load(sources);
  network.note = note && `${facts.name} runs on one thread: ${note}`;
  return network;
}

// A thread of a network: an instance of its code, in memory that all of them share.

const port = typeof process !== "undefined" && process.versions?.node
  ? (await import("node:worker_threads")).parentPort
  : self;
let exports;

async function receive({ module, memory, stack, call, operands }) {
  if (call) return exports[call](...operands);
  ({ exports } = await WebAssembly.instantiate(module, { env: { memory } }));
  exports.stack.value = stack;
  return 0;
}

const answer = (message) => receive(message).then(
  (status) => port.postMessage({ status }),
  (error) => port.postMessage({ error: String(error) }),
);
if (port === globalThis) port.onmessage = ({ data }) => answer(data);
else port.on("message", answer);
port.postMessage({ status: 0 }); // what is sent before may be lost


async function read(name) {
  const url = new URL(name, import.meta.url);
  if (url.protocol === "file:" && typeof process !== "undefined") {
    const { readFile } = await import("node:fs/promises");
    return readFile(url);
  }
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${answer.statusText}`);
  return answer.arrayBuffer();
}

/** The network, from the files beside this one unless `code` or `weights` are given. */
async function load({ code, weights } = {}) {
  const given = { code, weights };
  const [c, w] = await Promise.all(["code", "weights"].map((what) => {
    return given[what] ?? (facts.files[what] && read(facts.files[what]));
  }));
  return create(c, w);
}

const { inputs, outputs, labels } = facts;

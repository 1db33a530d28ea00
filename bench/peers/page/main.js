/** The page of one visit: what ../visit.ts calls is put on the global here. */

/** @type {import("../visit").Engine} */
let engine;

/** @type {typeof globalThis.openEngine} */
const openEngine = async (module, device) => {
  engine = await (await import(module)).open(device);
  return engine.version;
};

/** @type {typeof globalThis.generateTokens} */
const generateTokens = async (prompt, tokens) => {
  const before = await globalThis.gpuCounts();
  const generation = await engine.generate(prompt, tokens);
  const after = await globalThis.gpuCounts();
  const { dispatches, submits, buffers, maps } = before;
  const gpu = {
    dispatches: after.dispatches - dispatches,
    submits: after.submits - submits,
    buffers: after.buffers - buffers,
    maps: after.maps - maps,
  };
  return { ...generation, gpu };
};

const gpuName = async () => {
  const info = (await navigator.gpu?.requestAdapter())?.info;
  return info ? [info.vendor, info.architecture].filter(Boolean).join(" ") || "unnamed" : "none";
};

Object.assign(globalThis, { openEngine, generateTokens, gpuName });

// A module, with names of its own.
export {};

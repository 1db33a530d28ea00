import { describe, expect, it } from "vitest";
import { uniformBits } from "../../runtime/palettize/plan";
import { type CompilePlan, encodeBits, parsePlan, planBits } from "../../runtime/palettize/plan-file";
import { parseSensitivityFile, type SensitivityFile, sensitivityMap } from "../../runtime/palettize/sensitivity-file";
import { tinyConfig } from "./checkpoint";

const SHA = "0123456789abcdef".repeat(4);
const config = tinyConfig();
const bits = new Map(uniformBits(config, 3)).set("model.layers.0.mlp.up_proj", Uint8Array.of(2, 3, 4));

const plan: CompilePlan = {
  version: 1,
  madeBy: "ochre 0.1.0",
  sourceSha256: SHA,
  seed: 1,
  calibration: { kind: "text", tokens: 8192, sha256: SHA },
  kept: 8,
  elastic: false,
  averageBits: 3.5,
  widths: [2, 3, 4],
  sensitivities: { "model.layers.0.mlp.up_proj": 0.25 },
  bits: encodeBits(bits),
};
const read = (json: unknown) => parsePlan("plan.json", JSON.parse(JSON.stringify(json)));

describe("a plan", () => {
  it("comes back from its file as it was, one digit a block", () => {
    expect(plan.bits["model.layers.0.mlp.up_proj"]).toBe("234");
    expect(read(plan)).toEqual(plan);
    expect(planBits("plan.json", read(plan), config, SHA)).toEqual(bits);
  });

  it.each([
    { kind: "none", tokens: 0 },
    { kind: "random", tokens: 512 },
  ] as const)("with calibration %o, too", (calibration) => {
    expect(read({ ...plan, calibration })).toEqual({ ...plan, calibration });
  });

  it("from before columns were kept and codes could be cut keeps none and cuts none", () => {
    const { kept: _, elastic: __, ...older } = plan;
    expect(read(older)).toEqual({ ...plan, kept: 0, elastic: false });
  });

  it("of another source is refused, both named", () => {
    const other = "f".repeat(64);
    expect(() => planBits("plan.json", plan, config, other)).toThrow(
      `[plan.json] the plan was made for the source with SHA-256 ${SHA} but this one has ${other}: give that one`,
    );
  });

  it("of another version is refused", () => {
    expect(() => read({ ...plan, version: 2 })).toThrow("[plan.json] version must be 1 but is 2");
    expect(() => read({ ...plan, version: 2 })).toThrow(expect.objectContaining({ code: "MODEL_UNSUPPORTED" }));
  });

  it("of another model is refused", () => {
    const change = (name: string, digits?: string) => {
      const { [name]: _, ...others } = plan.bits;
      return () =>
        planBits("plan.json", { ...plan, bits: digits === undefined ? others : { ...others, [name]: digits } }, config, SHA);
    };
    expect(change("model.layers.1.mlp.up_proj")).toThrow("bits of model.layers.1.mlp.up_proj must be 3 digits but are 0");
    expect(change("model.layers.1.mlp.up_proj", "33")).toThrow("must be 3 digits but are 2");
    expect(change("model.layers.9.mlp.up_proj", "333")).toThrow('bits name "model.layers.9.mlp.up_proj"');
    expect(change("toString", "333")).toThrow('bits name "toString"');
  });
});

describe("a plan that cannot be", () => {
  it.each<[string, unknown, RegExp]>([
    ["version", "1", /version must be a whole number/],
    ["version", undefined, /version/],
    ["madeBy", 7, /madeBy must be a string/],
    ["sourceSha256", "abc", /sourceSha256 must be a string like/],
    ["sourceSha256", SHA.toUpperCase(), /sourceSha256/],
    ["seed", -1, /seed must be a whole number from 0/],
    ["seed", 2 ** 32 - 1, /seed/],
    ["seed", 1.5, /seed/],
    ["calibration", null, /calibration\] must be an object with kind and tokens but is null/],
    ["calibration", { kind: "magic", tokens: 1 }, /kind must be "none", "random" or "text" but is "magic"/],
    ["calibration", { kind: "text", tokens: 1 }, /sha256/],
    ["calibration", { kind: "random", tokens: 1e9 }, /tokens must be a whole number from 1 to 1048576/],
    ["calibration", { kind: "random", tokens: 0 }, /tokens/],
    ["kept", 17, /kept must be a whole number from 0 to 16/],
    ["kept", "8", /kept must be a whole number/],
    ["elastic", 1, /elastic must be true or false but is 1/],
    ["averageBits", 0, /averageBits must be a number above 0/],
    ["averageBits", null, /averageBits/],
    ["widths", [2, 5], /widths must list some of 2, 3 and 4 but is a list of 2/],
    ["widths", [], /widths/],
    ["widths", "234", /widths must list some of 2, 3 and 4 but is "234"/],
    ["sensitivities", [], /sensitivities must be an object but is a list of 0/],
    ["sensitivities", { a: -1 }, /sensitivities of "a" cannot be -1/],
    ["sensitivities", { a: "1" }, /sensitivities of "a" cannot be "1"/],
    ["bits", undefined, /bits must be an object but is undefined/],
    ["bits", { a: "2345" }, /bits of "a" cannot be "2345"/],
    ["bits", { a: "" }, /bits of "a" cannot be ""/],
    ["bits", { a: 234 }, /bits of "a" cannot be 234/],
    ["bits", { a: ["2"] }, /bits of "a" cannot be a list of 1/],
  ])("%s: %j", (field, value, message) => {
    expect(() => read({ ...plan, [field]: value })).toThrow(message);
  });

  it("a name like __proto__ stays a name", () => {
    const json = JSON.parse(JSON.stringify(plan).replace('"bits":{', '"bits":{"__proto__":"4",'));
    const parsed = parsePlan("plan.json", json);
    expect(Object.hasOwn(parsed.bits, "__proto__")).toBe(true);
    expect(() => planBits("plan.json", parsed, config, SHA)).toThrow('bits name "__proto__"');
  });
});

describe("measured sensitivities", () => {
  const file: SensitivityFile = {
    version: 1,
    madeBy: "ochre 0.1.0",
    sourceSha256: SHA,
    seed: 1,
    calibration: plan.calibration,
    bits: 2,
    linears: { a: { kl: 0.5, error: 2 }, b: { kl: 0, error: 0 } },
  };
  const readFile = (json: unknown) => parseSensitivityFile("s.json", JSON.parse(JSON.stringify(json)));

  it("come back from their file, and are nats for each unit of error", () => {
    expect(readFile(file)).toEqual(file);
    expect(sensitivityMap("s.json", file, SHA, ["a", "b"])).toEqual({ a: 0.25, b: 0 });
  });

  it("must be whole, and of the same source", () => {
    expect(() => sensitivityMap("s.json", file, SHA, ["a", "c"])).toThrow(
      "every linear but c is not measured: go on with ochre sensitivity",
    );
    expect(() => sensitivityMap("s.json", file, "f".repeat(64), ["a"])).toThrow(
      /measured on the source with SHA-256 0123.* but this one has ffff/,
    );
  });

  it.each<[string, unknown, RegExp]>([
    ["version", 2, /version must be 1 but is 2/],
    ["bits", 5, /bits must be a whole number from 2 to 4/],
    ["linears", { a: { kl: -1, error: 1 } }, /linears of "a" cannot be an object/],
    ["linears", { a: { kl: 1 } }, /linears of "a"/],
    ["linears", { a: 1 }, /linears of "a" cannot be 1/],
    ["linears", null, /linears must be an object/],
  ])("%s: %j is refused", (field, value, message) => {
    expect(() => readFile({ ...file, [field]: value })).toThrow(message);
  });
});

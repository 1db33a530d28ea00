/** The pure parts of bench/peers/, and what its packages must not do to the SDK. */
import fs from "node:fs";
import { describe, expect, it } from "vitest";
import { figure, perToken, type Row, ratios, row, speeds, toMarkdown } from "../../bench/peers/report";
import { affordable, type Counted, OCHRE, type Visit } from "../../bench/peers/visit";
import { median } from "../../bench/statistics";

const NOTHING = { dispatches: 0, submits: 0, buffers: 0, maps: 0 };

/** 4 tokens read in 0.5 s; `generated` written, a tenth of a second apart. */
function counted(generated: number, gpu = NOTHING): Counted {
  const arrivals = Array.from({ length: generated }, (_, i) => 1500 + 100 * i);
  const [endedAt] = arrivals.slice(-1);
  return { calledAt: 1000, arrivals, endedAt, promptTokens: 4, generated, text: " hello", gpu };
}

const VISIT: Visit = {
  version: "1.2.3",
  gpu: "acme one",
  browser: "Chrome 153",
  single: counted(1, { dispatches: 100, submits: 5, buffers: 7, maps: 1 }),
  short: counted(5, { dispatches: 900, submits: 9, buffers: 9, maps: 5 }),
  long: { ...counted(3, { ...NOTHING, dispatches: 1 }), promptTokens: 40 },
};

const decode = (ids: number[]) => ids.join(" ");

it("the median is the middle one, or the mean of the two in the middle", () => {
  expect([median([]), median([3]), median([9, 1, 2]), median([4, 1, 9, 2])]).toEqual([undefined, 3, 2, 3]);
});

describe("speeds", () => {
  it("count from the call to the first token, and from there to the end", () => {
    expect(speeds(VISIT)).toEqual({ shortPrefill: 8, shortDecode: 10, longPrefill: 80, longDecode: 10 });
  });

  it("are absent where nothing came, or a single token", () => {
    const { calledAt, endedAt, ...rest } = counted(1);
    expect(
      speeds({ short: { ...rest, calledAt, endedAt }, long: { ...rest, calledAt, endedAt: calledAt, arrivals: [] } }),
    ).toEqual({
      shortPrefill: 8,
      shortDecode: undefined,
      longPrefill: undefined,
      longDecode: undefined,
    });
  });
});

it("what a decoded token asks of the GPU is what many tokens ask more than one", () => {
  expect(perToken(counted(1), counted(1))).toBeUndefined();
  expect(row("a", [VISIT], decode).perToken).toEqual({ dispatches: 200, submits: 1, buffers: 0.5, maps: 1 });
});

describe("an engine's row", () => {
  it("names the backend by what was dispatched", () => {
    expect(row("a", [VISIT], decode)).toMatchObject({ version: "1.2.3", backend: "WebGPU, acme one", text: " hello" });
    expect(row("a", [{ ...VISIT, long: { ...counted(3), text: undefined, ids: [7, 8] } }], decode)).toMatchObject({
      backend: "CPU",
      text: "7 8",
    });
  });

  it("is its failure where it failed once", () => {
    const failure = new Error("page.evaluate: Error: no shader-f16\n    at somewhere");
    expect(row("a", [VISIT, failure], decode)).toEqual({ title: "a", failure: "no shader-f16", speeds: [] });
  });
});

describe("ratios", () => {
  const rounds = (title: string, ...decoded: number[]): Row => ({
    title,
    speeds: decoded.map((shortDecode) => ({ shortDecode })),
  });

  it("compare round by round, then take the median", () => {
    // The second round was half as fast for both: the ratio does not see it.
    const [ratio] = ratios([rounds(OCHRE, 40, 20, 50), rounds("peer", 10, 5, 10)]);
    expect(ratio.of.shortDecode).toMatchObject({ median: 4, min: 4, max: 5 });
    expect(ratio.of.longDecode).toBeUndefined();
  });

  it("are those of Ochre, wherever its row stands, to what ran", () => {
    const rows = [rounds("peer", 10), { title: "broken", failure: "why", speeds: [] }, rounds(OCHRE, 30)];
    expect(ratios(rows).map(({ title, of }) => [title, of.shortDecode?.median])).toEqual([["peer", 3]]);
    expect(ratios(rows.slice(0, 2))).toEqual([]);
    expect(ratios([rows[0], { title: OCHRE, failure: "why", speeds: [] }])).toEqual([]);
  });
});

it("figures leave out rounds that measured nothing", () => {
  expect(figure([undefined, 2, 4])).toMatchObject({ median: 3, min: 2, max: 4 });
  expect(figure([undefined])).toBeUndefined();
});

describe("the table", () => {
  it("has speeds, counts, ratios and texts", () => {
    const text = toMarkdown([row(OCHRE, [VISIT], decode), row("peer", [VISIT, VISIT], decode)]);
    expect(text).toMatch(/^In Chrome 153; the page's adapter: acme one\.\n/);
    expect(text).toContain("| Ochre | 1.2.3 | WebGPU, acme one | 8 | 80 | 10 | 10 | 200 / 1 / 0.5 / 1 |");
    expect(text).toContain(
      "| engine | version | backend seen | prefill of 4 | prefill of 40 | decode after 4 | decode after 40 |",
    );
    expect(text).toContain("| peer | 1 | 1 | 1 | 1 |");
    expect(text).toContain('- peer: " hello"');
  });

  it("says why an engine could not run, and ends there where none could", () => {
    const text = toMarkdown([row("peer", [new Error("no GPU")], decode)]);
    expect(text).toContain("| peer | – | cannot run here: no GPU | – | – | – | – | – |");
    expect(text).toMatch(/^Nothing ran\./);
    expect(text).not.toMatch(/What each wrote|How many times/);
  });
});

describe("how many tokens a slow engine generates", () => {
  it.each([
    ["all, when there is time", [0, 100], 10, 16, 16],
    ["what fits", [0, 500, 2500], 10, 16, 6],
    ["two at least", [0, 60_000], 10, 16, 2],
    ["all, when the warm run showed no gap", [5], 10, 16, 16],
  ])("%s", (_, arrivals, seconds, most, tokens) => {
    expect(affordable(arrivals, seconds, most)).toBe(tokens);
  });
});

describe("the peers' packages", () => {
  const read = (file: string) => JSON.parse(fs.readFileSync(file, "utf8"));
  const peers = read("bench/peers/package.json");
  const names = Object.keys(peers.dependencies);

  it("are pinned, and stay out of the SDK's", () => {
    expect(names.filter((name) => !/^\d+\.\d+\.\d+(-[\w.-]+)?$/.test(peers.dependencies[name]))).toEqual([]);
    const { dependencies, devDependencies } = read("package.json");
    expect(names.filter((name) => name in dependencies || name in devDependencies)).toEqual([]);
  });

  it("come from each user's own registry", () => {
    const packages: Record<string, { resolved?: string }> = read("bench/peers/package-lock.json").packages;
    expect(names.filter((name) => !(`node_modules/${name}` in packages))).toEqual([]);
    expect(Object.keys(packages).filter((name) => packages[name].resolved)).toEqual([]);
  });
});

/** The pure parts of bench/: scenarios, statistics, rows, Markdown, comparison. */
import { describe, expect, it } from "vitest";
import { browserName } from "../../bench/browser";
import { compareRows, differences } from "../../bench/compare";
import { ratiosOf } from "../../bench/ratios";
import { type BenchRow, benchRow, COLUMNS, type Environment, parseRows, toJson, toMarkdown } from "../../bench/report";
import { defaultPlan, formatScenario, parseScenarios, RATIO_SCENARIOS } from "../../bench/scenario";
import { mean, spread } from "../../bench/statistics";
import type { BenchmarkResult, KernelReport } from "../../runtime/index";

const ENVIRONMENT: Environment = {
  model: "tiny",
  gpu: "acme one",
  software: false,
  browser: "Chrome 153",
  commit: "abc1234",
  date: "2026-11-02T10:20:30.000Z",
  copyGigabytesPerSecond: 10,
};

const RESULT: BenchmarkResult = {
  promptTokens: 16,
  generateTokens: 4,
  depth: 0,
  stepByStep: false,
  runs: [
    { ttftMs: 90, prefillTokensPerSecond: 160, decodeTokensPerSecond: 18, gapsMs: [50, 55, 60] },
    { ttftMs: 110, prefillTokensPerSecond: 200, decodeTokensPerSecond: 22, gapsMs: [40, 45, 50] },
  ],
  itlMs: { p50: 50, p95: 60 },
  dispatchesPerLayer: 7,
  dispatchesPerToken: 215,
  encodeMsPerToken: 0.25,
  bytesPerToken: 50e6,
  weightBytes: 60e6,
  kvBytes: 1e6,
};

describe("scenarios", () => {
  it("are written PROMPTxGENERATE@DEPTH, apart by spaces, commas or lines", () => {
    const scenarios = parseScenarios(" 16x8@0, 128x32\n1x1@1024 9x1@2:steps ");
    expect(scenarios).toEqual([
      { promptTokens: 16, generateTokens: 8, depth: 0 },
      { promptTokens: 128, generateTokens: 32, depth: 0 },
      { promptTokens: 1, generateTokens: 1, depth: 1024 },
      { promptTokens: 9, generateTokens: 1, depth: 2, stepByStep: true },
    ]);
    expect(scenarios.map(formatScenario)).toEqual(["16x8@0", "128x32@0", "1x1@1024", "9x1@2:steps"]);
    for (const { scenarios } of [defaultPlan(true), defaultPlan(false)]) expect(() => parseScenarios(scenarios)).not.toThrow();
  });

  it.each(["", "16", "0x16@0", "16x0@0", "16x16@", "16x16@-1", "1.5x2@0", "axb@c", "1x1@0:step"])("refuse %j", (text) => {
    expect(() => parseScenarios(text)).toThrow(/like 16x16@0/);
  });
});

it("statistics: mean, deviation of the sample, range; nothing of nothing", () => {
  expect(mean([2, 4, 9])).toBe(5);
  expect(spread([2, 4, 9])).toEqual({ standardDeviation: Math.sqrt(13), min: 2, max: 9 });
  expect(spread([3])).toEqual({ standardDeviation: 0, min: 3, max: 3 });
  expect([mean([]), spread([])]).toEqual([undefined, undefined]);
});

describe("rows", () => {
  it("have every promised field, and the share of the copy bandwidth", () => {
    const row = benchRow(RESULT, ENVIRONMENT);
    expect(row).toEqual({
      scenario: "16x4@0",
      promptTokens: 16,
      generateTokens: 4,
      depth: 0,
      repetitions: 2,
      ttftMs: 100,
      itlMs: { p50: 50, p95: 60 },
      prefillTokensPerSecond: 180,
      decodeTokensPerSecond: 20,
      spread: {
        ttftMs: { standardDeviation: Math.sqrt(200), min: 90, max: 110 },
        prefillTokensPerSecond: { standardDeviation: Math.sqrt(800), min: 160, max: 200 },
        decodeTokensPerSecond: { standardDeviation: Math.sqrt(8), min: 18, max: 22 },
      },
      dispatchesPerLayer: 7,
      dispatchesPerToken: 215,
      encodeMsPerToken: 0.25,
      bytesPerToken: 50e6,
      weightBytes: 60e6,
      kvBytes: 1e6,
      gigabytesPerSecond: 1,
      rooflineShare: 0.1,
      ...ENVIRONMENT,
    });
  });

  it("leave out what was not measured", () => {
    const runs = [{ ttftMs: 90, gapsMs: [] }];
    const row = benchRow(
      { ...RESULT, runs, itlMs: undefined, encodeMsPerToken: undefined },
      { ...ENVIRONMENT, commit: undefined, copyGigabytesPerSecond: undefined },
    );
    const absent = ["itlMs", "prefillTokensPerSecond", "decodeTokensPerSecond", "encodeMsPerToken", "gigabytesPerSecond"];
    for (const field of [...absent, "rooflineShare", "commit", "copyGigabytesPerSecond"]) expect(row).not.toHaveProperty(field);
    expect(Object.keys(row.spread)).toEqual(["ttftMs"]);
  });

  it("come back from JSON as they were; other JSON is refused", () => {
    const rows = [benchRow(RESULT, ENVIRONMENT)];
    expect(parseRows(toJson(rows))).toEqual(rows);
    for (const text of ["", "{", "{}", "[]", "[null]", '[{"scenario":"1x1@0"}]'])
      expect(() => parseRows(text)).toThrow(/This|These/);
  });
});

describe("Markdown", () => {
  it("is a table with what was measured, where and when", () => {
    const lines = toMarkdown([benchRow(RESULT, ENVIRONMENT)]).split("\n");
    expect(lines[0]).toBe("tiny on acme one in Chrome 153, commit abc1234, 2026-11-02 10:20 UTC");
    expect(lines[2].split("|")).toHaveLength(COLUMNS.length + 2);
    expect(lines[4]).toBe(
      "| 16x4@0 | 2 | 100 ± 14.1; 90.0–110 | 180 ± 28.3; 160–200 | 20.0 ± 2.83; 18.0–22.0 | 50.0 / 60.0 | 50.0 | 1.00 | 10.0 % | 7 / 215 | 0.25 |",
    );
    expect(lines[6]).toBe("Copy bandwidth of this adapter: 10.0 GB/s. Weights: 60.0 MB.");
  });

  it("tells which kernels ran", () => {
    const choice = { software: false, int8: true, f32Pairs: false, lanes: 16 };
    const note = (kernels: KernelReport) => toMarkdown([benchRow(RESULT, { ...ENVIRONMENT, kernels })]).split("\n")[6];
    expect(note({ choice, source: "tuned", tunedMs: 312 })).toMatch(
      /Kernels: int8, 16 threads a row, measured here in 312 ms\.$/,
    );
    expect(note({ choice: { ...choice, int8: false, lanes: 0 }, source: "prior" })).toMatch(
      /Kernels: f16 tables, threads a row by its width, by what the GPU says of itself\.$/,
    );
    expect(note({ choice, source: "prior", tunedMs: 400 })).toMatch(
      /by what the GPU says of itself; measuring decided nothing\.$/,
    );
  });

  it("warns of a software adapter, and of nothing when there is nothing", () => {
    const row = benchRow(RESULT, { ...ENVIRONMENT, software: true, copyGigabytesPerSecond: undefined });
    expect(toMarkdown([row])).toMatch(/say nothing about GPUs/);
    expect(toMarkdown([])).toBe("");
  });
});

describe("ratios", () => {
  const row = (scenario: Partial<BenchmarkResult>, speeds: number[]) =>
    benchRow(
      {
        ...RESULT,
        ...scenario,
        runs: speeds.map((speed) => ({
          ttftMs: 1,
          prefillTokensPerSecond: 10 * speed,
          decodeTokensPerSecond: speed,
          gapsMs: [],
        })),
      },
      ENVIRONMENT,
    );

  it("compare depths, and reading at once with reading step by step, with the range of any two repetitions", () => {
    const rows = [
      row({ promptTokens: 1, depth: 16 }, [10, 10]),
      row({ promptTokens: 1, depth: 1024 }, [8, 10]),
      row({ promptTokens: 256 }, [40, 60]),
      row({ promptTokens: 256, stepByStep: true }, [4, 6]),
    ];
    expect(rows[3].scenario).toBe("256x4@0:steps");
    expect(ratiosOf(rows)).toEqual([
      { meaning: "decode speed at depth 1024 / at depth 16", value: 0.9, min: 0.8, max: 1 },
      { meaning: "prefill of 256 tokens / 256 single steps", value: 10, min: 40 / 6, max: 15 },
    ]);
    expect(toMarkdown(rows)).toMatch(/^\| decode speed at depth 1024 \/ at depth 16 \| 0\.90 \| 0\.80–1\.00 \|$/m);
  });

  it("are made of the scenarios that --ratios runs, and of no others", () => {
    const rows = parseScenarios(RATIO_SCENARIOS).map((scenario) => row(scenario, [1]));
    expect(ratiosOf(rows)).toHaveLength(2);
    expect(ratiosOf([row({ depth: 16 }, [1]), row({ depth: 32, generateTokens: 9 }, [1])])).toEqual([]);
  });
});

describe("comparison", () => {
  const before = benchRow(RESULT, ENVIRONMENT);
  const after: BenchRow = { ...before, ttftMs: 50, decodeTokensPerSecond: 30, prefillTokensPerSecond: 90, itlMs: undefined };

  it("says how many times as fast, whichever way a number points", () => {
    const other = { ...after, scenario: "1x1@0" };
    expect(compareRows([before], [after, other])).toEqual([
      { scenario: "16x4@0", measure: "TTFT ms", before: 100, after: 50, ratio: 2 },
      { scenario: "16x4@0", measure: "prefill tok/s", before: 180, after: 90, ratio: 0.5 },
      { scenario: "16x4@0", measure: "decode tok/s", before: 20, after: 30, ratio: 1.5 },
    ]);
  });

  it("says what else differs", () => {
    expect(differences(before, after)).toEqual([]);
    expect(differences(before, { ...after, gpu: "acme two" })).toEqual(["gpu: acme one → acme two"]);
  });
});

it("browsers are named by their user agents", () => {
  const engine = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)";
  expect(browserName(`${engine} HeadlessChrome/153.0.0.0 Safari/537.36`)).toBe("Chrome 153");
  expect(browserName(`${engine} Chrome/153.0.0.0 Safari/537.36 Edg/153.0.0.0`)).toBe("Edge 153");
  expect(browserName("Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Safari/605.1.15")).toBe(
    "Safari 26.1",
  );
  expect(browserName("Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0")).toBe("Firefox 145");
  expect(browserName("lynx")).toBe("unknown browser");
});

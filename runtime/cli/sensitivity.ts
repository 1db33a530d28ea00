/**
 * `ochre sensitivity SOURCE --calibrate FILE --out FILE [--tokens N] [--bits 2] [--seed S] [--threads N]`: what a unit of each linear's error costs
 * the model, for `ochre palettize --sensitivities`. Takes some ten minutes for a model of 135 million weights on two cores; what is measured
 * is kept after every linear, and the same command goes on from there.
 */
import { rename, stat, writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { OchreError } from "../errors";
import { WINDOW_TOKENS } from "../palettize/calibration";
import { DEFAULT_SEED } from "../palettize/compile";
import { modelLinears } from "../palettize/plan";
import { MAX_PROBE_TOKENS, MAX_SEED } from "../palettize/plan-file";
import { measureSensitivities, sensitivityOf } from "../palettize/sensitivity";
import { parseSensitivityFile, SENSITIVITY_VERSION, type SensitivityFile } from "../palettize/sensitivity-file";
import { readCalibration } from "./calibration";
import { MADE_BY, readObject } from "./decisions";
import { openCheckpoint } from "./open-checkpoint";
import { readNumber, required } from "./options";
import { untilInterrupted } from "./palettize";
import { makeProgress } from "./progress";
import { sourceHash } from "./source-hash";
import { defaultThreads, MAX_THREADS, withPool } from "./threads";

/** @throws OchreError what openCheckpoint throws; INVALID_ARGUMENT where --out holds another measurement. */
export async function sensitivity(argv: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: argv,
    options: {
      calibrate: { type: "string" },
      out: { type: "string" },
      tokens: { type: "string", default: "512" },
      bits: { type: "string", default: "2" },
      seed: { type: "string", default: `${DEFAULT_SEED}` },
      threads: { type: "string", default: `${defaultThreads()}` },
    },
    allowPositionals: true,
  });
  if (positionals.length !== 1) {
    throw new OchreError(
      "INVALID_ARGUMENT",
      "[sensitivity] needs one source: ochre sensitivity SOURCE --calibrate FILE --out FILE [--tokens N].",
    );
  }
  const [source] = positionals;
  const file = required("sensitivity", "calibrate", values.calibrate);
  const out = required("sensitivity", "out", values.out);
  const most = readNumber("sensitivity", "tokens", values.tokens, { min: 2, max: MAX_PROBE_TOKENS, whole: true });
  const bits = readNumber("sensitivity", "bits", values.bits, { min: 2, max: 4, whole: true });
  const seed = readNumber("sensitivity", "seed", values.seed, { min: 0, max: MAX_SEED, whole: true });
  const threads = readNumber("sensitivity", "threads", values.threads, { min: 1, max: MAX_THREADS, whole: true });
  const opened = await openCheckpoint(source);
  const { checkpoint, config } = opened;
  const progress = makeProgress();
  try {
    const { ids, sha256 } = await readCalibration("sensitivity", file, opened, most);
    const measurement: SensitivityFile = {
      version: SENSITIVITY_VERSION,
      madeBy: MADE_BY,
      sourceSha256: await sourceHash(source, opened.shards),
      seed,
      calibration: { kind: "text", tokens: ids.length, sha256 },
      bits,
      linears: {},
    };
    measurement.linears = await earlier(out, measurement);
    const { linears } = measurement;
    const total = modelLinears(config).length;
    const startedMs = performance.now();
    progress.update(Object.keys(linears).length, total, "the source itself");
    await untilInterrupted(
      (signal) =>
        withPool(threads, signal, (pool) =>
          measureSensitivities(checkpoint, config, {
            pool,
            tokens: { ids, windowTokens: WINDOW_TOKENS },
            bits,
            seed,
            done: new Set(Object.keys(linears)),
            signal,
            onLinear: async (name, measured) => {
              linears[name] = measured;
              await writeFile(`${out}.partial`, `${JSON.stringify(measurement, null, 2)}\n`);
              await rename(`${out}.partial`, out);
              progress.update(Object.keys(linears).length, total, `${name} KL ${measured.kl.toPrecision(3)}`);
            },
          }),
        ),
      `interrupted; what is measured is in ${out}, and the same command goes on from there`,
    );
    progress.clear();
    const each = Object.entries(linears).map(([name, measured]) => [name, sensitivityOf(measured)] as const);
    const [worst, highest] = each.reduce((a, b) => (b[1] > a[1] ? b : a));
    console.log(
      `${out}: ${each.length} linears, the most sensitive ${worst} with ${highest.toPrecision(3)} nats for each unit of error, ` +
        `${((performance.now() - startedMs) / 1000).toFixed(1)} s`,
    );
  } finally {
    progress.clear();
    await opened.close();
  }
}

/** What an earlier run measured: nothing where `out` is not there. */
async function earlier(out: string, measurement: SensitivityFile): Promise<SensitivityFile["linears"]> {
  if (!(await stat(out).catch(() => undefined))) return {};
  const before = parseSensitivityFile(...(await readObject(out)));
  const about = ({ sourceSha256, seed, calibration, bits }: SensitivityFile) =>
    JSON.stringify([
      sourceSha256,
      seed,
      calibration.kind,
      calibration.tokens,
      "sha256" in calibration && calibration.sha256,
      bits,
    ]);
  if (about(before) === about(measurement)) return before.linears;
  throw new OchreError(
    "INVALID_ARGUMENT",
    `[sensitivity] ${out} holds a measurement of another source, text, seed, width or number of tokens: choose another --out.`,
  );
}

/**
 * Every kernel against its twin on this browser's GPU, through its own WGSL compiler, as `model.selfTest()` tells a page; the
 * compiler's kernels besides.
 */
import { beforeAll, expect, it } from "vitest";
import { COMPILE_CASES } from "../../runtime/engine/self-test/cases-compile";
import { selfTest } from "../../runtime/engine/self-test/self-test";
import { Gpu } from "../../runtime/gpu/device";
import { Ochre, type SelfTestRow } from "../../runtime/index";

const TINY = new URL("/.cache/tiny-llama", location.href).href;
const KERNELS = Object.keys(import.meta.glob("../../wgsl/*.wgsl")).map((file) => file.replace(/^.*\/|\.wgsl$/g, ""));

/** Compiling is what takes long, and longer where cores are shared. */
const MOST_MS = 10 * 60_000;

let rows: SelfTestRow[];
beforeAll(async () => {
  const model = await Ochre.load(TINY, { contextTokens: 64, cache: false });
  rows = await model.selfTest();
  await model.dispose();
  const gpu = await Gpu.request(navigator.gpu);
  rows.push(...(await selfTest(gpu, {}, COMPILE_CASES)));
  gpu.destroy();
  const { kernel, nmse } = rows.reduce((worst, row) => ((row.nmse ?? 0) > (worst.nmse ?? 0) ? row : worst));
  console.log(
    `${navigator.userAgent}: ${rows.filter(({ ok }) => ok).length} of ${rows.length} cases pass, of ${KERNELS.length} kernels; ` +
      `worst error ${nmse?.toExponential(1)} (${kernel})`,
  );
}, MOST_MS);

it.each(KERNELS)("%s computes what its twin does, in every variant that runs here", (kernel) => {
  const own = rows.filter((row) => row.kernel === kernel);
  expect(own).not.toEqual([]);
  expect(own.filter(({ ok }) => !ok)).toEqual([]);
});

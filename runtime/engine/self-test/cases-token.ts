/** What happens once a token: embedding, norms, sampling. */
import { embedRotate } from "../../../kernels/embed-rotate";
import { embedRotate as embedTwin } from "../../../kernels/reference/embed-rotate";
import { rmsInverse as rmsTwin } from "../../../kernels/reference/rms-inverse";
import { sampleGumbel as gumbelTwin } from "../../../kernels/reference/sample-gumbel";
import { samplePick as pickTwin } from "../../../kernels/reference/sample-pick";
import { sampleThreshold as thresholdTwin } from "../../../kernels/reference/sample-threshold";
import { unrotateNorm as unrotateTwin } from "../../../kernels/reference/unrotate-norm";
import { rmsInverse } from "../../../kernels/rms-inverse";
import { candidateCount, sampleGumbel } from "../../../kernels/sample-gumbel";
import { samplePick } from "../../../kernels/sample-pick";
import { sampleThreshold } from "../../../kernels/sample-threshold";
import { unrotateNorm } from "../../../kernels/unrotate-norm";
import { packSampling, type SamplingParams } from "../sampling";
import { type Allocator, normals, padRows, READABLE, stepState } from "./data";
import { int8Gate, quantized, roomForRows, rowValues } from "./int8";
import { exactGate, f32Gate, type KernelCase } from "./kernel-case";
import { rotationBuffer, vocabulary } from "./vocabulary";

const EPS = 1e-5;
/** The sample model's residual stream has values so large: squares beyond f16. */
const OUTLIER = 24289;

export const samplingBuffer = (on: Allocator, params: Partial<SamplingParams>): GPUBuffer =>
  on.upload("sampling", packSampling({ temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0, stopIds: [], ...params }), READABLE);

/** A width that is no power of two: 576 = 9 x 64. */
function embed(int8: boolean): KernelCase {
  return {
    kernel: "embed-rotate",
    name: `three tokens, rotated by 9 x 64${int8 ? ", in int8" : ""}`,
    gate: int8 ? int8Gate : f32Gate,
    prepare(on) {
      const [V, D] = [11, 576];
      const ids = [3, 10, 0];
      const { table, rowScale, buffers } = vocabulary(on, V, D);
      const { rotation, buffer } = rotationBuffer(on, D, 9);
      const x = on.buffer("x", 4 * ids.length * D, READABLE);
      const x8 = roomForRows(on, D, ids.length);
      const operands = {
        embedding: buffers,
        rotation: buffer,
        ids: on.upload("ids", Uint32Array.from(ids)),
        state: stepState(on, { count: ids.length }),
        x,
        stride: D,
        x8,
        int8,
        tokens: ids.length,
      };
      const expected = embedTwin({ table, rowScale, ids, D, rotation });
      const asInt8 = {
        buffer: x8,
        of: (bytes: ArrayBuffer) => rowValues(bytes, D),
        expected: quantized(expected.subarray(0, D)),
      };
      return {
        record: (recorder) => embedRotate(recorder, operands),
        outputs: [int8 ? asInt8 : { buffer: x, expected }],
      };
    },
  };
}

const rms: KernelCase = {
  kernel: "rms-inverse",
  name: "an outlier of 24,289",
  gate: f32Gate,
  prepare(on) {
    const [T, cols] = [2, 560];
    const x = normals(T * cols, 1, 3);
    x[7] = OUTLIER;
    const scale = on.buffer("scale", 4 * T, READABLE);
    const operands = {
      x: on.upload("x", padRows(x, T, cols, 576)),
      stride: 576,
      cols,
      eps: EPS,
      state: stepState(on, { count: T }),
      scale,
      tokens: T,
    };
    return {
      record: (recorder) => rmsInverse(recorder, operands),
      outputs: [{ buffer: scale, expected: rmsTwin({ x, D: cols, eps: EPS }) }],
    };
  },
};

const unrotate: KernelCase = {
  kernel: "unrotate-norm",
  name: "the last of three rows, an outlier of 24,289",
  gate: f32Gate,
  prepare(on) {
    const [D, row] = [576, 2];
    const { rotation, buffer } = rotationBuffer(on, D, 9);
    const x = normals(3 * D, 1);
    x[row * D + 9] = OUTLIER;
    const weight = normals(D, 2);
    const y = on.buffer("y", 4 * D, READABLE);
    const operands = {
      x: on.upload("x", x),
      stride: D,
      D,
      rotation: buffer,
      normWeight: on.upload("norm", weight),
      eps: EPS,
      state: stepState(on, { count: 3, row }),
      y,
    };
    return {
      record: (recorder) => unrotateNorm(recorder, operands),
      outputs: [{ buffer: y, expected: unrotateTwin({ x: x.subarray(row * D), weight, eps: EPS, rotation }) }],
    };
  },
};

/** The token that sample-gumbel and sample-pick choose together. */
function gumbel(name: string, logits: Float32Array, temperature: number): KernelCase {
  const [V, seed, position] = [logits.length, 7919, 5];
  return {
    kernel: "sample-gumbel",
    name,
    gate: exactGate,
    prepare(on) {
      const state = stepState(on, { position: position - 1 });
      const sampling = samplingBuffer(on, { temperature, seed });
      const best = on.buffer("best", 8 * candidateCount(V));
      const results = on.buffer("results", 64, READABLE);
      const operands = { logits: on.upload("logits", logits), thresholds: on.buffer("thresholds", 4) };
      const ids = on.buffer("ids", 16);
      const expected = gumbelTwin({ logits, threshold: Number.NEGATIVE_INFINITY, temperature, seed, position });
      return {
        record(recorder) {
          sampleGumbel(recorder, { ...operands, V, sampling, state, best });
          samplePick(recorder, { best, V, sampling, state, ids, results });
        },
        outputs: [{ buffer: results, of: (bytes) => [new Uint32Array(bytes)[0]], expected: [expected] }],
      };
    },
  };
}

/** A tie of the largest logits across workgroups: the lowest id must win, whichever finishes first. */
function tied(): Float32Array {
  const logits = normals(3000, 1);
  logits[2999] = logits[1500] = logits[1501] = 50;
  return logits;
}

const pick: KernelCase = {
  kernel: "sample-pick",
  name: "ties go to the lower id, a right guess is taken, a stop id stops",
  gate: exactGate,
  prepare(on) {
    const V = 3000;
    const rows = [1800, 1500, 1200].map((id) => [
      { score: 5, id: 1023 },
      { score: 9, id },
      { score: 9, id: 2500 },
    ]);
    const candidates = rows.flat();
    const inputs = [4, 1800, 1500];
    const stopIds = [7, 1500];
    const bytes = new ArrayBuffer(8 * candidates.length);
    candidates.forEach(({ id, score }, i) => {
      new Float32Array(bytes)[2 * i] = score;
      new Uint32Array(bytes)[2 * i + 1] = id;
    });
    const start = { position: 10, count: 3, row: 0 };
    const state = stepState(on, start);
    const operands = {
      best: on.upload("best", new Uint8Array(bytes)),
      V,
      sampling: samplingBuffer(on, { stopIds }),
      state,
      ids: on.upload("ids", Uint32Array.from(inputs)),
      results: on.buffer("results", 16),
    };
    const { tokens, state: next } = pickTwin({ rows, inputs, stopIds, state: { ...start, sampled: 0, done: false } });
    return {
      record: (recorder) => samplePick(recorder, operands),
      outputs: [
        {
          buffer: state,
          of: (after) => new Uint32Array(after).subarray(0, 6),
          expected: [next.position, next.count, next.row, next.sampled, Number(next.done), tokens[tokens.length - 1]],
        },
      ],
    };
  },
};

const threshold: KernelCase = {
  kernel: "sample-threshold",
  name: "top-k, top-p and min-p, ties at the edge",
  gate: exactGate,
  prepare(on) {
    const cuts = { temperature: 1.7, topK: 200, topP: 0.8, minP: 0.05 };
    const logits = normals(5000, 9, 3).map((value) => Math.round(4 * value) / 4);
    const kept = (cut: number) => logits.filter((logit) => logit >= cut).length;
    const thresholds = on.buffer("thresholds", 4, READABLE);
    const operands = {
      logits: on.upload("logits", logits),
      V: logits.length,
      sampling: samplingBuffer(on, cuts),
      state: stepState(on, {}),
      thresholds,
    };
    return {
      record: (recorder) => sampleThreshold(recorder, operands),
      outputs: [
        {
          buffer: thresholds,
          of: (bytes) => [kept(new Float32Array(bytes)[0])],
          expected: [kept(thresholdTwin({ logits, ...cuts }))],
        },
      ],
    };
  },
};

export const TOKEN_CASES: readonly KernelCase[] = [
  embed(false),
  embed(true),
  rms,
  unrotate,
  threshold,
  gumbel("a tie across workgroups", tied(), 0),
  gumbel("a draw from 2,500", normals(2500, 3, 2), 0.8),
  pick,
];

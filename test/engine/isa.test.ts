/** The machine code of a decode step on AMD chips: what bench/isa reads of it, and that it does not get worse. */
import fs from "node:fs";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { affineYardstick } from "../../bench/isa/affine";
import { isLds, isVector, parseAssembly, parseStatistics } from "../../bench/isa/assembly";
import { type Measured, measureAll } from "../../bench/isa/main";
import { measure, type Row } from "../../bench/isa/measure";
import { type Baseline, makeBaseline, regressions, rowName, yardstickOf } from "../../bench/isa/report";
import { f16ToF32, f32ToF16 } from "../../runtime/formats/f16";
import { nmse, normals, READABLE, random, readFloats, runOnce, testGpu } from "../kernels/harness";
import { findRadv } from "../setup/lavapipe.mjs";

/** A matvec's skeleton as GFX11 spells it: palettes staged in one loop, 4 bits times 64 weights read in another. */
const CODE = `
disasm:
BB0:
	s_load_b256 s[8:15], s[2:3], null                           ; f40c0201
	s_load_b128 s[16:19], s[2:3], 0x30                          ; f4080401
	v_mov_b32_e32 v1, 0                                         ; 7e020280
BB1:
	buffer_load_b32 v4, v1, s[16:19], 0 offen offset:16         ; e0500010
	ds_store_b32 v4, v4                                         ; d8340000
	s_cbranch_scc0 BB1                                          ; bfa1fffb
BB2:
	v_cmpx_gt_u32_e32 0xc00, v3                                 ; 7d9806ff
	s_cbranch_execz BB9                                         ; bfa505e4
BB3:
	buffer_load_b128 v[4:7], v1, s[8:11], 0 offen               ; e05c0000
	buffer_load_b64 v[8:9], v1, s[12:15], 0 offen               ; e0580000
	buffer_load_b64 v[8:9], v1, s[12:15], 0 offen offset:8      ; e0580008
	buffer_load_b128 v[4:7], v1, s[16:19], 0 offen              ; e05c0000
	s_waitcnt vmcnt(0)                                          ; bf8903f7
	ds_load_b32 v2, v3                                          ; d8d80000
	v_fma_mix_f32 v8, v4, 1.0, neg(0) op_sel_hi:[1,0,0]         ; cc200008
	v_add_nc_u32_e32 v3, 64, v3                                 ; 4a0606c0
	s_branch BB3                                                ; bfa0fa26
BB9:
	s_endpgm                                                    ; bfb00000
`;

const STATISTICS = `
Compute Shader:
*** SHADER STATS ***
VGPRs: 48
Spilled SGPRs: 0
Spilled VGPRs: 2
LDS size: 512
Scratch size: 16
Subgroups per SIMD: 32
Instructions: 17
VALU: 4
`;

const compiled = `@@compile ${JSON.stringify({
  ...{ shape: "sample", kernel: "matvec-palette", use: "o_proj", pairs: "f16", variant: "" },
  bindings: ["plane0", "plane1", "plane2", "blocks", "x"],
})}\n${CODE}${STATISTICS}`;

describe("reading machine code", () => {
  it("finds innermost loops by their branches back", () => {
    const { instructions, loops } = parseAssembly(CODE);
    expect(instructions).toHaveLength(18);
    expect(loops.map((loop) => loop.instructions.length)).toEqual([3, 9]);
    expect(loops[1].instructions.filter(isVector)).toHaveLength(2);
    expect(loops[1].instructions.filter(isLds)).toHaveLength(1);
  });

  it("leaves out a loop that holds another", () => {
    const nested = "BB1:\n\tv_nop\nBB2:\n\tv_nop\n\ts_cbranch_scc1 BB2\n\ts_branch BB1\n";
    expect(parseAssembly(nested).loops.map((loop) => loop.instructions.length)).toEqual([2]);
  });

  it("follows a load's descriptor to its binding, in both spellings", () => {
    const { loads } = parseAssembly(CODE);
    expect([...loads.values()]).toEqual([
      { bytes: 4, binding: 3 },
      { bytes: 16, binding: 0 },
      { bytes: 8, binding: 1 },
      { bytes: 8, binding: 1 },
      { bytes: 16, binding: 3 },
    ]);
    const older = "\ts_load_dwordx8 s[8:15], s[2:3], 0x10 ; f4\n\tbuffer_load_dwordx3 v[0:2], v1, s[12:15], 0 offen ; e0\n";
    expect([...parseAssembly(older).loads.values()]).toEqual([{ bytes: 12, binding: 2 }]);
  });

  it("reads the driver's statistics", () => {
    expect(parseStatistics(STATISTICS).get("Subgroups per SIMD")).toBe(32);
  });

  it("counts the loop by weight", () => {
    const [row] = measure("navi31", compiled);
    expect(row).toMatchObject({ vgprs: 48, spilledVgprs: 2, scratchBytes: 16, loads: [1, 2, 2] });
    expect(row.loop).toEqual({
      ...{ weights: 64, valu: 0.031, loads: 0.063, lds: 0.016 },
      weightLoads: { plane0: "1 x 16", plane1: "2 x 8" },
      narrowest: 8,
    });
  });

  it("says which kernel the driver printed nothing of", () => {
    expect(() => measure("navi31", compiled.replace("VGPRs: 48", ""))).toThrow(/no "VGPRs" for matvec-palette on navi31/);
  });

  it("calls 10 % more registers, 10 % more instructions or narrower loads a regression", () => {
    const [row] = measure("navi31", compiled);
    const loop = row.loop!;
    const before = makeBaseline("25.0.7", [{ ...row, vgprs: 100, loop: { ...loop, valu: 4 } }]);
    const found = (change: Partial<Row>) => regressions(before, [{ ...row, vgprs: 100, ...change }]).length;
    expect(found({ vgprs: 110, loop: { ...loop, valu: 4.4 } })).toBe(0);
    expect(found({ vgprs: 111, loop: { ...loop, valu: 4.41 } })).toBe(2);
    expect(found({ loop: { ...loop, narrowest: 4 } })).toBe(1);
    expect(found({ kernel: "unheard-of" })).toBe(1);
  });
});

describe("the affine yardstick", () => {
  it("computes what it is measured for", async () => {
    const gpu = await testGpu({ choice: { software: false }, disable: ["shader-f16", "subgroups"] });
    const [rows, cols] = [32, 576];
    const uniform = random(1);
    const codes = Uint32Array.from({ length: (rows * cols) / 8 }, () => Math.floor(uniform() * 2 ** 32));
    const scaleZero = Uint16Array.from({ length: 2 * rows }, (_, i) => f32ToF16(i % 2 ? 7.5 : 0.01 + uniform()));
    const x = normals(cols, 2);
    const y = gpu.buffer("y", 4 * rows, READABLE);
    await runOnce(gpu, (recorder) =>
      affineYardstick(recorder, rows, cols, {
        codes: gpu.upload("codes", codes),
        scale_zero: gpu.upload("scales", scaleZero),
        x: gpu.upload("x", x),
        y,
      }),
    );
    const expected = Float64Array.from({ length: rows }, (_, row) => {
      let sum = 0;
      for (let col = 0; col < cols; col++) {
        const code = (codes[(row * cols + col) >> 3] >>> (8 * (col % 4) + (col % 8 < 4 ? 0 : 4))) & 15;
        sum += (code - f16ToF32(scaleZero[2 * row + 1])) * x[col];
      }
      return f16ToF32(scaleZero[2 * row]) * sum;
    });
    expect(nmse(await readFloats(gpu, y), expected)).toBeLessThan(1e-10);
    gpu.destroy();
  });
});

const radv = findRadv();

describe.skipIf(!radv)("machine code for AMD, by Mesa's RADV where it is installed (npm run isa fetches it)", () => {
  let measured: Measured;
  beforeAll(async () => {
    measured = await measureAll(radv!);
  }, 600_000);

  it("was compiled for every decode kernel, both shapes and all families", () => {
    for (const family of ["navi31", "navi21", "vega10"]) {
      for (const shape of ["sample", "3B"]) {
        const kernels = measured.rows.filter((row) => row.family === family && row.shape === shape).map(({ kernel }) => kernel);
        const decode = ["matvec-palette", "matvec-swiglu-palette", "head-int8", "attention-decode", "attention-merge"];
        expect(kernels).toEqual(expect.arrayContaining([...decode, "rope-kv-write"]));
      }
    }
  });

  it("spills no register and needs no scratch memory", () => {
    const spilling = measured.rows.filter((row) => row.spilledVgprs + row.spilledSgprs + row.scratchBytes > 0);
    expect(spilling.map(rowName)).toEqual([]);
  });

  it("loads weights 16 bytes at a time", () => {
    const narrow = measured.rows.filter(({ loop }) => loop && loop.narrowest < 16);
    expect(measured.rows.some(({ loop }) => loop)).toBe(true);
    expect(narrow.map(rowName)).toEqual([]);
  });

  it("spends at most as many vector instructions a weight as plain affine 4 bits would", () => {
    const ratios = measured.rows.flatMap((row) => {
      const affine = row.kernel.startsWith("matvec") && yardstickOf(row, measured.rows)?.loop;
      return affine ? [{ name: rowName(row), family: row.family, ratio: row.loop!.valu / affine.valu }] : [];
    });
    // Four linears, two shapes, with and without subgroups.
    for (const family of ["navi31", "navi21", "vega10"])
      expect(ratios.filter((row) => row.family === family).length).toBeGreaterThanOrEqual(16);
    expect(ratios.filter(({ ratio }) => ratio > 1)).toEqual([]);
  });

  it("was compiled with tables of f32 pairs only where halves must be widened first", () => {
    const tables = measured.rows.filter(({ pairs }) => pairs !== "").map(({ family, pairs }) => `${family} ${pairs}`);
    expect(new Set(tables)).toEqual(new Set(["navi31 f16", "navi21 f16", "vega10 f32"]));
  });

  it("is within 10 % of the baseline", ({ skip }) => {
    const baseline: Baseline = JSON.parse(fs.readFileSync(path.resolve("bench/isa/baseline.json"), "utf8"));
    skip(measured.mesa !== baseline.mesa, `the baseline is of Mesa ${baseline.mesa}, this is ${measured.mesa}`);
    expect(regressions(baseline, measured.rows)).toEqual([]);
  });
});

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OchreError } from "../../runtime/errors";
import { bytesSource } from "../../runtime/formats/byte-source";
import { parseGgufHeader } from "../../runtime/formats/gguf-header";
import { encodeGguf, f32, type GgufTensorToWrite, type GgufValue, GgufWriter, i32s, string, strings, u32 } from "./gguf-file";

const parse = (bytes: Uint8Array) => parseGgufHeader(bytesSource("a.gguf", bytes));
const tensor = (fields: Partial<GgufTensorToWrite> = {}): GgufTensorToWrite => ({
  name: "w",
  shape: [2, 32],
  type: 8,
  bytes: new Uint8Array(68),
  ...fields,
});

describe("what a header says", () => {
  test("every type of value", async () => {
    const metadata: Record<string, GgufValue> = {
      u8: { type: 0, value: 200 },
      i8: { type: 1, value: -3 },
      u16: { type: 2, value: 60000 },
      i16: { type: 3, value: -300 },
      u32: u32(4e9),
      i32: { type: 5, value: -4 },
      f32: f32(0.5),
      bool: { type: 7, value: true },
      string: string("Grüße"),
      strings: strings(["a", "", "Ġb"]),
      i32s: i32s([1, -1]),
      u64: { type: 10, value: 2n ** 40n },
      big: { type: 10, value: 2n ** 60n },
      i64: { type: 11, value: -7n },
      f64: { type: 12, value: 1e-300 },
    };
    const header = await parse(encodeGguf(metadata, [], { version: 2 }));
    expect(header.version).toBe(2);
    expect(Object.fromEntries(header.metadata)).toEqual({
      u8: 200,
      i8: -3,
      u16: 60000,
      i16: -300,
      u32: 4e9,
      i32: -4,
      f32: 0.5,
      bool: true,
      string: "Grüße",
      strings: ["a", "", "Ġb"],
      i32s: [1, -1],
      u64: 2 ** 40,
      big: 2n ** 60n,
      i64: -7,
      f64: 1e-300,
    });
  });

  test("tensors in file order, row-major, at absolute offsets", async () => {
    const bytes = encodeGguf(
      { "general.alignment": u32(64) },
      [tensor({ name: "b" }), tensor({ name: "a", shape: [3], type: 0, bytes: new Uint8Array(12) })],
      { alignment: 64 },
    );
    const { tensors } = await parse(bytes);
    expect(tensors.map(({ offset, ...rest }) => ({ ...rest, aligned: offset % 64 }))).toEqual([
      { name: "b", dtype: "Q8_0", shape: [2, 32], bytes: 68, aligned: 0 },
      { name: "a", dtype: "F32", shape: [3], bytes: 12, aligned: 0 },
    ]);
    expect(tensors[1].offset + 12).toBe(bytes.length);
  });

  test("a long header comes in pieces that double, and no tensor is read", async () => {
    const words = Array.from({ length: 90_000 }, (_, i) => `token ${i}`);
    const bytes = encodeGguf({ words: strings(words) }, [tensor({ shape: [2 ** 12, 32], bytes: new Uint8Array(34 * 2 ** 12) })]);
    const source = bytesSource("a.gguf", bytes);
    const reads: number[] = [];
    const read = (offset: number, length: number) => {
      reads.push(length);
      return source.read(offset, length);
    };
    const header = await parseGgufHeader({ ...source, read });
    expect(header.metadata.get("words")).toEqual(words);
    expect(reads).toEqual([2 ** 20, bytes.length]);
  });
});

/** The types of 32 values that came after the first ones: ggml's number, name and bytes a block. */
const blockTypes: [number, string, number][] = [
  [6, "Q5_0", 22],
  [7, "Q5_1", 24],
  [20, "IQ4_NL", 18],
  [39, "MXFP4", 17],
];

test.each(blockTypes)("type %i is %s, %i bytes a block", async (type, dtype, bytes) => {
  const { tensors } = await parse(encodeGguf({}, [tensor({ shape: [2, 64], type, bytes: new Uint8Array(4 * bytes) })]));
  expect(tensors).toMatchObject([{ name: "w", dtype, shape: [2, 64], bytes: 4 * bytes }]);
});

describe("refusals", () => {
  const start = (tensors: number | bigint, entries: number | bigint) =>
    new GgufWriter().u32(0x46554747).u32(3).u64(tensors).u64(entries);
  const huge = 2n ** 62n;
  test.each<[string, Uint8Array, string]>([
    ["nothing", new Uint8Array(0), 'must begin with "GGUF"'],
    ["another file", new Uint8Array(64).fill(65), 'must begin with "GGUF"'],
    ["more tensors than fit", start(huge, 0).done(), "the number of tensors must be at most 1 but is 4611686018427387904"],
    ["more entries than fit", start(0, huge).done(), "the number of metadata entries must be at most 1"],
    [
      "a key longer than the file",
      start(0, 1).u64(huge).raw(new Uint8Array(8)).done(),
      "the length of a metadata key must be at most",
    ],
    ["an end in mid-entry", encodeGguf({ key: string("value") }, []).slice(0, -1), "beyond the end of the file"],
    ["an unknown type of value", encodeGguf({ key: { type: 13, value: 0 } }, []), 'metadata "key" has type 13'],
    ["arrays of arrays", encodeGguf({ key: { type: 9, value: { type: 9, items: [] } } }, []), "is an array of type 9"],
    [
      "an array longer than the file",
      start(0, 1)
        .string("k")
        .u32(9)
        .u32(0)
        .u64(2 ** 40)
        .done(),
      "the count of k must be at most",
    ],
    [
      "an array that ends too soon",
      start(0, 1).string("k").u32(9).u32(0).u64(30).raw(new Uint8Array(8)).done(),
      "the header asks for 30 bytes at",
    ],
    [
      "a key twice",
      start(0, 2).string("k").u32(0).raw(Uint8Array.of(1)).string("k").u32(0).raw(Uint8Array.of(1)).done(),
      "given twice",
    ],
    ["a tensor twice", encodeGguf({}, [tensor(), tensor()]), 'tensor "w" is given twice'],
    [
      "an alignment of 3",
      encodeGguf({ "general.alignment": u32(3) }, [tensor()]),
      "must be a power of two up to 1048576 but is 3",
    ],
    ["an alignment of 0", encodeGguf({ "general.alignment": u32(0) }, [tensor()]), "must be a power of two"],
    ["an alignment in words", encodeGguf({ "general.alignment": string("32") }, [tensor()]), "must be a power of two"],
    ["five dimensions", encodeGguf({}, [tensor({ shape: [1, 1, 1, 1, 32] })]), "must have at most 4 dimensions but has 5"],
    [
      "rows that are no whole blocks",
      encodeGguf({}, [tensor({ shape: [2, 33] })]),
      "must be whole Q8_0 blocks of 32 values but have 33",
    ],
    [
      "a tensor larger than the file",
      encodeGguf({}, [tensor({ shape: [2 ** 30, 32] })]),
      "takes 36507222016 bytes but the file has",
    ],
    ["a size that overflows", encodeGguf({}, [tensor({ shape: [2 ** 52, 2 ** 52, 2 ** 52, 32] })]), "bytes but the file has"],
    ["an offset beyond the file", encodeGguf({}, [tensor({ offset: 2 ** 20 })]), 'the offset of "w" must be at most'],
    [
      "an offset between alignments",
      encodeGguf({}, [tensor({ offset: 8 }), tensor({ name: "v" })]),
      "must start at a multiple of 32",
    ],
    ["an overlap", encodeGguf({}, [tensor(), tensor({ name: "v", offset: 32 })]), 'tensor "v" must start at byte'],
    ["data cut short", encodeGguf({}, [tensor()]).slice(0, -1), "Is it cut short?"],
    ...blockTypes.map(([type, dtype, bytes]): [string, Uint8Array, string] => [
      `a block of ${dtype} cut short`,
      encodeGguf({}, [tensor({ shape: [1, 32], type, bytes: new Uint8Array(bytes) })]).slice(0, -1),
      `tensor "w" (${dtype}) ends at byte`,
    ]),
  ])("%s", async (_, bytes, message) => {
    await expect(parse(bytes)).rejects.toMatchObject({ code: "MODEL_FORMAT", message: expect.stringContaining(message) });
  });

  test("counts that fit a large file and no model", async () => {
    const large = (bytes: Uint8Array, later: Uint8Array = new Uint8Array(0), at = 0) => {
      const file = new Uint8Array(2 ** 24);
      file.set(bytes);
      file.set(later, bytes.length + at);
      return parse(file);
    };
    await expect(large(start(2 ** 17, 0).done())).rejects.toThrow("the number of tensors must be at most 65536 but is 131072");
    await expect(large(start(0, 2 ** 17).done())).rejects.toThrow("the number of metadata entries must be at most 65536");
    const items = 8_000_000;
    const first = start(0, 2).string("k").u32(9).u32(0).u64(items).done();
    const second = new GgufWriter().string("l").u32(9).u32(0).u64(400_000).done();
    await expect(large(first, second, items)).rejects.toThrow("the count of l must be at most 388608");
  });

  test.each<[string, Uint8Array, string]>([
    ["version 1", encodeGguf({}, [], { version: 1 }), "its version reads 1"],
    ["big-endian", encodeGguf({}, [], { version: 0x03000000 }), "its version reads 50331648"],
    ["a type that we do not read", encodeGguf({}, [tensor({ type: 10 })]), 'tensor "w" has type Q2_K; readable are F32'],
    ["a type that nobody knows", encodeGguf({}, [tensor({ type: 1000 })]), 'tensor "w" has type 1000'],
  ])("%s", async (_, bytes, message) => {
    await expect(parse(bytes)).rejects.toMatchObject({ code: "MODEL_UNSUPPORTED", message: expect.stringContaining(message) });
  });

  test("any damage gives a header or an OchreError, never more", async () => {
    const good = encodeGguf({ "general.alignment": u32(32), name: string("x"), tokens: strings(["a", "b"]), ids: i32s([1, 2]) }, [
      tensor(),
      tensor({ name: "v", shape: [32], type: 0, bytes: new Uint8Array(128) }),
    ]);
    const edit = fc.tuple(fc.nat(300), fc.oneof(fc.constantFrom(0, 1, 127, 255), fc.nat(255)));
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { maxLength: 6 }), fc.option(fc.nat(good.length)), async (edits, cut) => {
        const bytes = good.slice(0, cut ?? good.length);
        for (const [at, value] of edits) if (at < bytes.length) bytes[at] = value;
        try {
          await parse(bytes);
        } catch (error) {
          if (!(error instanceof OchreError)) throw error;
        }
      }),
      { numRuns: 3000 },
    );
  });
});

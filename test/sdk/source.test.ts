import { afterEach, describe, expect, it, vi } from "vitest";
import { resolveSource, resolveUrl } from "../../runtime/sdk/source";
import { isSupported } from "../../runtime/sdk/support";

afterEach(() => vi.unstubAllGlobals());

describe("the source of a model", () => {
  const resolved: [string | URL, string][] = [
    ["https://a.test/models/x", "https://a.test/models/x"],
    ["https://a.test/models/x/", "https://a.test/models/x"],
    [new URL("https://a.test/models/x/#top"), "https://a.test/models/x"],
    ["/models/x", "https://page.test/models/x"],
    ["./models/x", "https://page.test/app/models/x"],
    ["../models/x", "https://page.test/models/x"],
    ["models/smollm2/v1", "https://page.test/app/models/smollm2/v1"],
    ["model", "https://page.test/app/model"],
    ["org/name", "https://huggingface.co/org/name/resolve/main"],
    ["Org-1/Name.v1-135M_x", "https://huggingface.co/Org-1/Name.v1-135M_x/resolve/main"],
    [".hidden/name", "https://page.test/app/.hidden/name"],
  ];
  it.each(resolved)("%s is %s", (source, url) => {
    vi.stubGlobal("document", { baseURI: "https://page.test/app/index.html" });
    expect(resolveUrl(source)).toBe(url);
  });

  it("must be a URL of a directory", () => {
    expect(() => resolveUrl("not a url")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    expect(() => resolveUrl("https://a.test/x?token=1")).toThrow("without a query");
    const untyped = resolveUrl as (source: unknown) => string;
    expect(() => untyped(7)).toThrow(TypeError);
    expect(() => untyped(undefined)).toThrow(TypeError);
    expect(() => untyped(new Blob([]))).toThrow(TypeError);
  });

  const sent = (...files: File[]) =>
    files.map((contents) => ({ name: contents.name, lastModified: contents.lastModified, contents }));
  const file = (name: string, webkitRelativePath = "") => Object.assign(new File([name], name), { webkitRelativePath });
  /** A handle as browsers give it: known by its tag. */
  const handle = (kind: "File" | "Directory", members: object) => ({
    ...members,
    [Symbol.toStringTag]: `FileSystem${kind}Handle`,
  });

  it("may be files of the user, which are called after their weights or their folder", async () => {
    const gguf = file("SmolLM2.Q4_1.gguf");
    expect(await resolveSource(gguf)).toEqual({ name: "SmolLM2.Q4_1", files: sent(gguf) });
    expect(await resolveSource("org/name")).toBe("https://huggingface.co/org/name/resolve/main");
    const sharded = [file("config.json"), file("model-00001-of-00002.safetensors"), file("model-00002-of-00002.safetensors")];
    expect(await resolveSource(sharded)).toEqual({ name: "model", files: sent(...sharded) });

    const picked = [file("config.json", "my llama/config.json"), file("config.json", "my llama/original/config.json")];
    expect(await resolveSource(picked)).toEqual({ name: "my llama", files: sent(picked[0]) });

    const fileHandle = handle("File", { kind: "file", getFile: async () => gguf }) as unknown as FileSystemFileHandle;
    expect(await resolveSource(fileHandle)).toEqual({ name: "SmolLM2.Q4_1", files: sent(gguf) });
    const folder = handle("Directory", {
      name: "smol",
      async *values() {
        yield handle("Directory", { kind: "directory" });
        yield fileHandle;
      },
    }) as unknown as FileSystemDirectoryHandle;
    expect(await resolveSource(folder)).toEqual({ name: "smol", files: sent(gguf) });
  });

  it("cannot be two files of one name, or a list of something else", async () => {
    await expect(resolveSource([file("config.json"), file("config.json")])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(resolveSource([file("a.gguf"), "b.gguf"] as File[])).rejects.toThrow(TypeError);
  });
});

describe("isSupported", () => {
  const gpuWith = (requestAdapter: () => Promise<unknown>) => ({ requestAdapter }) as unknown as GPU;

  it("says what is missing", async () => {
    const some = gpuWith(async () => ({}));
    expect(await isSupported(some, true)).toEqual({ supported: true });
    expect((await isSupported(some, false)).reason).toContain("https://");
    expect((await isSupported(undefined, true)).reason).toContain("no WebGPU");
    expect(
      (
        await isSupported(
          gpuWith(async () => null),
          true,
        )
      ).reason,
    ).toContain("hardware acceleration");
    expect(
      (
        await isSupported(
          gpuWith(() => Promise.reject(new Error("no"))),
          true,
        )
      ).supported,
    ).toBe(false);
  });
});

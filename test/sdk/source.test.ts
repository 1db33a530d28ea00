import { afterEach, describe, expect, it, vi } from "vitest";
import { resolveSource } from "../../runtime/sdk/source";
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
    expect(resolveSource(source)).toBe(url);
  });

  it("must be a URL of a directory", () => {
    expect(() => resolveSource("not a url")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    expect(() => resolveSource("https://a.test/x?token=1")).toThrow("without a query");
    const untyped = resolveSource as (source: unknown) => string;
    expect(() => untyped(7)).toThrow(TypeError);
    expect(() => untyped(undefined)).toThrow(TypeError);
    expect(() => untyped(new Blob([]))).toThrow(expect.objectContaining({ code: "MODEL_UNSUPPORTED" }));
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

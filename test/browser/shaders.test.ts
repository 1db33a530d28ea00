/** Every shader variant through the browser's own WGSL compiler, which is newer or older than Node's. */
import { beforeAll, expect, it } from "vitest";
import type { ShaderVariants } from "../../kernels/define-kernel";

const shaders = import.meta.glob<ShaderVariants>("../../wgsl/*.wgsl", { eager: true, import: "default" });
const variants = Object.entries(shaders).flatMap(([file, texts]) =>
  Object.entries(texts).map(([key, text]) => ({ name: `${file.split("/").pop()} ${key || "portable"}`, key, text })),
);

let device: GPUDevice;
const features = ["shader-f16", "subgroups"] as const;
beforeAll(async () => {
  const gpuAdapter = await navigator.gpu.requestAdapter();
  if (!gpuAdapter) throw new Error("this browser gives no GPU adapter");
  device = await gpuAdapter.requestDevice({ requiredFeatures: features.filter((feature) => gpuAdapter.features.has(feature)) });
});

const needs = (key: string) => [key.includes("f16") && "shader-f16", key.includes("subgroups") && "subgroups"].filter(Boolean);

it("found the shaders", () => expect(variants.length).toBeGreaterThan(10));

it.each(variants)("$name compiles", async ({ key, text }) => {
  const module = device.createShaderModule({ code: text });
  const errors = (await module.getCompilationInfo()).messages
    .filter(({ type }) => type === "error")
    .map(({ message }) => message);
  const missing = needs(key).filter((feature) => !device.features.has(String(feature)));
  // Where the device lacks a feature, the only fault may be that: everything after the directive is then left unchecked.
  if (missing.length > 0) expect(errors.every((message) => /extension|enable/.test(message))).toBe(true);
  else expect(errors).toEqual([]);
});

// Naga (Firefox 153) gives an array size that is an expression of overrides an override without a name, and ends the whole
// browser where another override comes after it.
it.each(variants)("$name sizes its arrays by names", ({ text }) => {
  const overrides = [...text.matchAll(/^override (\w+)/gm)].map(([, name]) => name);
  const sizes = [...text.matchAll(/array<[^;=]*?,([^,;=]*?)>/g)].map(([, size]) => size.trim());
  const expressions = sizes.filter((size) => !/^\w+$/.test(size));
  expect(expressions.filter((size) => overrides.some((name) => new RegExp(`\\b${name}\\b`).test(size)))).toEqual([]);
});

/** `model.setBits` over the wire: at once, whatever the device is busy with, and told by `model.info`. */
import { expect, it } from "vitest";
import type { BitChoice, LoadOptions } from "../../runtime/sdk/types";
import { loadFake, rejection } from "./wire";

it("changes bits while a reply is under way, and info says so", async () => {
  const { model, engine } = await loadFake();
  const session = await model.createSession();
  let goOn = () => {};
  engine.beforeBatch = () =>
    new Promise((resolve) => {
      goOn = resolve;
    });
  engine.script = ["ok"];
  const reply = session.prompt("hi");
  await expect.poll(() => engine.busy).toBe(1);
  const change = await model.setBits({ "mlp.down_proj": 2 });
  expect(change).toEqual({ linears: 1, hostMs: 0.1, readMs: 0, weightBytes: 900 });
  expect(model.info).toMatchObject({ bits: { "mlp.down_proj": 2 }, weightBytes: 900 });
  expect(engine.busy).toBe(1);
  engine.beforeBatch = async () => {};
  goOn();
  expect(await reply).toBe("ok");
  await model.dispose();
});

it("refuses what is no choice of bits", async () => {
  const { model } = await loadFake();
  for (const bits of [undefined, null, 3, { "*": "3" }])
    expect(await rejection(model.setBits(bits as unknown as BitChoice))).toBeInstanceOf(TypeError);
  expect(await rejection(model.setBits({ unknown: 3 }))).toMatchObject({ code: "INVALID_ARGUMENT" });
  await model.dispose();
  expect(await rejection(model.setBits({ "*": 3 }))).toMatchObject({ code: "DISPOSED" });
});

it("refuses an average that cannot be", async () => {
  for (const averageBits of [0, -1, 17, Number.NaN])
    expect(await rejection(loadFake({ averageBits }))).toMatchObject({ code: "INVALID_ARGUMENT" });
  expect(await rejection(loadFake({ averageBits: "3" } as unknown as LoadOptions))).toBeInstanceOf(TypeError);
});

it("says that the device was lost", async () => {
  const { model, engine } = await loadFake();
  engine.loseDevice({ reason: "unknown", message: "gone" });
  await model.lost;
  expect(await rejection(model.setBits({ "*": 3 }))).toMatchObject({ code: "GPU_LOST" });
  await model.dispose();
});

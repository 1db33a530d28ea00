import { type Endpoint, expose, wrap } from "comlink";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { OchreError } from "../../runtime/errors";
import { releaseArgument } from "../../runtime/worker/transfer-handlers";
import { rejection, ticks } from "./wire";

/** The far side of the wire: fails with what `failWith` holds, and keeps the signals that it is given. */
class Far {
  failWith: unknown;
  signals: AbortSignal[] = [];
  fail(): never {
    throw this.failWith;
  }
  keep(signal?: AbortSignal): void {
    if (signal) this.signals.push(signal);
  }
}

let far: Far;
let near: ReturnType<typeof wrap<Far>>;
let ports: MessagePort[];

beforeEach(() => {
  const { port1, port2 } = new MessageChannel();
  ports = [port1, port2];
  far = new Far();
  expose(far, port1 as Endpoint);
  near = wrap<Far>(port2 as Endpoint);
});
afterEach(() => {
  for (const port of ports) port.close();
});

async function thrown(error: unknown): Promise<unknown> {
  far.failWith = error;
  return rejection(near.fail());
}

describe("errors", () => {
  it("keep class, code, message, details, cause and the thrower's stack", async () => {
    const cause = new OchreError("DOWNLOAD_FAILED", "below", { cause: new TypeError("bottom") });
    const sent = new OchreError("CHECKSUM", "[download] wrong", { details: { url: "u", bytes: [1, 2] }, cause });
    const error = await thrown(sent);
    expect(error).toBeInstanceOf(OchreError);
    expect(error).not.toBe(sent);
    expect(error).toMatchObject({ name: "OchreError", code: "CHECKSUM", message: "[download] wrong", stack: sent.stack });
    expect((error as OchreError).details).toEqual({ url: "u", bytes: [1, 2] });
    const below = (error as OchreError).cause;
    expect(below).toBeInstanceOf(OchreError);
    expect(below).toMatchObject({ code: "DOWNLOAD_FAILED" });
    expect((below as OchreError).cause).toEqual(new TypeError("bottom"));
    expect((below as OchreError).cause).toBeInstanceOf(TypeError);
  });

  it("that the Prompt API prescribes come as DOMException and TypeError", async () => {
    const abort = await thrown(new DOMException("stop", "AbortError"));
    expect(abort).toBeInstanceOf(DOMException);
    expect(abort).toMatchObject({ name: "AbortError", message: "stop", code: 20 });
    const type = await thrown(new TypeError("role"));
    expect(type).toBeInstanceOf(TypeError);
    expect(type).toMatchObject({ name: "TypeError", message: "role" });
  });

  it("of an unknown class keep their name", async () => {
    class OddError extends Error {
      override name = "OddError";
    }
    const error = await thrown(new OddError("odd"));
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name: "OddError", message: "odd" });
  });

  it("that cannot be cloned as they are still arrive", async () => {
    const error = (await thrown(new OchreError("INTERNAL", "x", { details: { fn: () => 1, n: 1 } }))) as OchreError;
    expect(error.details).toEqual({ fn: "() => 1", n: 1 });
    expect(await thrown(Symbol("s"))).toBe("Symbol(s)");
    expect(await thrown({ plain: true })).toEqual({ plain: true });
    expect(await thrown(undefined)).toBeUndefined();
  });

  it("whose causes run in a ring are cut", async () => {
    const ring = new Error("ring");
    ring.cause = ring;
    let depth = 0;
    for (let error = (await thrown(ring)) as Error | undefined; error; error = error.cause as Error | undefined) depth++;
    expect(depth).toBe(6);
  });
});

describe("abort signals", () => {
  it("cross with their reason", async () => {
    const controller = new AbortController();
    await near.keep(controller.signal);
    expect(far.signals[0].aborted).toBe(false);
    controller.abort(new OchreError("DISPOSED", "gone"));
    await ticks();
    expect(far.signals[0].reason).toBeInstanceOf(OchreError);
    expect(far.signals[0].reason).toMatchObject({ code: "DISPOSED", message: "gone" });
  });

  it("with the default reason are AbortErrors there too", async () => {
    const controller = new AbortController();
    await near.keep(controller.signal);
    controller.abort();
    await ticks();
    expect(far.signals[0].reason).toBeInstanceOf(DOMException);
    expect(far.signals[0].reason).toMatchObject({ name: "AbortError" });
  });

  it("that aborted before are aborted on arrival", async () => {
    await near.keep(AbortSignal.abort("early"));
    expect(far.signals[0].aborted).toBe(true);
    expect(far.signals[0].reason).toBe("early");
    releaseArgument(far.signals[0]);
  });

  it("leave no listener and no port behind once the call is over", async () => {
    const controller = new AbortController();
    const listeners = new Set<unknown>();
    const { signal } = controller;
    const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners.add(args[1]);
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners.delete(args[1]);
      remove(...args);
    };
    await near.keep(signal);
    expect(listeners.size).toBe(1);
    releaseArgument(far.signals[0]);
    releaseArgument(far.signals[0]);
    await ticks();
    expect(listeners.size).toBe(0);
    controller.abort();
    await ticks();
    expect(far.signals[0].aborted).toBe(false);
  });
});

/** The worker's end of the wire: exposes the host, and lets go of each call's callbacks and signals when the call is over. */
import { type Endpoint, expose } from "comlink";
import type { CompilerWorker, OchreWorker } from "./protocol";
import { releaseArgument } from "./transfer-handlers";

type Method = (...args: unknown[]) => Promise<unknown>;

/**
 * A callback's messages and a call's result travel on different ports, which keep no order between them. So the
 * result waits until the page has answered the last callback: no piece can arrive after the reply has ended.
 */
function overTheWire(method: Method): Method {
  return async (...args) => {
    let answered: unknown;
    const local = args.map((arg) =>
      typeof arg === "function"
        ? (...values: unknown[]) => {
            answered = arg(...values);
            return answered;
          }
        : arg,
    );
    try {
      const result = await method(...local);
      await answered;
      return result;
    } finally {
      args.forEach(releaseArgument);
    }
  };
}

/** Serves `host` on a worker's global scope (the default) or on a port. */
export function serve(host: OchreWorker, endpoint?: Endpoint): void {
  const target = host as unknown as Record<keyof OchreWorker, Method>;
  const call = (name: keyof OchreWorker): Method => overTheWire((...args) => target[name](...args));
  const methods: Record<keyof OchreWorker, Method> = {
    load: call("load"),
    info: call("info"),
    setBits: call("setBits"),
    loadAdapter: call("loadAdapter"),
    unloadAdapter: call("unloadAdapter"),
    createSession: call("createSession"),
    generate: call("generate"),
    append: call("append"),
    measure: call("measure"),
    destroySession: call("destroySession"),
    benchmark: call("benchmark"),
    evaluate: call("evaluate"),
    predict: call("predict"),
    endPredictions: call("endPredictions"),
    copyBandwidth: call("copyBandwidth"),
    profile: call("profile"),
    selfTest: call("selfTest"),
    lost: call("lost"),
    dispose: call("dispose"),
  };
  expose(methods, endpoint);
}

/** Serves a compiler in the same way. */
export function serveCompiler({ compile }: CompilerWorker, endpoint?: Endpoint): void {
  expose({ compile: overTheWire(compile as Method) }, endpoint);
}

/**
 * What Comlink cannot carry by itself: errors with their class and code, and abort signals.
 * Both ends of the wire import this file for its effect.
 */
import { releaseProxy, type TransferHandler, transferHandlers } from "comlink";
import { type ErrorCode, OchreError } from "../errors";

/** An error as plain clonable data. `stack` is the thrower's: that is where the defect is. */
type WireError =
  | { kind: "ochre"; code: ErrorCode; message: string; stack?: string; details: Record<string, unknown>; cause?: WireError }
  | { kind: "dom"; name: string; message: string }
  | { kind: "error"; name: string; message: string; stack?: string; cause?: WireError }
  | { kind: "value"; value: unknown };

const NATIVE_ERRORS = { Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };

/** Causes further down are cut: a chain may be a ring. */
const CAUSE_DEPTH = 5;

function clonable(value: unknown): unknown {
  try {
    return structuredClone(value);
  } catch {
    return String(value);
  }
}

export function encodeError(error: unknown, depth = 0): WireError {
  const cause =
    error instanceof Error && error.cause !== undefined && depth < CAUSE_DEPTH ? encodeError(error.cause, depth + 1) : undefined;
  if (error instanceof OchreError) {
    const details = Object.fromEntries(Object.entries(error.details).map(([key, value]) => [key, clonable(value)]));
    return { kind: "ochre", code: error.code, message: error.message, stack: error.stack, details, cause };
  }
  if (error instanceof DOMException) return { kind: "dom", name: error.name, message: error.message };
  if (error instanceof Error) return { kind: "error", name: error.name, message: error.message, stack: error.stack, cause };
  return { kind: "value", value: clonable(error) };
}

export function decodeError(wire: WireError): unknown {
  if (wire.kind === "value") return wire.value;
  if (wire.kind === "dom") return new DOMException(wire.message, wire.name);
  const cause = wire.cause && decodeError(wire.cause);
  let error: Error;
  if (wire.kind === "ochre") {
    error = new OchreError(wire.code, wire.message, { details: wire.details, cause });
  } else {
    const Native = NATIVE_ERRORS[wire.name as keyof typeof NATIVE_ERRORS] ?? Error;
    error = new Native(wire.message, cause === undefined ? undefined : { cause });
    // A class that only the thrower's side has keeps at least its name.
    if (error.name !== wire.name) Object.defineProperty(error, "name", { value: wire.name, configurable: true });
  }
  if (wire.stack) Object.defineProperty(error, "stack", { value: wire.stack, configurable: true, writable: true });
  return error;
}

// Comlink marks a thrown value with a symbol that it keeps to itself, so its own handler must recognise it.
const comlinkThrow = transferHandlers.get("throw") as TransferHandler<unknown, unknown>;

const throwHandler: TransferHandler<{ value: unknown }, WireError> = {
  canHandle: (value): value is { value: unknown } => comlinkThrow.canHandle(value),
  serialize: ({ value }) => [encodeError(value), []],
  deserialize: (wire) => {
    throw decodeError(wire);
  },
};

type WireSignal = { aborted: WireError } | { port: MessagePort };

/** Ports of signals that arrived here and may still abort. */
const signalPorts = new WeakMap<AbortSignal, MessagePort>();

/** A port at each end: the sender's posts the reason when the signal aborts, the receiver's says when it no longer cares. */
const signalHandler: TransferHandler<AbortSignal, WireSignal> = {
  canHandle: (value): value is AbortSignal => value instanceof AbortSignal,
  serialize(signal) {
    if (signal.aborted) return [{ aborted: encodeError(signal.reason) }, []];
    const { port1, port2 } = new MessageChannel();
    const onAbort = () => {
      port1.postMessage(encodeError(signal.reason));
      port1.close();
    };
    signal.addEventListener("abort", onAbort, { once: true });
    port1.onmessage = () => {
      signal.removeEventListener("abort", onAbort);
      port1.close();
    };
    return [{ port: port2 }, [port2]];
  },
  deserialize(wire) {
    if ("aborted" in wire) return AbortSignal.abort(decodeError(wire.aborted));
    const controller = new AbortController();
    signalPorts.set(controller.signal, wire.port);
    wire.port.onmessage = ({ data }: MessageEvent<WireError>) => {
      controller.abort(decodeError(data));
      wire.port.close();
    };
    return controller.signal;
  },
};

/** The receiver is done with an argument that came over the wire: closes the port behind a signal or a callback. */
export function releaseArgument(argument: unknown): void {
  if (argument instanceof AbortSignal) {
    const port = signalPorts.get(argument);
    signalPorts.delete(argument);
    port?.postMessage("done");
    port?.close();
  } else if (typeof argument === "function") {
    (argument as { [releaseProxy]?: () => void })[releaseProxy]?.();
  }
}

transferHandlers.set("throw", throwHandler);
transferHandlers.set("signal", signalHandler);

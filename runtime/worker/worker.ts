/** The worker's entry: the real store, text and engine behind the wire. */
import { Engine } from "../engine/engine";
import { kvFormat } from "../engine/kv-format";
import { OchreError } from "../errors";
import { choices } from "../store/choices";
import { WorkerHost } from "./host";
import { openAdapter } from "./open-adapter";
import { openModel } from "./open-model";
import { serve } from "./serve";

serve(
  new WorkerHost({
    openModel,
    openAdapter,
    async createEngine({ tune, remember, kv, ...request }) {
      const gpu = navigator.gpu as GPU | undefined;
      const memory = remember ? choices : undefined;
      if (gpu) return Engine.create({ gpu, ...request, kv: kvFormat(kv), tune: tune ? { memory } : undefined });
      throw new OchreError(
        "GPU_UNAVAILABLE",
        "[load] this browser must have WebGPU in workers but has not. Ochre.isSupported() tells what a page can do about it.",
      );
    },
  }),
);

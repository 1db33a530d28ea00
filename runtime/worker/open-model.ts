/** From a URL to everything that the host needs of a model short of a GPU: store, formats and text put together. */
import { parseConfig } from "../engine/config";
import type { CheckpointFiles } from "../formats/checkpoint";
import { openSafetensors } from "../formats/safetensors";
import { fetchModel } from "../store/download";
import { modelName } from "../store/model-url";
import { openStore } from "../store/store";
import { ChatTemplate } from "../text/chat-template";
import { StreamingDetokenizer } from "../text/detokenizer";
import { Tokenizer } from "../text/tokenizer";
import type { ChatText } from "./chat";
import type { HostParts } from "./host";

export const openModel: HostParts["openModel"] = async ({ url, cache = true }, onProgress, signal) => {
  const stored = await fetchModel(url, { store: cache ? await openStore() : null, onProgress, signal });
  const { files } = stored;
  const config = parseConfig(files);
  const name = modelName(url);
  return {
    name,
    config,
    text: chatText(files, config.V),
    checkpoint: await openSafetensors(name, stored.shardSources(), files),
    times: stored.times,
    get fromCache() {
      return stored.fromCache;
    },
  };
};

/** @param V rows of the model's embedding table. Throws TOKENIZER_MISMATCH, MODEL_UNSUPPORTED. */
function chatText(files: CheckpointFiles, V: number): ChatText {
  const tokenizer = Tokenizer.create(files.tokenizer, files.tokenizerConfig);
  tokenizer.checkVocabulary(V);
  const template = ChatTemplate.fromTokenizerConfig(files.tokenizerConfig);
  return {
    render: (messages, options) => tokenizer.encode(template.render(messages, options)),
    detokenizer() {
      const stream = new StreamingDetokenizer(tokenizer);
      return {
        push: (ids) => ids.reduce((text, id) => text + stream.push(id), ""),
        flush: () => stream.end(),
      };
    },
  };
}

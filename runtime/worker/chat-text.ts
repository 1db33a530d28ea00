import type { CheckpointFiles } from "../formats/checkpoint";
import { ChatTemplate } from "../text/chat-template";
import { StreamingDetokenizer } from "../text/detokenizer";
import { Tokenizer } from "../text/tokenizer";
import type { ChatText } from "./chat";

/** @param V rows of the model's embedding table. Throws TOKENIZER_MISMATCH, MODEL_UNSUPPORTED. */
export function chatText(files: CheckpointFiles, V: number): ChatText {
  const tokenizer = Tokenizer.create(files.tokenizer, files.tokenizerConfig);
  tokenizer.checkVocabulary(V);
  const template = ChatTemplate.fromTokenizerConfig(files.tokenizerConfig);
  return {
    render: (messages, options) => tokenizer.encode(template.render(messages, options)),
    encode: (text) => tokenizer.encode(text),
    detokenizer() {
      const stream = new StreamingDetokenizer(tokenizer);
      return {
        push: (ids) => ids.reduce((text, id) => text + stream.push(id), ""),
        flush: () => stream.end(),
      };
    },
  };
}

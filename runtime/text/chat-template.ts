/** A conversation as the text that the model was trained on: the checkpoint's own Jinja template. */
import { Template } from "@huggingface/jinja";
import { OchreError } from "../errors";
import { brief, isObject, type JsonObject } from "../formats/json";

export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

/** Special tokens that templates write out; where absent, tokenizer_config.json's own. */
export interface TemplateTokens {
  bos?: string;
  eos?: string;
}

const unsupported = (what: string, cause?: unknown): OchreError =>
  new OchreError("MODEL_UNSUPPORTED", `[chat template] ${what}`, { cause });

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export class ChatTemplate {
  readonly #template: Template;
  readonly #tokens: Readonly<Record<string, string>>;

  private constructor(template: Template, tokens: Record<string, string>) {
    this.#template = template;
    this.#tokens = tokens;
  }

  /**
   * From a parsed tokenizer_config.json, whose `chat_template` is a string, or a list of `{ name, template }` of which
   * "default" is meant. Throws MODEL_UNSUPPORTED when there is none or it is no Jinja that we read.
   */
  static fromTokenizerConfig(tokenizerConfig: unknown, { bos, eos }: TemplateTokens = {}): ChatTemplate {
    const config: JsonObject = isObject(tokenizerConfig) ? tokenizerConfig : {};
    const tokens: Record<string, string> = {};
    for (const [name, given] of Object.entries({ bos_token: bos, eos_token: eos, unk_token: undefined, pad_token: undefined })) {
      const token = given ?? (isObject(config[name]) ? config[name].content : config[name]);
      if (typeof token === "string") tokens[name] = token;
    }
    const source = defaultTemplate(config.chat_template);
    try {
      return new ChatTemplate(new Template(source), tokens);
    } catch (cause) {
      throw unsupported(`must be Jinja but cannot be parsed: ${messageOf(cause)}`, cause);
    }
  }

  /**
   * The conversation as text; with `addGenerationPrompt`, up to where the assistant's reply begins.
   * Throws MODEL_UNSUPPORTED with the template's own words when it refuses the messages (an order of roles, say).
   */
  render(messages: readonly ChatMessage[], { addGenerationPrompt }: { addGenerationPrompt: boolean }): string {
    try {
      return this.#template.render({
        ...this.#tokens,
        messages: messages.map(({ role, content }) => ({ role, content })),
        add_generation_prompt: addGenerationPrompt,
        // transformers gives both, as None; templates ask whether they are defined.
        tools: null,
        documents: null,
      });
    } catch (cause) {
      throw unsupported(messageOf(cause), cause);
    }
  }
}

function defaultTemplate(given: unknown): string {
  if (typeof given === "string") return given;
  if (given === undefined || given === null)
    throw unsupported("there is none in tokenizer_config.json. Is this a base model? Choose one tuned for chat.");
  if (!Array.isArray(given)) throw unsupported(`must be a string or a list of named templates but is ${brief(given)}.`);
  const named = given.filter(isObject);
  const template = named.find(({ name }) => name === "default")?.template;
  if (typeof template === "string") return template;
  throw unsupported(`one must be named "default" but the names are ${named.map(({ name }) => brief(name)).join(", ")}.`);
}

import { describe, expect, it } from "vitest";
import { ChatTemplate } from "../../runtime/text/chat-template";
import { chatCases, tokenizer, tokenizerConfig } from "./sample";

const hello = [{ role: "user", content: "Hello" }];
const render = (chat_template: unknown, config: object = {}, tokens = {}) =>
  ChatTemplate.fromTokenizerConfig({ chat_template, ...config }, tokens).render(hello, { addGenerationPrompt: true });

describe("the sample model's chat template", () => {
  const template = ChatTemplate.fromTokenizerConfig(tokenizerConfig);

  it("is the golden one", () => {
    expect(tokenizerConfig.chat_template).toBe(chatCases.chat_template);
    expect(chatCases.cases).toHaveLength(8);
  });

  it.each(chatCases.cases)("renders like transformers: $messages", ({ messages, add_generation_prompt, rendered, ids }) => {
    const text = template.render(messages, { addGenerationPrompt: add_generation_prompt });
    expect(text).toBe(rendered);
    expect(tokenizer.encode(text)).toEqual(ids);
  });
});

describe("any chat template", () => {
  it("may be one of a named list", () => {
    const named = [
      { name: "tool_use", template: "tools" },
      { name: "default", template: "{{ messages[0].content }}" },
    ];
    expect(render(named)).toBe("Hello");
  });

  it("may write special tokens, given or from the configuration", () => {
    const template = "{{ bos_token }}{{ messages[0]['content'] }}{{ eos_token }}";
    expect(render(template, { bos_token: "<s>", eos_token: { content: "</s>" } })).toBe("<s>Hello</s>");
    expect(render(template, { bos_token: "<s>" }, { bos: "<b>", eos: "<e>" })).toBe("<b>Hello<e>");
  });

  it("finds tools defined, as None", () => {
    expect(render("{% if tools is defined and tools is none %}none{% endif %}")).toBe("none");
  });

  it("shows content as it is, template marks included", () => {
    const template = ChatTemplate.fromTokenizerConfig({ chat_template: "{{ messages[0].content }}" });
    const content = "{{ bos_token }} {% raw %} <|im_end|> &amp;";
    expect(template.render([{ role: "user", content }], { addGenerationPrompt: false })).toBe(content);
  });

  const refusals: [string, unknown, RegExp][] = [
    ["none", undefined, /there is none in tokenizer_config\.json/],
    ["null", null, /there is none in tokenizer_config\.json/],
    ["a number", 7, /must be a string or a list of named templates but is 7/],
    ["a list without a default", [{ name: "rag", template: "" }], /must be named "default" but the names are "rag"/],
    ["broken Jinja", "{% if %}", /must be Jinja but cannot be parsed/],
    ["its own refusal", "{{ raise_exception('Roles must alternate.') }}", /\[chat template\] Roles must alternate\./],
  ];
  it.each(refusals)("%s: MODEL_UNSUPPORTED", (_, template, message) => {
    expect(() => render(template)).toThrow(message);
    expect(() => render(template)).toThrow(expect.objectContaining({ name: "OchreError", code: "MODEL_UNSUPPORTED" }));
  });
});

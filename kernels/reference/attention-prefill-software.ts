/** Twin of attention-prefill-software, which computes what attention-prefill does. */
export { attentionPrefill as attentionPrefillSoftware } from "./attention-prefill";

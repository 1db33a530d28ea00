/** Which kernels were found to be fastest on this device, so that the next visit need not measure again. */
import type { ChoiceRecord } from "./schema";
import { withStore } from "./store";

/** Either throws STORE_BLOCKED where IndexedDB cannot be used, `put` STORE_QUOTA where there is no room at all. */
export const choices = {
  /** Undefined where nothing is known. */
  get: (key: string): Promise<ChoiceRecord | undefined> => withStore((store) => store.getChoice(key)),
  put: (key: string, record: ChoiceRecord): Promise<void> => withStore((store) => store.putChoice(key, record)),
};

// Keys, as browsers tell of them.
import type { KeyboardEvent } from "react";

/** Whether an input method takes the key, to choose a Chinese word with; of its last one Safari says so by 229 alone. */
export function isComposing({ nativeEvent, keyCode }: KeyboardEvent): boolean {
  return nativeEvent.isComposing || keyCode === 229;
}

// The server: whether it is there, what its model is called, and the key that it asks for.
import { Failure, fetchModel } from "../lib/api";
import type { Problem } from "../lib/conversation";
import { remember } from "../lib/storage";
import { usePage } from "./store";

const { getState, setState } = usePage;
const AGAIN_AFTER = [1000, 2000, 4000, 8000]; // milliseconds

let attempts = 0;
let timer: number | undefined;

/** Ask the server what it has; where it doesn't answer, ask again later. */
export async function connect(): Promise<void> {
  window.clearTimeout(timer);
  const { key } = getState();
  try {
    setState({ model: await fetchModel(key), connection: "ready" });
    attempts = 0;
  } catch (error) {
    if (error instanceof Failure && error.problem.kind === "key") {
      askForKey();
      return;
    }
    setState({ connection: "down" });
    timer = window.setTimeout(connect, AGAIN_AFTER[Math.min(attempts++, AGAIN_AFTER.length - 1)]);
  }
}

/** The server asks for a key, or does not know the one that it got. */
export function askForKey(): void {
  setState(({ key }) => ({ connection: key === null ? "key" : "wrong key" }));
}

/** What a problem says of the server: it wants a key, it may be gone, or serve another model by now. */
export function reconnect({ kind, status }: Problem): void {
  if (kind === "key") askForKey();
  if (kind === "unreachable" || status === 404) void connect();
}

/** Use this key for as long as the tab is open. */
export function takeKey(key: string): Promise<void> {
  remember("key", key, "session");
  setState({ key });
  return connect();
}

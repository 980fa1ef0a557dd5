// The answers that this page is having written, and how to stop them; and how tabs tell each other of such things.
import type { Conversation } from "../lib/conversation";

const controllers = new Map<string, AbortController>();

/** A channel to the other tabs; null in a browser that keeps nothing, and so shares nothing. */
export function channelOf(name: string): BroadcastChannel | null {
  try {
    return new BroadcastChannel(name);
  } catch {
    return null;
  }
}

/** A signal that ends when the answer is stopped. */
export function begin(turn: string): AbortSignal {
  const controller = new AbortController();
  controllers.set(turn, controller);
  return controller.signal;
}

export function end(turn: string): void {
  controllers.delete(turn);
}

export function stop(turn: string): void {
  controllers.get(turn)?.abort();
}

/** Whether this page has the answer written; another tab may have one written, too. */
export function isOwn(turn: string): boolean {
  return controllers.has(turn);
}

/** All answers that this page has written now. */
export function ownTurns(): string[] {
  return [...controllers.keys()];
}

/** Whether this page has an answer of the conversation written. */
export function isWriting(conversation: Conversation | undefined): boolean {
  return conversation?.turns.some(({ id }) => isOwn(id)) ?? false;
}

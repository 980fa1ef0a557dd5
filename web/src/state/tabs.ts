// Answers that other tabs have written. A tab says which are its own when it is asked; one that is closed or crashed
// says nothing, and what it was writing is then stopped here. It knows no streams.
import type { Conversation } from "../lib/conversation";
import { settled } from "../lib/tree";
import { put, reload } from "./keeping";
import { usePage } from "./store";
import { channelOf, isOwn, ownTurns } from "./writing";

const PATIENCE = 2000; // milliseconds; a tab in the background answers too, since messages are not held back as timers are
const QUESTION = "who writes?";
const channel = channelOf("sightline-writing");
const { getState, subscribe } = usePage;

let heard = new Set<string>();
let asking = false;

/** Answer other tabs, and ask them for as long as one of them has an answer written that is known here. */
export function watchOthers(): void {
  channel?.addEventListener("message", ({ data }) => {
    if (Array.isArray(data)) data.map(String).forEach(hear);
    else if (data === QUESTION && ownTurns().length > 0) channel.postMessage(ownTurns());
  });
  subscribe(({ conversations }, before) => {
    if (conversations !== before.conversations && foreignTurns().length > 0) void ask();
  });
  channel?.postMessage(QUESTION); // what was loaded as stopped may be one that is being written
}

async function ask(): Promise<void> {
  if (asking) return;
  asking = true;
  for (let asked = foreignTurns(); asked.length > 0; asked = foreignTurns()) {
    heard = new Set();
    channel?.postMessage(QUESTION);
    await new Promise((resolve) => setTimeout(resolve, PATIENCE));
    for (const turn of asked) if (!heard.has(turn)) await settle(turn);
  }
  asking = false;
}

function hear(turn: string): void {
  heard.add(turn);
  const id = ownerOf(turn)?.id;
  if (id && !foreignTurns().includes(turn)) void reload(id);
}

/** What is left of an answer whose tab is gone: what that tab kept of it last, which may be the whole. */
async function settle(turn: string): Promise<void> {
  const id = ownerOf(turn)?.id;
  if (id) await reload(id);
  const conversation = ownerOf(turn);
  if (conversation && foreignTurns().includes(turn)) put(settled(conversation, (one) => one === turn));
}

function foreignTurns(): string[] {
  return getState().conversations.flatMap(({ turns }) =>
    turns.flatMap(({ id, state }) => (state === "writing" && !isOwn(id) ? [id] : [])),
  );
}

function ownerOf(turn: string): Conversation | undefined {
  return getState().conversations.find(({ turns }) => turns.some(({ id }) => id === turn));
}

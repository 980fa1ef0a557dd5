import "./page";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Conversation } from "../src/lib/conversation";
import { addTurn, answer, newConversation, question } from "../src/lib/tree";
import { usePage } from "../src/state/store";
import { begin, end } from "../src/state/writing";

const kept = vi.hoisted(() => new Map<string, unknown>());
vi.mock("../src/lib/storage", () => ({
  loadConversation: async (id: string) => kept.get(id),
  saveConversation: async (conversation: { id: string }) => void kept.set(conversation.id, conversation),
  remembered: () => null,
  remember: () => {},
}));

// Node.js hands messages over in a time of its own; these arrive when the timers are advanced.
type Listener = (event: { data: unknown }) => void;
const sent: unknown[] = [];
const listeners: Listener[] = [];
class Channel {
  constructor(readonly name: string) {}
  postMessage(data: unknown) {
    if (this.name === "sightline-writing") sent.push(data);
  }
  addEventListener(_type: string, listener: Listener) {
    listeners.push(listener);
  }
}
vi.stubGlobal("BroadcastChannel", Channel);
vi.useFakeTimers();
const { watchOthers } = await import("../src/state/tabs");
watchOthers();
const asked = sent.splice(0);

const ASKED = question(null, "what?", [], 1);
const ANSWER = { ...answer(ASKED.id, "model", 2), text: "a c" };
const conversation = addTurn(addTurn(newConversation(0), ASKED), ANSWER);

function receive(data: unknown): void {
  for (const listener of listeners) listener({ data });
}

function lastTurn(from: unknown = usePage.getState().conversations[0]) {
  const { state, text } = (from as Conversation).turns.at(-1)!;
  return { state, text };
}

/** The other tab saved the conversation, and this one has read it. */
function show(one: Conversation): void {
  kept.set(one.id, one);
  usePage.setState({ conversations: [one] });
}

beforeEach(() => {
  sent.length = 0;
});

afterEach(async () => {
  usePage.setState({ conversations: [] });
  await vi.runAllTimersAsync();
});

test("a page that opens asks who writes, and a page that writes says what", () => {
  expect(asked).toEqual(["who writes?"]);
  receive("who writes?");
  expect(sent).toEqual([]);
  begin(ANSWER.id);
  receive("who writes?");
  expect(sent).toEqual([[ANSWER.id]]);
  end(ANSWER.id);
});

test("an answer stays as being written for as long as its tab says so, and is stopped and kept when it is silent", async () => {
  show(conversation);
  for (let round = 0; round < 5; round++) {
    receive([ANSWER.id]);
    await vi.advanceTimersByTimeAsync(2000);
    expect(lastTurn().state).toBe("writing");
  }
  await vi.advanceTimersByTimeAsync(3000);
  expect(lastTurn()).toEqual({ state: "stopped", text: "a c" });
  expect(lastTurn(kept.get(conversation.id))).toEqual({ state: "stopped", text: "a c" });
});

test("a tab that was gone after its answer was whole leaves it whole", async () => {
  const whole = { ...ANSWER, text: "a cat", state: "done" as const };
  usePage.setState({ conversations: [conversation] });
  kept.set(conversation.id, { ...conversation, turns: [ASKED, whole] });
  await vi.advanceTimersByTimeAsync(3000);
  expect(lastTurn()).toEqual({ state: "done", text: "a cat" });
});

test("an answer of this tab is not asked for", async () => {
  begin(ANSWER.id);
  show(conversation);
  await vi.advanceTimersByTimeAsync(10_000);
  expect([lastTurn().state, sent]).toEqual(["writing", []]);
  end(ANSWER.id);
  usePage.setState({ conversations: [] });
});

test("one that was loaded as stopped is being written again once its tab says so", async () => {
  show({ ...conversation, turns: [ASKED, { ...ANSWER, state: "stopped" }] });
  kept.set(conversation.id, conversation);
  receive([ANSWER.id]);
  await vi.advanceTimersByTimeAsync(0);
  expect(lastTurn().state).toBe("writing");
});

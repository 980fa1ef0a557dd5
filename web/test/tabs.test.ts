import "./page";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Conversation } from "../src/lib/conversation";
import { addTurn, answer, changeTurn, newConversation, path, question } from "../src/lib/tree";
import { usePage } from "../src/state/store";
import { begin, end } from "../src/state/writing";

const kept = vi.hoisted(() => new Map<string, unknown>());
const unreadable = vi.hoisted((): string[] => []);
vi.mock("../src/lib/storage", () => ({
  loadConversation: async (id: string) => {
    if (unreadable.includes(id)) throw new Error("the connection was lost");
    return kept.get(id);
  },
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
const { put, reload } = await import("../src/state/keeping");
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

test("what two tabs write in one conversation at once is kept by both", async () => {
  const mine = { ...answer(ASKED.id, "model", 3), text: "mine" };
  const ours = addTurn({ ...conversation, turns: [ASKED] }, mine);
  const whole = { ...conversation, turns: [ASKED, { ...ANSWER, text: "a cat", state: "done" as const }] };
  begin(mine.id);
  put(ours);
  kept.set(conversation.id, whole); // the other tab knew nothing of this one's answer
  await reload(conversation.id);
  const texts = (from: unknown) => (from as Conversation).turns.slice(1).map(({ text }) => text);
  const shown = usePage.getState().conversations[0]!;
  expect([texts(shown), path(shown).at(-1)!.text]).toEqual([["mine", "a cat"], "mine"]);
  await vi.advanceTimersByTimeAsync(500);
  expect(texts(kept.get(conversation.id))).toEqual(["mine", "a cat"]);
  end(mine.id);
});

test("a finished answer that is not kept yet is not cut to what another tab kept of it", async () => {
  begin(ANSWER.id);
  show(conversation);
  put({ ...conversation, turns: [ASKED, { ...ANSWER, text: "a cat", state: "stopped" }] });
  end(ANSWER.id);
  await reload(conversation.id);
  expect(lastTurn()).toEqual({ state: "stopped", text: "a cat" });
});

test("a finished answer is not cut to what a slower tab wrote over it", async () => {
  const whole = { ...ANSWER, text: "a cat", state: "done" as const };
  usePage.setState({ conversations: [{ ...conversation, turns: [ASKED, whole] }] });
  kept.set(conversation.id, conversation);
  await reload(conversation.id);
  await vi.advanceTimersByTimeAsync(500);
  for (const from of [undefined, kept.get(conversation.id)])
    expect(lastTurn(from)).toEqual({ state: "done", text: "a cat" });
});

test("a title that another tab gave stays while an answer is written here", async () => {
  begin(ANSWER.id);
  show(conversation);
  put(changeTurn(conversation, ANSWER.id, { text: "a ca" }), false);
  kept.set(conversation.id, { ...conversation, title: "Cats" });
  await reload(conversation.id);
  expect([usePage.getState().conversations[0]!.title, lastTurn().text]).toEqual(["Cats", "a ca"]);
  end(ANSWER.id);
});

test("a conversation that cannot be read is not taken for a deleted one", async () => {
  show(conversation);
  unreadable.push(conversation.id);
  await reload(conversation.id);
  expect(usePage.getState().conversations).toHaveLength(1);
  unreadable.length = 0;
  kept.delete(conversation.id);
  await reload(conversation.id);
  expect(usePage.getState().conversations).toHaveLength(0);
});

test("one that was loaded as stopped is being written again once its tab says so", async () => {
  show({ ...conversation, turns: [ASKED, { ...ANSWER, state: "stopped" }] });
  kept.set(conversation.id, conversation);
  receive([ANSWER.id]);
  await vi.advanceTimersByTimeAsync(0);
  expect(lastTurn().state).toBe("writing");
});

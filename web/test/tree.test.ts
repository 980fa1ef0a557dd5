import { is } from "valibot";
import { describe, expect, test } from "vitest";
import { type Conversation, ConversationSchema, type Turn } from "../src/lib/conversation";
import * as tree from "../src/lib/tree";

function say(conversation: Conversation, parent: Turn | null, role: "user" | "assistant", text: string) {
  const fresh = role === "user" ? tree.question(parent?.id ?? null, text, [], 1) : tree.answer(parent!.id, "model", 1);
  const turn: Turn = { ...fresh, text, state: "done" };
  return { turn, conversation: tree.addTurn(conversation, turn) };
}

function texts(conversation: Conversation): string[] {
  return tree.path(conversation).map(({ text }) => text);
}

/** A question with two answers, and a second version of the question. */
function branched() {
  const first = say(tree.newConversation(0), null, "user", "what?");
  const answered = say(first.conversation, first.turn, "assistant", "a cat");
  const again = say(answered.conversation, first.turn, "assistant", "a dog");
  const edited = say(again.conversation, null, "user", "where?");
  return {
    conversation: edited.conversation,
    first: first.turn,
    cat: answered.turn,
    dog: again.turn,
    edited: edited.turn,
  };
}

describe("versions of a turn", () => {
  test("the newest is shown, and none is lost", () => {
    const { conversation, first, edited, cat, dog } = branched();
    expect(texts(conversation)).toEqual(["where?"]);
    expect(tree.versions(conversation, edited).map(({ id }) => id)).toEqual([first.id, edited.id]);
    expect(tree.versions(conversation, dog).map(({ id }) => id)).toEqual([cat.id, dog.id]);
  });

  test("going back shows what stood below it, as it was left", () => {
    const { conversation, first, cat } = branched();
    const back = tree.choose(conversation, first.id);
    expect(texts(back)).toEqual(["what?", "a dog"]);
    const older = tree.choose(back, cat.id);
    expect(texts(older)).toEqual(["what?", "a cat"]);
    expect(texts(tree.choose(tree.choose(older, branched().edited.id), first.id))).toEqual(["what?", "a cat"]);
  });

  test("changing a turn changes no other, and not the conversation that was given", () => {
    const { conversation, cat, dog } = branched();
    const changed = tree.changeTurn(conversation, cat.id, { text: "a cow" });
    expect(changed.turns.find(({ id }) => id === cat.id)?.text).toBe("a cow");
    expect(changed.turns.find(({ id }) => id === dog.id)).toEqual(dog);
    expect(conversation.turns.find(({ id }) => id === cat.id)?.text).toBe("a cat");
  });
});

test("a branch begins with what stood up to there, under names of its own", () => {
  const { conversation, cat } = branched();
  const fresh = tree.branchOff(conversation, cat.id, "cats", 2);
  expect(texts(fresh)).toEqual(["what?", "a cat"]);
  expect(is(ConversationSchema, fresh)).toBe(true);
  const old = new Set(conversation.turns.map(({ id }) => id));
  expect(fresh.turns.some(({ id }) => old.has(id))).toBe(false);
});

test("what is being written is stopped: all of it, or those answers alone", () => {
  const asked = tree.question(null, "what?", [], 1);
  const [one, other] = [tree.answer(asked.id, "model", 2), tree.answer(asked.id, "model", 3)];
  const writing = { ...tree.newConversation(0), turns: [asked, one, other] };
  const states = (conversation: Conversation) => conversation.turns.map(({ state }) => state);
  expect(states(tree.settled(writing))).toEqual(["done", "stopped", "stopped"]);
  expect(states(tree.settled(writing, (id) => id === other.id))).toEqual(["done", "writing", "stopped"]);
});

test("a copy under new names has the same shape", () => {
  const { conversation } = branched();
  const copy = tree.renamed(tree.choose(conversation, conversation.turns[1]!.id), new Map());
  expect(is(ConversationSchema, copy)).toBe(true);
  expect(copy.turns.map(({ text }) => text)).toEqual(conversation.turns.map(({ text }) => text));
});

test("a conversation is called by its first question's first line, unless it was given a title", () => {
  const { conversation } = say(tree.newConversation(0), null, "user", `${"long ".repeat(30)}\nsecond line`);
  expect(tree.titleOf(conversation)).toMatch(/^long .*…$/);
  expect(tree.titleOf({ ...conversation, title: "Cats" })).toBe("Cats");
});

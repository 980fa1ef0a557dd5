// A conversation as a tree: editing a question or asking again adds a version beside the old one, and nothing is lost.
// Functions return new conversations and leave the given ones alone. They know no pages and no servers.
import { type Conversation, ROOT, type Turn } from "./conversation";
import { newId } from "./ids";

/** An empty conversation. */
export function newConversation(now: number): Conversation {
  return { id: newId(), title: null, created: now, changed: now, turns: [], chosen: {} };
}

/** A question below `parent`, an answer or null for the first one. */
export function question(parent: string | null, text: string, pictures: string[], now: number): Turn {
  return { id: newId(), parent, role: "user", text, pictures, at: now, state: "done" };
}

/** An answer to `parent` that is being written. */
export function answer(parent: string, model: string, now: number): Turn {
  return { id: newId(), parent, role: "assistant", text: "", pictures: [], at: now, state: "writing", model };
}

/** The conversation with `turn`, which is shown. */
export function addTurn(conversation: Conversation, turn: Turn): Conversation {
  const chosen = { ...conversation.chosen, [turn.parent ?? ROOT]: turn.id };
  return { ...conversation, turns: [...conversation.turns, turn], chosen, changed: turn.at };
}

/** The conversation with something of turn `id` changed. */
export function changeTurn(conversation: Conversation, id: string, change: Partial<Turn>): Conversation {
  return { ...conversation, turns: conversation.turns.map((turn) => (turn.id === id ? { ...turn, ...change } : turn)) };
}

/** All versions of `turn`, itself among them, oldest first. */
export function versions(conversation: Conversation, turn: Turn): Turn[] {
  return conversation.turns.filter((other) => other.parent === turn.parent);
}

/** The conversation in which turn `id` is shown instead of its other versions. */
export function choose(conversation: Conversation, id: string): Conversation {
  const turn = conversation.turns.find((one) => one.id === id);
  if (!turn) return conversation;
  return { ...conversation, chosen: { ...conversation.chosen, [turn.parent ?? ROOT]: id } };
}

/** The turns that are shown, from the first question on. */
export function path(conversation: Conversation): Turn[] {
  const children = new Map<string, Turn[]>();
  for (const turn of conversation.turns) {
    const parent = turn.parent ?? ROOT;
    children.set(parent, [...(children.get(parent) ?? []), turn]);
  }
  const shown: Turn[] = [];
  for (let parent = ROOT; ; ) {
    const those = children.get(parent);
    if (!those) return shown;
    const next = those.find((turn) => turn.id === conversation.chosen[parent]) ?? those[those.length - 1]!;
    shown.push(next);
    parent = next.id;
  }
}

/** Turn `id` and all before it, from the first question on, whether they are shown or not. */
export function pathTo(conversation: Conversation, id: string | null): Turn[] {
  const byId = new Map(conversation.turns.map((turn) => [turn.id, turn]));
  const found: Turn[] = [];
  for (let turn = id === null ? undefined : byId.get(id); turn; turn = byId.get(turn.parent ?? "")) found.unshift(turn);
  return found;
}

/** A new conversation that begins with what is shown up to turn `id`. */
export function branchOff(conversation: Conversation, id: string, title: string, now: number): Conversation {
  const fresh = newConversation(now);
  const ids = new Map(pathTo(conversation, id).map((turn) => [turn.id, newId()]));
  fresh.turns = pathTo(conversation, id).map((turn) => ({
    ...withoutProblemPlace(turn),
    id: ids.get(turn.id)!,
    parent: turn.parent === null ? null : ids.get(turn.parent)!,
  }));
  return { ...fresh, title };
}

/** The same conversation under new names, as a copy beside the old one. */
export function renamed(conversation: Conversation, pictures: Map<string, string>): Conversation {
  const ids = new Map(conversation.turns.map((turn) => [turn.id, newId()]));
  const name = (id: string) => ids.get(id) ?? id;
  return {
    ...conversation,
    id: newId(),
    turns: conversation.turns.map((turn) => ({
      ...turn,
      id: name(turn.id),
      parent: turn.parent === null ? null : name(turn.parent),
      pictures: turn.pictures.map((id) => pictures.get(id) ?? id),
      ...(turn.problem?.turn && { problem: { ...turn.problem, turn: name(turn.problem.turn) } }),
    })),
    chosen: Object.fromEntries(Object.entries(conversation.chosen).map(([parent, id]) => [name(parent), name(id)])),
  };
}

/** The conversation once none of those answers is being written any more, or none at all. */
export function settled(conversation: Conversation, those: (turn: string) => boolean = () => true): Conversation {
  const turns = conversation.turns.map((turn) =>
    turn.state === "writing" && those(turn.id) ? { ...turn, state: "stopped" as const } : turn,
  );
  return { ...conversation, turns };
}

/**
 * The turns of both versions of a conversation. Of one that both have, the answer that is done or longer counts, since
 * text only grows, else mine where `isMine` says so. `first`: whether my title and choices count.
 */
export function merged(
  mine: Conversation,
  theirs: Conversation,
  isMine: (turn: Turn) => boolean,
  first: boolean,
): Conversation {
  const other = new Map(theirs.turns.map((turn) => [turn.id, turn]));
  const known = mine.turns.map((turn) => {
    const that = other.get(turn.id);
    other.delete(turn.id);
    if (!that || that.state === "done") return that ?? turn;
    return turn.state === "done" || turn.text.length > that.text.length || isMine(turn) ? turn : that;
  });
  const [last, before] = first ? [mine, theirs] : [theirs, mine];
  return { ...last, turns: [...known, ...other.values()], chosen: { ...before.chosen, ...last.chosen } };
}

/** The pictures of these turns, each once, in the order they were shown to the model. */
export function picturesOf(turns: Turn[]): string[] {
  return turns.flatMap((turn) => turn.pictures);
}

/** What to call the conversation in a list; "" if there is nothing to call it by. */
export function titleOf(conversation: Conversation): string {
  if (conversation.title) return conversation.title;
  const first = conversation.turns[0]?.text.trim().split(/\s*\n/)[0] ?? "";
  return first.length > 60 ? `${first.slice(0, 58).trimEnd()}…` : first;
}

function withoutProblemPlace(turn: Turn): Turn {
  if (!turn.problem) return turn;
  const { turn: _turn, picture: _picture, ...problem } = turn.problem;
  return { ...turn, problem };
}

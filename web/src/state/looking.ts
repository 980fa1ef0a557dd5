// Where an answer looked: asked for when a word is pointed at first, and kept as long as the page is open. Attention
// comes first, since it costs one pass; what hiding patches costs is asked for when that map is chosen.
import { explain, Failure } from "../lib/api";
import type { Conversation, Problem, Turn } from "../lib/conversation";
import type { View } from "../lib/heat";
import { MissingPicture, writeMessages } from "../lib/messages";
import { remember } from "../lib/storage";
import { pathTo } from "../lib/tree";
import { reconnect } from "./connection";
import { pictureUri } from "./pictures";
import { type Focus, findConversation, type Look, usePage } from "./store";

const NOTHING: Look = { found: null, busy: null, problem: null };
const { getState, setState } = usePage;

let asking: { turn: string; controller: AbortController } | null = null;

/** Look at a word of the conversation that is shown; null: at none. */
export function look(focus: Focus | null): void {
  setState({ focus });
  const { current } = getState();
  if (focus && current) void need(current, focus.turn);
}

/** Choose which map is shown, now and from now on. */
export function chooseView(view: View): void {
  setState({ view });
  remember("view", view);
  const { focus, current } = getState();
  if (focus && current) void need(current, focus.turn);
}

/** Ask again after a failure. */
export function lookAgain(): void {
  const { focus, current } = getState();
  if (!focus || !current) return;
  change(focus.turn, { problem: null });
  void need(current, focus.turn);
}

/** Whether the server can be asked where this answer looked: it is whole, and a picture was before it. */
export function canLook(conversation: Conversation, turn: Turn): boolean {
  if (turn.state === "writing" || turn.text.trim() === "") return false;
  return pathTo(conversation, turn.parent).some(({ pictures }) => pictures.length > 0);
}

async function need(id: string, turnId: string): Promise<void> {
  const known = getState().looks[turnId] ?? NOTHING;
  const view: View = known.found && getState().view === "occlusion" ? "occlusion" : "attention";
  if (known.problem || known.busy || isThere(known, view)) return;
  const conversation = findConversation(id);
  const turn = conversation?.turns.find((one) => one.id === turnId);
  if (!conversation || !turn) return;
  asking?.controller.abort(); // one at a time: the word that is pointed at now is what matters
  const controller = new AbortController();
  asking = { turn: turnId, controller };
  change(turnId, { busy: view, problem: null });
  try {
    const found = await request(conversation, turn, view === "occlusion", controller.signal);
    change(turnId, { found, busy: null });
    await need(id, turnId); // the other map, if it is the one that is shown
  } catch (error) {
    change(turnId, { busy: null, problem: controller.signal.aborted ? null : problemOf(error) });
  }
}

function isThere({ found }: Look, view: View): boolean {
  return found !== null && (view === "attention" || found.words.every(({ occlusion }) => occlusion !== null));
}

async function request(conversation: Conversation, turn: Turn, occlusion: boolean, signal: AbortSignal) {
  const { key, model } = getState();
  const { messages } = await writeMessages(pathTo(conversation, turn.parent), pictureUri);
  return explain(key, { model, messages, answer: turn.text, occlusion }, signal);
}

function problemOf(error: unknown): Problem {
  if (error instanceof MissingPicture) return { kind: "missing", message: "" };
  if (!(error instanceof Failure)) return { kind: "unexpected", message: "" };
  reconnect(error.problem);
  return error.problem;
}

function change(turn: string, change: Partial<Look>): void {
  setState(({ looks }) => ({ looks: { ...looks, [turn]: { ...(looks[turn] ?? NOTHING), ...change } } }));
}

// Asking and answering: questions go into a conversation, answers are written into it as they come.
import { chat, Failure } from "../lib/api";
import type { Conversation, Figures, Problem, Turn } from "../lib/conversation";
import { MissingPicture, sourceOf, type Written, writeMessages } from "../lib/messages";
import { speedOf } from "../lib/stream";
import { addTurn, answer, branchOff, changeTurn, choose, newConversation, path, pathTo, question } from "../lib/tree";
import { reconnect } from "./connection";
import { put, putPicture } from "./keeping";
import { pictureUri } from "./pictures";
import { findConversation, open, speak, text, usePage } from "./store";
import { begin, end, stop } from "./writing";

type Asked = Pick<Turn, "text" | "pictures">;

const SHOW_EVERY = 40; // milliseconds; not frames, which a page in the background has none of

/** Ask at the end of the conversation that is shown, or in a new one. */
export function ask(asked: Asked): void {
  const { current } = usePage.getState();
  const conversation = findConversation(current) ?? newConversation(Date.now());
  const last = path(conversation).at(-1);
  if (conversation.id !== current) open(conversation.id);
  void askBelow(conversation, last?.id ?? null, asked);
}

/** Ask another version of a question in conversation `id`, as it is by now; the old one stays. */
export function askInstead(id: string, old: Turn, asked: Asked): void {
  const conversation = findConversation(id);
  if (conversation) void askBelow(conversation, old.parent, asked);
}

/** Have another version of an answer written. */
export function answerAgain(conversation: Conversation, old: Turn): void {
  if (old.parent !== null) void respond(conversation, old.parent);
}

/** Show another version of a turn. */
export function show(conversation: Conversation, turn: string): void {
  put(choose(conversation, turn));
  usePage.setState({ focus: null });
}

/** Go on from a turn in a conversation of its own. */
export function branch(conversation: Conversation, turn: string, title: string): void {
  const fresh = branchOff(conversation, turn, title, Date.now());
  put(fresh);
  open(fresh.id);
}

export function rename(conversation: Conversation, title: string): void {
  put({ ...conversation, title: title.trim() || null });
}

/** Stop what is being written in a conversation. What there is of it stays. */
export function stopWriting(conversation: Conversation): void {
  for (const turn of conversation.turns) stop(turn.id);
}

function askBelow(conversation: Conversation, parent: string | null, asked: Asked): Promise<void> {
  for (const id of asked.pictures) void putPicture(id);
  const turn = question(parent, asked.text, asked.pictures, Date.now());
  return respond(addTurn(conversation, turn), turn.id);
}

async function respond(conversation: Conversation, parent: string): Promise<void> {
  const { model } = usePage.getState();
  const turn = answer(parent, model, Date.now());
  const writer = new Writer(conversation.id, turn.id);
  const signal = begin(turn.id);
  put(addTurn(conversation, turn));
  usePage.setState({ focus: null });
  writer.speak(text().waiting);
  try {
    await write(writer, pathTo(conversation, parent), model, signal);
  } finally {
    end(turn.id);
  }
}

async function write(writer: Writer, turns: Turn[], model: string, signal: AbortSignal): Promise<void> {
  const { key, sampling } = usePage.getState();
  let written: Written | undefined;
  try {
    written = await writeMessages(turns, pictureUri);
    writer.start();
    for await (const step of chat(key, { model, messages: written.messages, sampling }, signal)) {
      writer.add(step.text);
      if (step.tokens !== null) writer.tokens = step.tokens;
      if (step.finish !== null) writer.full = step.finish === "length";
    }
    writer.finish({ state: "done" });
  } catch (error) {
    if (signal.aborted) writer.finish({ state: "stopped" });
    else writer.finish({ state: "failed", problem: problemOf(error, written) });
  }
}

function problemOf(error: unknown, written: Written | undefined): Problem {
  if (error instanceof MissingPicture) return { kind: "missing", message: "", ...error.source };
  if (!(error instanceof Failure)) return { kind: "unexpected", message: "" };
  reconnect(error.problem);
  return { ...error.problem, ...(written && sourceOf(error.param, written)) };
}

/** Writes an answer into its conversation, a few times a second, and measures it. */
class Writer {
  tokens: number | null = null;
  full = false;
  private text = "";
  private said = 0;
  private started = performance.now();
  private first: number | null = null;
  private last: number | null = null;
  private timer: number | undefined;

  constructor(
    private readonly conversation: string,
    private readonly turn: string,
  ) {}

  /** The request goes out now. */
  start(): void {
    this.started = performance.now();
  }

  add(piece: string): void {
    if (piece === "") return;
    this.last = performance.now();
    this.first ??= this.last;
    this.text += piece;
    this.timer ??= window.setTimeout(() => this.flush(), SHOW_EVERY);
  }

  finish(change: Partial<Turn>): void {
    window.clearTimeout(this.timer);
    this.change({ ...change, text: this.text, figures: this.figures(), ...(this.full && { full: true }) });
    const rest = this.text.slice(this.said).trim();
    if (rest) this.speak(rest);
    if (change.state === "stopped") this.speak(text().stopped);
    if (change.problem) this.speak(`${text().problems[change.problem.kind]} ${change.problem.message}`);
  }

  /** To a screen reader, if the conversation is the one that is shown. */
  speak(words: string): void {
    if (usePage.getState().current === this.conversation) speak(words);
  }

  private flush(): void {
    this.timer = undefined;
    this.change({ text: this.text });
    // Whole sentences, each once.
    const whole = /^[\s\S]*([.!?](?=\s|$)|[。！？\n])/.exec(this.text.slice(this.said))?.[0] ?? "";
    this.said += whole.length;
    if (whole.trim()) this.speak(whole.trim());
  }

  private change(change: Partial<Turn>): void {
    const conversation = findConversation(this.conversation);
    if (conversation) put(changeTurn(conversation, this.turn, change), false);
  }

  private figures(): Figures {
    const { first, last, tokens, started } = this;
    return {
      tokens,
      firstToken: first === null ? null : first - started,
      total: performance.now() - started,
      speed: speedOf(tokens, first, last),
    };
  }
}

// Conversations between the page and the browser's database: loaded once, saved as they change, told to other tabs,
// deleted so that it can be taken back, and written to and read from files.
import * as v from "valibot";
import { type Conversation, ConversationSchema, type Turn } from "../lib/conversation";
import { sizeOf } from "../lib/pictures";
import * as storage from "../lib/storage";
import { BadFile, MOST_BYTES, readFile, writeFile } from "../lib/transfer";
import { merged, settled, titleOf } from "../lib/tree";
import { findPicture, know } from "./pictures";
import { dismiss, findConversation, open, say, text, usePage } from "./store";
import { channelOf, isOwn, isWriting, stop } from "./writing";

const { getState, setState } = usePage;
const SAVE_AFTER = 400; // milliseconds
const SWEEP_AFTER = 60_000;
const others = channelOf("sightline");
const waiting = new Map<string, number>();
const edited = new Set<string>(); // of those, what its reader has changed besides what is being written

/** Load what was kept, and show what was shown last in this tab. What other tabs keep meanwhile is loaded again. */
export async function loadKept(): Promise<void> {
  const meanwhile = new Set<string>();
  const hear = ({ data }: MessageEvent) => {
    if (getState().loaded) void reload(String(data));
    else meanwhile.add(String(data));
  };
  others?.addEventListener("message", hear);
  try {
    const found = await storage.loadConversations();
    const read = [...found.values()].map((value) => v.safeParse(ConversationSchema, value));
    const good = read.flatMap((one) => (one.success ? [settled(one.output)] : []));
    if (good.length < read.length) say("problem", text().unreadable(read.length - good.length));
    const current = storage.remembered("current", "session");
    setState({ conversations: sorted(good), current: good.some(({ id }) => id === current) ? current : null });
    if (good.length === read.length) await planSweep();
  } catch {
    say("problem", text().notKept);
  } finally {
    setState({ loaded: true });
  }
  for (const id of meanwhile) void reload(id);
  window.addEventListener("pagehide", leave);
}

/** Put a conversation into the list, or change it there, and keep it; `byReader` where its reader asked for that. */
export function put(conversation: Conversation, byReader = true): void {
  if (byReader) edited.add(conversation.id);
  setState((page) => {
    const rest = page.conversations.filter(({ id }) => id !== conversation.id);
    return { conversations: sorted([conversation, ...rest]) };
  });
  if (!waiting.has(conversation.id)) {
    waiting.set(
      conversation.id,
      window.setTimeout(() => save(conversation.id), SAVE_AFTER),
    );
  }
}

/** Keep a picture. */
export async function putPicture(id: string): Promise<void> {
  const picture = await findPicture(id);
  if (picture) await storage.savePicture(picture).catch(() => say("problem", text().notKept));
}

/** Delete a conversation; for a while it can be taken back. */
export function remove(id: string): void {
  const gone = findConversation(id);
  if (!gone) return;
  for (const turn of gone.turns) stop(turn.id);
  setState((page) => ({ conversations: page.conversations.filter((one) => one.id !== id) }));
  if (getState().current === id) open(null);
  drop(id);
  const notice = say("done", text().deleted(titleOf(gone) || text().untitled), () => {
    dismiss(notice);
    if (!findConversation(id)) put(settled(gone)); // another tab that writes in it has brought it back
    open(id);
  });
}

/** Save a file with these conversations, as a download. */
export async function exportFile(conversations: Conversation[]): Promise<void> {
  const ids = picturesIn(conversations);
  const found = await Promise.all([...ids].map(async (id) => [id, await findPicture(id)] as const));
  const pictures = new Map(found.flatMap(([id, picture]) => (picture ? [[id, picture] as const] : [])));
  if (pictures.size < ids.size) say("problem", text().lostOnExport(ids.size - pictures.size));
  const now = new Date();
  const written = await writeFile(conversations, pictures, now).catch((error) => void say("problem", String(error)));
  if (!written) return; // it is longer than a text may be
  const file = new Blob([written], { type: "application/json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = `sightline-${now.toISOString().slice(0, 10)}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Take over the conversations in a file; a bad one is said and changes nothing. */
export async function importFile(file: File): Promise<void> {
  try {
    const taken = new Set(getState().conversations.map(({ id }) => id));
    if (file.size > MOST_BYTES) throw new BadFile("size");
    const { conversations, pictures } = readFile(await file.text(), taken);
    for (const picture of pictures) {
      await sizeOf(picture.blob).catch(() => {
        throw new BadFile("picture", picture.name);
      });
    }
    pictures.forEach(know);
    for (const { id } of pictures) void putPicture(id);
    for (const one of conversations) put(one);
    if (conversations.length === 1) open(conversations[0]!.id);
    say("done", text().imported(conversations.length));
  } catch (error) {
    const words = text().badFile;
    if (!(error instanceof BadFile)) say("problem", words.json);
    else if (error.reason === "shape" || error.reason === "picture") say("problem", words[error.reason](error.where));
    else say("problem", words[error.reason]);
  }
}

function save(id: string): void {
  const conversation = findConversation(id);
  if (conversation) keep(conversation);
  else forget(id);
}

function forget(id: string): void {
  window.clearTimeout(waiting.get(id));
  waiting.delete(id);
  edited.delete(id);
}

function keep(conversation: Conversation): void {
  const { id } = conversation;
  forget(id);
  storage.saveConversation(conversation).then(
    () => others?.postMessage(id),
    () => say("problem", text().notKept),
  );
}

/** What is being written here ends with the page, so it is kept as stopped. */
function leave(): void {
  for (const conversation of getState().conversations.filter(isWriting)) {
    keep(settled(conversation, isOwn));
    // Once it is on its way, not once it is kept: the page will not be there any more.
    queueMicrotask(() => others?.postMessage(conversation.id));
  }
  [...waiting.keys()].forEach(save);
}

function drop(id: string): void {
  forget(id);
  storage.dropConversations([id]).then(
    () => others?.postMessage(id),
    () => {},
  );
}

/**
 * Another tab changed a conversation. What was written in this one meanwhile stays, and is kept again where the other
 * tab has written over it.
 */
export async function reload(id: string): Promise<void> {
  const kept = await storage.loadConversation(id).catch(() => null); // null: unread, which is not deleted
  const read = v.safeParse(ConversationSchema, kept);
  const mine = findConversation(id);
  const unsaved = waiting.has(id);
  const rest = getState().conversations.filter((one) => one.id !== id);
  if (read.success) {
    const isMine = (turn: Turn) => isOwn(turn.id) || (unsaved && turn.state !== "writing");
    const both = mine ? merged(mine, read.output, isMine, edited.has(id)) : read.output;
    setState({ conversations: sorted([both, ...rest]) });
    if (both.turns.some((turn) => !read.output.turns.includes(turn))) put(both, false);
  } else if (kept === undefined && !unsaved && !isWriting(mine)) {
    setState({ conversations: rest });
    if (getState().current === id) open(null);
  }
}

/**
 * Pictures that no conversation has go a while after the page was opened: what another tab is about to keep, or may
 * still take back, is looked at again before.
 */
async function planSweep(): Promise<void> {
  const shown = picturesIn(getState().conversations); // may be deleted, and taken back, meanwhile
  const candidates = (await storage.listPictures()).filter((id) => !shown.has(id));
  setTimeout(async () => {
    const kept = await storage.loadConversations().catch(() => null);
    const read = [...(kept?.values() ?? [])].map((value) => v.safeParse(ConversationSchema, value));
    if (!kept || read.some((one) => !one.success)) return;
    const used = picturesIn([...read.map(({ output }) => output as Conversation), ...getState().conversations]);
    await storage.dropPictures(candidates.filter((id) => !used.has(id))).catch(() => {});
  }, SWEEP_AFTER);
}

function picturesIn(conversations: Conversation[]): Set<string> {
  return new Set(conversations.flatMap(({ turns }) => turns.flatMap(({ pictures }) => pictures)));
}

function sorted(conversations: Conversation[]): Conversation[] {
  return conversations.sort((one, other) => other.changed - one.changed);
}

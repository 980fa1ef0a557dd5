// Conversations between the page and the browser's database: loaded once, saved as they change, told to other tabs,
// deleted so that it can be taken back, and written to and read from files.
import * as v from "valibot";
import { type Conversation, ConversationSchema } from "../lib/conversation";
import { sizeOf } from "../lib/pictures";
import * as storage from "../lib/storage";
import { BadFile, readFile, writeFile } from "../lib/transfer";
import { settled, titleOf } from "../lib/tree";
import { findPicture, know } from "./pictures";
import { dismiss, findConversation, open, say, text, usePage } from "./store";
import { isOwn, isWriting, stop } from "./writing";

const { getState, setState } = usePage;
const SAVE_AFTER = 400; // milliseconds
const SWEEP_AFTER = 60_000;
const others = "BroadcastChannel" in window ? new BroadcastChannel("sightline") : null;
const waiting = new Map<string, number>();

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

/** Put a conversation into the list, or change it there, and keep it. */
export function put(conversation: Conversation): void {
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
    put(settled(gone));
    open(id);
  });
}

/** Save a file with these conversations, as a download. */
export async function exportFile(conversations: Conversation[]): Promise<void> {
  const ids = new Set(conversations.flatMap(({ turns }) => turns.flatMap(({ pictures }) => pictures)));
  const found = await Promise.all([...ids].map(async (id) => [id, await findPicture(id)] as const));
  const pictures = new Map(found.flatMap(([id, picture]) => (picture ? [[id, picture] as const] : [])));
  if (pictures.size < ids.size) say("problem", text().lostOnExport(ids.size - pictures.size));
  const now = new Date();
  const file = new Blob([await writeFile(conversations, pictures, now)], { type: "application/json" });
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
    const { conversations, pictures } = readFile(await file.text(), taken);
    for (const picture of pictures) {
      await sizeOf(picture.blob).catch(() => {
        throw new BadFile("picture", picture.name);
      });
    }
    pictures.forEach(know);
    for (const { id } of pictures) void putPicture(id);
    conversations.forEach(put);
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

/** Another tab changed a conversation. What is being written here is not taken from under it. */
export async function reload(id: string): Promise<void> {
  const busy = () => waiting.has(id) || isWriting(findConversation(id));
  if (busy()) return;
  const read = v.safeParse(ConversationSchema, await storage.loadConversation(id).catch(() => undefined));
  if (busy()) return;
  setState((page) => {
    const rest = page.conversations.filter((one) => one.id !== id);
    return { conversations: read.success ? sorted([read.output, ...rest]) : rest };
  });
  if (!read.success && getState().current === id) open(null);
}

/**
 * Pictures that no conversation has go a while after the page was opened: what another tab is about to keep, or may
 * still take back, is looked at again before.
 */
async function planSweep(): Promise<void> {
  const candidates = await storage.listPictures();
  setTimeout(async () => {
    const kept = await storage.loadConversations().catch(() => null);
    const read = [...(kept?.values() ?? [])].map((value) => v.safeParse(ConversationSchema, value));
    if (!kept || read.some((one) => !one.success)) return;
    const all = [...read.map(({ output }) => output as Conversation), ...getState().conversations];
    const used = new Set(all.flatMap(({ turns }) => turns.flatMap(({ pictures }) => pictures)));
    await storage.dropPictures(candidates.filter((id) => !used.has(id))).catch(() => {});
  }, SWEEP_AFTER);
}

function sorted(conversations: Conversation[]): Conversation[] {
  return conversations.sort((one, other) => other.changed - one.changed);
}

// What outlives the page: conversations and pictures in IndexedDB, a few choices in localStorage, the key for as long
// as the tab. It knows keys and values, not what they mean.
import { createStore, delMany, get, getMany, keys, promisifyRequest, set } from "idb-keyval";
import type { Picture } from "./pictures";

const CONVERSATION = "conversation:";
const PICTURE = "picture:";
const kept = createStore("sightline", "kept");
const store: typeof kept = async (mode, use) => kept(mode, use); // where nothing may be kept, it rejects, not throws

/** All conversations as they were kept, unchecked, by their ids. */
export async function loadConversations(): Promise<Map<string, unknown>> {
  const found = (await keys<string>(store)).filter((key) => key.startsWith(CONVERSATION));
  const values = await getMany(found, store);
  return new Map(found.map((key, index) => [key.slice(CONVERSATION.length), values[index]]));
}

/** One conversation as it was kept, unchecked; undefined where it isn't any more. */
export function loadConversation(id: string): Promise<unknown> {
  return get(CONVERSATION + id, store);
}

export function saveConversation(conversation: { id: string }): Promise<void> {
  return store("readwrite", (kept) => {
    kept.put(conversation, CONVERSATION + conversation.id);
    kept.transaction.commit(); // a page that is being left has no later moment to
    return promisifyRequest(kept.transaction);
  });
}

export function dropConversations(ids: string[]): Promise<void> {
  return delMany(
    ids.map((id) => CONVERSATION + id),
    store,
  );
}

export function loadPicture(id: string): Promise<Picture | undefined> {
  return get<Picture>(PICTURE + id, store);
}

export function savePicture(picture: Picture): Promise<void> {
  return set(PICTURE + picture.id, picture, store);
}

/** Ids of all pictures that are kept. */
export async function listPictures(): Promise<string[]> {
  const found = await keys<string>(store);
  return found.filter((key) => key.startsWith(PICTURE)).map((key) => key.slice(PICTURE.length));
}

export function dropPictures(ids: string[]): Promise<void> {
  return delMany(
    ids.map((id) => PICTURE + id),
    store,
  );
}

/** A choice that was made here before; null where none was, or where the browser keeps none. */
export function remembered(name: string, where: "local" | "session" = "local"): string | null {
  try {
    return area(where).getItem(`sightline.${name}`);
  } catch {
    return null;
  }
}

/** Keep a choice; null forgets it. A browser that keeps none is no reason to stop. */
export function remember(name: string, value: string | null, where: "local" | "session" = "local"): void {
  try {
    if (value === null) area(where).removeItem(`sightline.${name}`);
    else area(where).setItem(`sightline.${name}`, value);
  } catch {
    // The choice holds until the page is closed.
  }
}

function area(where: "local" | "session"): Storage {
  return where === "local" ? localStorage : sessionStorage;
}

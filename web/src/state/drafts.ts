// Questions being written, by the conversation that they go on ("" for a new one) or by the question that they are a
// new version of. Reading a picture takes a moment: it goes into the draft that it was given to, whichever is shown then.
import { type Draft, EMPTY, withRead, withReading } from "../lib/draft";
import { newId } from "../lib/ids";
import { readPictures } from "./pictures";
import { speak, text, usePage } from "./store";

const { getState, setState } = usePage;

/** The draft in a component; undefined where none was begun. */
export function useDraft(id: string): Draft | undefined {
  return usePage((page) => page.drafts[id]);
}

/** The draft as it is now; empty where none was begun. */
export function findDraft(id: string): Draft {
  return getState().drafts[id] ?? EMPTY;
}

export function changeDraft(id: string, change: Partial<Draft>): void {
  setState(({ drafts }) => ({ drafts: { ...drafts, [id]: { ...findDraft(id), ...change } } }));
}

/** Give a draft up, with what is still being read for it. */
export function dropDraft(id: string): void {
  setState(({ drafts: { [id]: _dropped, ...rest } }) => ({ drafts: rest }));
}

/** Read pictures into a draft. It cannot be sent until they are read; what cannot be read is said. */
export async function addPictures(id: string, files: File[]): Promise<void> {
  const reading = files.map(({ name }) => ({ id: newId(), name }));
  changeDraft(id, withReading(findDraft(id), reading));
  speak(text().reading(files.map(({ name }) => name)));
  const pictures = await readPictures(files);
  if (!getState().drafts[id]) return; // it was given up in the meantime
  changeDraft(id, withRead(findDraft(id), reading, pictures));
  const attached = findDraft(id).pictures.length;
  if (attached > 0) speak(text().attached(attached));
}

// A question being written: its text, its pictures, and the files that are still being read as pictures. Functions
// return new drafts and leave the given ones alone. They know no pages and read nothing.

/** A file that is being read. It keeps its place by `id`, which is not the picture's. */
export interface Reading {
  id: string;
  name: string;
}

export interface Draft {
  text: string;
  pictures: string[];
  reading: Reading[];
}

export const EMPTY: Draft = { text: "", pictures: [], reading: [] };

/** Whether it can be sent as it is: there is something in it, and nothing that was put into it is still to come. */
export function isReady({ text, pictures, reading }: Draft): boolean {
  return reading.length === 0 && (text.trim() !== "" || pictures.length > 0);
}

/** The draft while these files are read too. */
export function withReading(draft: Draft, reading: Reading[]): Draft {
  return { ...draft, reading: [...draft.reading, ...reading] };
}

/** The draft without a file that is being read; what it holds is then left out once it is read. */
export function withoutReading(draft: Draft, id: string): Draft {
  return { ...draft, reading: draft.reading.filter((one) => one.id !== id) };
}

/** The draft once these files were read: `pictures` has each one's picture, null where a file held none. */
export function withRead(draft: Draft, reading: Reading[], pictures: (string | null)[]): Draft {
  const awaited = new Set(draft.reading.map(({ id }) => id));
  const found = pictures.filter((picture, index) => picture !== null && awaited.has(reading[index]!.id));
  const rest = reading.reduce((left, { id }) => withoutReading(left, id), draft);
  return { ...rest, pictures: [...draft.pictures, ...(found as string[])] };
}

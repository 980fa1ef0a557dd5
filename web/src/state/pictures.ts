// Pictures by their ids: those of this page at once, the others from the browser's database when they are shown.
import { useEffect, useState } from "react";
import { type Picture, readPicture, toDataUri } from "../lib/pictures";
import { loadPicture } from "../lib/storage";
import { say, text } from "./store";

const known = new Map<string, Promise<Picture | null>>();
const urls = new WeakMap<Blob, string>();

/** The picture; null where it is not in this browser any more. */
export function findPicture(id: string): Promise<Picture | null> {
  let found = known.get(id);
  if (!found) {
    found = loadPicture(id).then(
      (picture) => picture ?? null,
      () => null,
    );
    known.set(id, found);
  }
  return found;
}

/** Let a picture be found by its id before, or without, its being kept. */
export function know(picture: Picture): void {
  known.set(picture.id, Promise.resolve(picture));
}

/** The picture as a data URI, as a server is sent it; null where it is not in this browser any more. */
export async function pictureUri(id: string): Promise<string | null> {
  const picture = await findPicture(id);
  return picture && toDataUri(picture.blob);
}

/** An address for `<img>`, for as long as the page is open. */
export function urlOf({ blob }: Picture): string {
  let url = urls.get(blob);
  if (!url) {
    url = URL.createObjectURL(blob);
    urls.set(blob, url);
  }
  return url;
}

/** The picture in a component: undefined while it is looked for, null where it is not in this browser any more. */
export function usePicture(id: string): Picture | null | undefined {
  const [found, setFound] = useState<{ id: string; picture: Picture | null }>();
  useEffect(() => {
    let wanted = true;
    findPicture(id).then((picture) => wanted && setFound({ id, picture }));
    return () => {
      wanted = false;
    };
  }, [id]);
  return found?.id === id ? found.picture : undefined;
}

/** The id of the picture in each of these files, null where it holds none; those are said, all at once. */
export async function readPictures(files: File[]): Promise<(string | null)[]> {
  const read = await Promise.all(files.map((file) => readPicture(file, file.name).catch(() => null)));
  const bad = files.filter((_, index) => read[index] === null).map(({ name }) => name);
  if (bad.length > 0) say("problem", text().notPictures(bad));
  for (const picture of read) if (picture) know(picture);
  return read.map((picture) => picture?.id ?? null);
}

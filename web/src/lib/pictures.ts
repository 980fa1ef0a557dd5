// Pictures as files: read, shown as they are, and sent as they are. Nothing is scaled or converted: what a server does
// not take, it says. It knows no conversations.
import { newId } from "./ids";

const AT_ONCE = 2 ** 15; // bytes; a call takes no more arguments than that everywhere

/** A picture as it was given. Width and height in pixels, upright. */
export interface Picture {
  id: string;
  name: string;
  width: number;
  height: number;
  blob: Blob;
}

/** The picture in a file. Rejects where the browser cannot read it as one. */
export async function readPicture(file: Blob, name: string): Promise<Picture> {
  const blob = new Blob([await file.arrayBuffer()], { type: file.type }); // the file itself may be changed, or go
  return { id: newId(), name, ...(await sizeOf(blob)), blob };
}

/** Width and height of the picture in a file, upright. Rejects where the browser cannot read it as one. */
export async function sizeOf(file: Blob): Promise<{ width: number; height: number }> {
  const url = URL.createObjectURL(file);
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    if (!image.naturalWidth || !image.naturalHeight) throw new Error("a picture without a size");
    return { width: image.naturalWidth, height: image.naturalHeight };
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** The bytes as a data URI; a server looks at the bytes, so a file without a type may say that it is a PNG. */
export async function toDataUri(blob: Blob): Promise<string> {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let binary = "";
  for (let at = 0; at < bytes.length; at += AT_ONCE) binary += String.fromCharCode(...bytes.subarray(at, at + AT_ONCE));
  return `data:${blob.type.startsWith("image/") ? blob.type : "image/png"};base64,${btoa(binary)}`;
}

/** The bytes of a data URI of a picture; null where it is none. */
export function fromDataUri(uri: string): Blob | null {
  const match = /^data:(image\/[a-z0-9.+-]{1,64});base64,([A-Za-z0-9+/]*={0,2})$/.exec(uri);
  if (!match) return null;
  try {
    const bytes = Uint8Array.from(atob(match[2]!), (character) => character.charCodeAt(0));
    return new Blob([bytes], { type: match[1]! });
  } catch {
    return null;
  }
}

/** A size in bytes as people read it. */
export function bytesText(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1_000_000 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}

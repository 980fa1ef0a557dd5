// From the turns of a conversation to the messages that a server is sent, and from a field that it names back to the
// picture that stands there.
import type { Turn } from "./conversation";

export type Part = { type: "text"; text: string } | { type: "image_url"; image_url: { url: string } };
export type Message = { role: "user"; content: Part[] } | { role: "assistant"; content: string };

/** Whose picture a part is. */
export interface Source {
  turn: string;
  picture: number;
}

export interface Written {
  messages: Message[];
  sources: (Source | null)[][]; // by message and part
}

/** A picture of a turn is not in this browser any more. */
export class MissingPicture extends Error {
  constructor(readonly source: Source) {
    super("a picture is missing");
  }
}

/**
 * The messages for these turns; the last one is a question. An answer without text (it failed) is left out, and the
 * questions around it become one message, so that all that was asked and shown is still there.
 *
 * Raises MissingPicture where `load` has none.
 */
export async function writeMessages(
  turns: Turn[],
  load: (picture: string) => Promise<string | null>,
): Promise<Written> {
  const messages: Message[] = [];
  const sources: (Source | null)[][] = [];
  for (const turn of turns) {
    if (turn.role === "assistant") {
      if (turn.text === "") continue;
      messages.push({ role: "assistant", content: turn.text });
      sources.push([]);
      continue;
    }
    const last = messages[messages.length - 1];
    const parts: Part[] = last?.role === "user" ? last.content : [];
    if (last?.role !== "user") {
      messages.push({ role: "user", content: parts });
      sources.push([]);
    }
    const places = sources[sources.length - 1]!;
    for (const [index, picture] of turn.pictures.entries()) {
      const source = { turn: turn.id, picture: index };
      const url = await load(picture);
      if (url === null) throw new MissingPicture(source);
      parts.push({ type: "image_url", image_url: { url } });
      places.push(source);
    }
    if (turn.text !== "") {
      parts.push({ type: "text", text: turn.text });
      places.push(null);
    }
  }
  return { messages, sources };
}

/** Whose picture a server means by `messages[0].content[1].image_url`; null where it means something else. */
export function sourceOf(param: string | null | undefined, { sources }: Written): Source | null {
  const match = /^messages\[(\d+)\]\.content\[(\d+)\]/.exec(param ?? "");
  return match ? (sources[Number(match[1])]?.[Number(match[2])] ?? null) : null;
}

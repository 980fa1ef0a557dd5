// Conversations as a JSON file, out and in. A file is taken whole or not at all: what it holds is checked down to the
// bytes of its pictures before anything of it is kept.
import * as v from "valibot";
import { type Conversation, ConversationSchema } from "./conversation";
import { newId } from "./ids";
import { fromDataUri, type Picture, toDataUri } from "./pictures";
import { renamed, settled } from "./tree";

const FORMAT = "sightline-conversations";
const VERSION = 1;
export const MOST_BYTES = 2 ** 29 - 24; // as long as a text may be in Chrome

const FileSchema = v.strictObject({
  format: v.literal(FORMAT),
  version: v.literal(VERSION),
  exported: v.string(),
  conversations: v.array(ConversationSchema),
  pictures: v.record(
    v.string(),
    v.strictObject({
      name: v.string(),
      width: v.pipe(v.number(), v.minValue(1)),
      height: v.pipe(v.number(), v.minValue(1)),
      data: v.string(),
    }),
  ),
});

/** What is wrong with a file; `where` is the place in it, "" for the file as a whole. */
export class BadFile extends Error {
  constructor(
    readonly reason: "json" | "format" | "shape" | "picture" | "size",
    readonly where = "",
  ) {
    super(`${reason} ${where}`.trim());
  }
}

/** The text of a file with these conversations and their pictures, those that are there. */
export async function writeFile(
  conversations: Conversation[],
  pictures: Map<string, Picture>,
  now: Date,
): Promise<string> {
  const used = new Set(conversations.flatMap(({ turns }) => turns.flatMap((turn) => turn.pictures)));
  const entries = [...used].flatMap((id) => pictures.get(id) ?? []);
  const written = await Promise.all(
    entries.map(async ({ id, name, width, height, blob }) => [
      id,
      { name, width, height, data: await toDataUri(blob) },
    ]),
  );
  const file = { format: FORMAT, version: VERSION, exported: now.toISOString(), conversations };
  return JSON.stringify({ ...file, pictures: Object.fromEntries(written) }, null, 1);
}

/**
 * The conversations and pictures in the text of a file, under new names where `taken` has theirs already.
 *
 * Raises BadFile.
 */
export function readFile(
  text: string,
  taken: ReadonlySet<string>,
): { conversations: Conversation[]; pictures: Picture[] } {
  const found = v.safeParse(FileSchema, parse(text));
  if (!found.success) throw new BadFile("shape", v.getDotPath(found.issues[0]) ?? "");
  const names = new Map<string, string>();
  const pictures = Object.entries(found.output.pictures).map(([id, { data, ...rest }]): Picture => {
    const blob = fromDataUri(data);
    if (!blob) throw new BadFile("picture", `pictures.${id}`);
    names.set(id, newId());
    return { id: names.get(id)!, ...rest, blob };
  });
  // A picture that the exporting browser had lost stays lost, and is said to be where it is shown.
  const conversations = found.output.conversations.map((one) => {
    const copy = renamed(one, names);
    return taken.has(one.id) ? copy : { ...copy, id: one.id };
  });
  if (new Set(conversations.map(({ id }) => id)).size < conversations.length)
    throw new BadFile("shape", "conversations");
  return { conversations: conversations.map((one) => settled(one)), pictures };
}

function parse(text: string): unknown {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new BadFile("json");
  }
  const head = v.safeParse(v.object({ format: v.literal(FORMAT), version: v.literal(VERSION) }), parsed);
  if (!head.success) throw new BadFile("format");
  return parsed;
}

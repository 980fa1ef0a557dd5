// What a conversation is, as it is kept and as it is exported: a tree of turns. Each schema is also the type, so what
// comes from a file or from the browser's database is checked against what the program believes. It knows no storage.
import * as v from "valibot";

const Id = v.pipe(v.string(), v.regex(/^[a-z0-9]{8,40}$/));
const Count = v.pipe(v.number(), v.minValue(0));

/** What went wrong with an answer. `turn` and `picture` say whose picture it was, where it was one's. */
export const ProblemSchema = v.strictObject({
  kind: v.picklist(["refused", "failed", "key", "unreachable", "cut", "missing", "unexpected"]),
  message: v.string(),
  status: v.optional(v.number()),
  wait: v.optional(Count), // seconds
  turn: v.optional(Id),
  picture: v.optional(Count),
});

/** How fast an answer came. Times in milliseconds, as measured in the page; `speed` in tokens per second. */
export const FiguresSchema = v.strictObject({
  tokens: v.nullable(Count),
  firstToken: v.nullable(Count),
  total: Count,
  speed: v.nullable(Count),
});

export const TurnSchema = v.strictObject({
  id: Id,
  parent: v.nullable(Id),
  role: v.picklist(["user", "assistant"]),
  text: v.string(),
  pictures: v.array(Id),
  at: Count,
  state: v.picklist(["done", "writing", "stopped", "failed"]),
  full: v.optional(v.boolean()), // whether the answer ended because it had as many tokens as it may
  problem: v.optional(ProblemSchema),
  figures: v.optional(FiguresSchema),
  model: v.optional(v.string()),
});

/** Turns stand behind their parents. `chosen` says which child of a turn is shown, where it isn't the newest. */
export const ConversationSchema = v.pipe(
  v.strictObject({
    id: Id,
    title: v.nullable(v.string()), // null: what was asked first
    created: Count,
    changed: Count,
    turns: v.array(TurnSchema),
    chosen: v.record(v.string(), Id),
  }),
  v.check((conversation) => isTree(conversation), "its turns don't make a conversation"),
);

export type Problem = v.InferOutput<typeof ProblemSchema>;
export type Figures = v.InferOutput<typeof FiguresSchema>;
export type Turn = v.InferOutput<typeof TurnSchema>;
export type Conversation = v.InferOutput<typeof ConversationSchema>;

/** The key in `chosen` for turns that have no parent. */
export const ROOT = "root";

function isTree({ turns, chosen }: { turns: Turn[]; chosen: Record<string, string> }): boolean {
  const seen = new Map<string, Turn>();
  for (const turn of turns) {
    const parent = turn.parent === null ? null : seen.get(turn.parent);
    const expected = parent?.role === "user" ? "assistant" : "user";
    if (parent === undefined || seen.has(turn.id) || turn.role !== expected) return false;
    if (turn.role === "assistant" && turn.pictures.length > 0) return false;
    seen.set(turn.id, turn);
  }
  return Object.entries(chosen).every(([parent, child]) => {
    const turn = seen.get(child);
    return turn !== undefined && (turn.parent ?? ROOT) === parent;
  });
}

// A streamed answer: from the bytes of server-sent events to text, usage and an end. It knows no requests and no clock.
import { EventSourceParserStream } from "eventsource-parser/stream";
import * as v from "valibot";

const ErrorSchema = v.object({ error: v.object({ message: v.string() }) });
const ChunkSchema = v.object({
  choices: v.array(
    v.object({
      delta: v.optional(v.object({ content: v.nullish(v.string()) })),
      finish_reason: v.nullish(v.string()),
    }),
  ),
  usage: v.nullish(v.object({ completion_tokens: v.number() })),
});

/** What an event adds to an answer. */
export interface Step {
  text: string;
  finish: string | null;
  tokens: number | null;
}

/** The answer failed: `said` is what the server says of it, "" where it sent something that is no answer. */
export class StreamError extends Error {
  constructor(readonly said: string) {
    super(said || "an event of the stream is no chunk of an answer");
  }
}

/** What one event says; null for the one that ends the stream. Raises StreamError where it is an error, or no chunk. */
export function readChunk(data: string): Step | null {
  if (data.trim() === "[DONE]") return null;
  let parsed: unknown;
  try {
    parsed = JSON.parse(data);
  } catch {
    throw new StreamError("");
  }
  if (v.is(ErrorSchema, parsed)) throw new StreamError(parsed.error.message);
  const chunk = v.safeParse(ChunkSchema, parsed);
  if (!chunk.success) throw new StreamError("");
  const { choices, usage } = chunk.output;
  const choice = choices[0];
  return {
    text: choice?.delta?.content ?? "",
    finish: choice?.finish_reason ?? null,
    tokens: usage?.completion_tokens ?? null,
  };
}

/** The steps of an answer as they come. Returns whether the stream was ended by its server rather than cut. */
export async function* readSteps(body: ReadableStream<Uint8Array>): AsyncGenerator<Step, boolean> {
  const decoder = new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>;
  const reader = body.pipeThrough(decoder).pipeThrough(new EventSourceParserStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return false;
      const step = readChunk(value.data);
      if (step === null) return true;
      yield step;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** Tokens per second once the first one was there; null where that cannot be told. Times in milliseconds. */
export function speedOf(tokens: number | null, first: number | null, last: number | null): number | null {
  if (tokens === null || tokens < 2 || first === null || last === null || last <= first) return null;
  return ((tokens - 1) / (last - first)) * 1000;
}

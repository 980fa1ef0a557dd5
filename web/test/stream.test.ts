import { expect, test } from "vitest";
import { readChunk, readSteps, type Step, StreamError, speedOf } from "../src/lib/stream";

const TEXT = `data: {"choices":[{"delta":{"role":"assistant"},"finish_reason":null}],"usage":null}

data: {"choices":[{"delta":{"content":"A 灯"},"finish_reason":null}]}

: a comment
data: {"choices":[{"delta":{"content":"泡."},"finish_reason":"stop"}]}

data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}

data: [DONE]

`;

function inPieces(text: string, size: number): ReadableStream<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  return new ReadableStream({
    start(controller) {
      for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
      controller.close();
    },
  });
}

async function collect(text: string, size: number) {
  const steps: Step[] = [];
  const reader = readSteps(inPieces(text, size));
  for (;;) {
    const { done, value } = await reader.next();
    if (done) return { steps, whole: value };
    steps.push(value);
  }
}

test.each([1, 3, 7, 10_000])("an answer is the same in pieces of %i bytes, cut characters or not", async (size) => {
  const { steps, whole } = await collect(TEXT, size);
  expect(steps.map(({ text }) => text).join("")).toBe("A 灯泡.");
  expect(steps.flatMap(({ finish }) => finish ?? [])).toEqual(["stop"]);
  expect(steps.at(-1)?.tokens).toBe(5);
  expect(whole).toBe(true);
});

test("a stream that ends without saying so was cut", async () => {
  const { steps, whole } = await collect(TEXT.slice(0, TEXT.indexOf(": a comment")), 50);
  expect(steps.map(({ text }) => text).join("")).toBe("A 灯");
  expect(whole).toBe(false);
});

test("an error in the stream is raised in the server's words", () => {
  expect(() => readChunk('{"error":{"message":"out of memory"}}')).toThrow(new StreamError("out of memory"));
});

test.each(["no json", '{"choices":3}', "[]"])("%s is no chunk", (data) => {
  expect(() => readChunk(data)).toThrow(StreamError);
});

test("speed counts the tokens after the first, and is left out where it cannot be told", () => {
  expect(speedOf(11, 1000, 2000)).toBe(10);
  expect(speedOf(11, 1000, 1000)).toBeNull();
  expect(speedOf(1, 1000, 2000)).toBeNull();
  expect(speedOf(null, 1000, 2000)).toBeNull();
});

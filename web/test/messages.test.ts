import { expect, test } from "vitest";
import type { Turn } from "../src/lib/conversation";
import { MissingPicture, sourceOf, writeMessages } from "../src/lib/messages";
import { allowed, readSampling } from "../src/lib/sampling";
import { answer, question } from "../src/lib/tree";

const load = async (id: string) => `data:image/png;base64,${id}`;

function answered(parent: Turn, text: string): Turn {
  return { ...answer(parent.id, "model", 0), text, state: "done" };
}

test("pictures stand before the text of their question, and a named field leads back to them", async () => {
  const asked = question(null, "what?", ["picture0", "picture1"], 0);
  const written = await writeMessages([asked, answered(asked, "a cat")], load);
  expect(written.messages).toEqual([
    {
      role: "user",
      content: [
        { type: "image_url", image_url: { url: "data:image/png;base64,picture0" } },
        { type: "image_url", image_url: { url: "data:image/png;base64,picture1" } },
        { type: "text", text: "what?" },
      ],
    },
    { role: "assistant", content: "a cat" },
  ]);
  expect(sourceOf("messages[0].content[1].image_url", written)).toEqual({ turn: asked.id, picture: 1 });
  expect(sourceOf("messages[0].content[2]", written)).toBeNull();
  expect(sourceOf("temperature", written)).toBeNull();
});

test("where an answer failed, its question and the next become one message, and nothing asked is dropped", async () => {
  const first = question(null, "what?", ["picture0"], 0);
  const failed = answered(first, "");
  const second = question(failed.id, "and this?", ["picture1"], 0);
  const written = await writeMessages([first, failed, second], load);
  expect(written.messages).toHaveLength(1);
  expect(written.messages[0]?.content).toHaveLength(4);
  expect(sourceOf("messages[0].content[2].image_url.url", written)).toEqual({ turn: second.id, picture: 0 });
});

test("a picture that is not there any more is said, not left out", async () => {
  const asked = question(null, "what?", ["picture0"], 0);
  await expect(writeMessages([asked], async () => null)).rejects.toThrow(MissingPicture);
});

test("kept settings that the server would not take are forgotten", () => {
  const kept = '{"temperature": 0.7, "top_p": 7, "seed": 1.5, "max_tokens": "9", "unknown": 1}';
  expect(readSampling(kept)).toEqual({ temperature: 0.7 });
  expect(readSampling("[")).toEqual({});
  expect(readSampling(null)).toEqual({});
  expect(allowed("top_k", 0)).toBe(true);
  expect(allowed("temperature", Number.NaN)).toBe(false);
});

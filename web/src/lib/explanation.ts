// What `POST /v1/explain` answers, checked: for each word of an answer its maps over the patches of each picture.
import * as v from "valibot";

const MapSchema = v.array(v.array(v.array(v.number()))); // [images][rows][cols]

export const WordSchema = v.object({
  text: v.string(),
  start: v.number(),
  end: v.number(),
  probability: v.number(),
  on_pictures: v.number(),
  attention: MapSchema,
  occlusion: v.nullish(MapSchema, null),
  worst: v.nullish(
    v.object({ image: v.number(), row: v.number(), col: v.number(), log_probability: v.number() }),
    null,
  ),
});

export const ExplanationSchema = v.object({
  answer: v.string(),
  grid: v.tuple([v.number(), v.number()]), // rows, columns
  regions: v.array(v.tuple([v.number(), v.number(), v.number(), v.number()])), // left, top, right, bottom: 0 to 1
  window: v.nullish(v.number(), null),
  words: v.array(WordSchema),
});

export type ExplainedWord = v.InferOutput<typeof WordSchema>;
export type Explanation = v.InferOutput<typeof ExplanationSchema>;

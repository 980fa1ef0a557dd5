// How answers are sampled, and the bounds that a server accepts. What is not set is not sent: the server decides then.
import * as v from "valibot";

const within = (low: number, high: number) => v.pipe(v.number(), v.finite(), v.minValue(low), v.maxValue(high));
const whole = (low: number, high: number) => v.pipe(within(low, high), v.integer());

const FIELDS = {
  temperature: within(0, 2),
  top_p: within(0.01, 1),
  top_k: whole(0, 2 ** 31 - 1),
  repetition_penalty: within(0.01, 100),
  max_tokens: whole(1, 2 ** 31 - 1),
  seed: whole(-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
};

export type Field = keyof typeof FIELDS;
export type Sampling = Partial<Record<Field, number>>;

/** How a setting is offered: the slider's ends and step where it has one, and what the server does without it. */
export const OFFERED: readonly { field: Field; slider?: readonly [number, number, number]; usual: number | null }[] = [
  { field: "temperature", slider: [0, 2, 0.05], usual: 0 },
  { field: "top_p", slider: [0.05, 1, 0.05], usual: 1 },
  { field: "top_k", slider: [0, 100, 1], usual: 0 },
  { field: "repetition_penalty", slider: [1, 2, 0.05], usual: 1 },
  { field: "max_tokens", usual: null },
  { field: "seed", usual: null },
];

/** Whether a value may be sent as `field`. */
export function allowed(field: Field, value: number): boolean {
  return v.is(FIELDS[field], value);
}

/** The settings in a kept text; those that are no settings any more are left out. */
export function readSampling(kept: string | null): Sampling {
  try {
    const found = v.parse(v.record(v.string(), v.unknown()), JSON.parse(kept ?? "{}"));
    const entries = OFFERED.map(({ field }) => [field, found[field]] as const);
    return Object.fromEntries(entries.filter(([field, value]) => typeof value === "number" && allowed(field, value)));
  } catch {
    return {};
  }
}

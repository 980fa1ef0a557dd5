// The server's API as the page uses it. Addresses are relative to the page's own, so nothing else is ever asked, and a
// proxy may serve the page below a path. What goes wrong is a Failure; an aborted request stays an AbortError.
import * as v from "valibot";
import type { Problem } from "./conversation";
import { type Explanation, ExplanationSchema } from "./explanation";
import type { Message } from "./messages";
import type { Sampling } from "./sampling";
import { readSteps, type Step, StreamError } from "./stream";

const ModelsSchema = v.object({ data: v.pipe(v.array(v.object({ id: v.string() })), v.minLength(1)) });
const ErrorSchema = v.object({ error: v.object({ message: v.string(), param: v.nullish(v.string()) }) });

/** A request that was refused, failed or never got through. `param` is the field that the server names. */
export class Failure extends Error {
  constructor(
    readonly problem: Problem,
    readonly param: string | null = null,
  ) {
    super(problem.message);
  }
}

/** Name of the model that the server has. */
export async function fetchModel(key: string | null, signal?: AbortSignal): Promise<string> {
  const response = await send("v1/models", { method: "GET", ...(signal && { signal }) }, key);
  return checked(ModelsSchema, await json(response)).data[0]!.id;
}

/** The steps of an answer as they come. Raises Failure, also where the stream ends before the answer does. */
export async function* chat(
  key: string | null,
  body: { model: string; messages: Message[]; sampling: Sampling },
  signal: AbortSignal,
): AsyncGenerator<Step> {
  const { sampling, ...rest } = body;
  const asked = { ...rest, ...sampling, stream: true, stream_options: { include_usage: true } };
  const response = await send("v1/chat/completions", { ...post(asked), signal }, key);
  if (!response.body) throw new Failure({ kind: "cut", message: "" });
  try {
    if (!(yield* readSteps(response.body))) throw new Failure({ kind: "cut", message: "" });
  } catch (error) {
    if (error instanceof StreamError)
      throw new Failure({ kind: error.said ? "failed" : "unexpected", message: error.said });
    if (error instanceof TypeError) throw new Failure({ kind: "cut", message: "" });
    throw error;
  }
}

/** What each word of `answer` looked at; with `occlusion` also what hiding patches costs it, which takes longer. */
export async function explain(
  key: string | null,
  body: { model: string; messages: Message[]; answer: string; occlusion: boolean },
  signal: AbortSignal,
): Promise<Explanation> {
  return checked(ExplanationSchema, await json(await send("v1/explain", { ...post(body), signal }, key)));
}

function post(body: unknown): RequestInit {
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

async function send(path: string, init: RequestInit, key: string | null): Promise<Response> {
  const headers = { ...init.headers, ...(key && { Authorization: `Bearer ${key}` }) };
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers, credentials: "omit", cache: "no-store" });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Failure({ kind: "unreachable", message: "" });
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response: Response): Promise<Failure> {
  const found = v.safeParse(ErrorSchema, await response.json().catch(() => null));
  const wait = Number(response.headers.get("Retry-After"));
  const problem: Problem = {
    kind: found.success ? kindOf(response.status) : "unexpected",
    message: found.success ? found.output.error.message : `HTTP ${response.status}`,
    status: response.status,
    ...(wait > 0 && { wait }),
  };
  return new Failure(problem, found.success ? (found.output.error.param ?? null) : null);
}

function kindOf(status: number): Problem["kind"] {
  if (status === 401) return "key";
  return status >= 500 && status !== 503 ? "failed" : "refused";
}

async function json(response: Response): Promise<unknown> {
  try {
    return await response.json();
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Failure({ kind: "unexpected", message: "" });
  }
}

function checked<Output>(schema: v.GenericSchema<unknown, Output>, value: unknown): Output {
  const found = v.safeParse(schema, value);
  if (!found.success) throw new Failure({ kind: "unexpected", message: v.getDotPath(found.issues[0]) ?? "" });
  return found.output;
}

// The pictures of the conversation, and over them where the model looked for the word that is pointed at. Beside the
// conversation where there is room; a sheet above the question where there is not.
import { ToggleGroup } from "@base-ui/react/toggle-group";
import { X } from "lucide-react";
import { useEffect, useRef } from "react";
import type { Conversation } from "../lib/conversation";
import type { ExplainedWord } from "../lib/explanation";
import { levels, shares, type View } from "../lib/heat";
import { path, pathTo, picturesOf } from "../lib/tree";
import { alignSpans } from "../lib/words";
import { chooseView, look, lookAgain } from "../state/looking";
import { type Focus, type Look, speak, usePage, useText } from "../state/store";
import { Choice } from "./Choice";
import { describe } from "./describe";
import { HeatPicture } from "./HeatPicture";
import { IconButton } from "./IconButton";
import { Legend } from "./Legend";

export function Lens({ conversation }: { conversation: Conversation }) {
  const t = useText();
  const focus = usePage((page) => page.focus);
  const view = usePage((page) => page.view);
  const state = usePage((page) => (focus ? page.looks[focus.turn] : undefined));
  const turn = focus && conversation.turns.find(({ id }) => id === focus.turn);
  const pictures = picturesOf(turn ? pathTo(conversation, turn.parent) : path(conversation));
  const word = focus && turn && state?.found ? wordAt(turn.text, focus, state.found) : null;
  const parts = word && state?.found ? describe(t, word, view, state.found) : null;
  const maps = word && levels(word, view)?.maps;
  useSpoken(focus, word, parts);
  const box = useBrought(word ? shares(word, view) : []);
  if (pictures.length === 0) return null;
  // Back to the word for those who came from it by the keys.
  const leave = () =>
    focus?.by === "keys" ? document.querySelector<HTMLElement>("[data-pinned]")?.focus() : look(null);

  return (
    <aside
      className="lens"
      aria-label={t.looked}
      data-open={focus !== null || undefined}
      onKeyDown={(event) => event.key === "Escape" && leave()}
    >
      <div className="lens-head">
        <h2>{t.looked}</h2>
        <IconButton className="lens-close" icon={X} label={t.close} onClick={() => look(null)} />
      </div>
      <div className="lens-pictures" ref={box} data-many={pictures.length > 1 || undefined}>
        {pictures.map((id, index) => (
          <HeatPicture
            // biome-ignore lint/suspicious/noArrayIndexKey: the same picture may be shown twice
            key={`${id} ${index}`}
            id={id}
            label={t.picture(index + 1)}
            map={maps?.[index] ?? null}
            region={state?.found?.regions[index] ?? [0, 0, 1, 1]}
            captioned={pictures.length > 1}
          />
        ))}
      </div>
      <div className="lens-side">
        <div className="lens-text">
          {word && parts ? (
            <p className="lens-word">
              <b>{word.text}</b>
              {parts.map((part) => (
                <span key={part}>{part}</span>
              ))}
            </p>
          ) : (
            <Hint focus={focus} state={state} answered={hasAnswer(conversation)} />
          )}
          {focus && state?.found && state.busy === "occlusion" && <p className="quiet small pulse">{t.hiding}</p>}
          {focus && state?.problem && <Trouble message={state.problem.message || t.problems[state.problem.kind]} />}
        </div>
        {focus && (
          <div className="lens-foot">
            <ToggleGroup
              className="choices"
              aria-label={t.view}
              value={[view]}
              onValueChange={([chosen]) => chosen && chooseView(chosen as View)}
            >
              <Choice value="attention">{t.views.attention}</Choice>
              <Choice value="occlusion">{t.views.occlusion}</Choice>
            </ToggleGroup>
            <Legend />
            <p className="quiet small lens-help">{t.viewHelp[view]}</p>
          </div>
        )}
      </div>
    </aside>
  );
}

function Hint({ focus, state, answered }: { focus: Focus | null; state: Look | undefined; answered: boolean }) {
  const t = useText();
  if (!focus) return <p className="quiet small">{answered ? t.lookHint : t.lookWhen}</p>;
  if (state?.busy) return <p className="quiet small pulse">{t.looking}</p>;
  return state?.found ? <p className="quiet small">{t.noWord}</p> : null;
}

function Trouble({ message }: { message: string }) {
  const t = useText();
  return (
    <p className="problem-line small" role="alert">
      {t.lookFailed} {message}{" "}
      <button type="button" className="button small" onClick={lookAgain}>
        {t.tryAgain}
      </button>
    </p>
  );
}

/** Brings the picture into view that has most of what a word's map shows. */
function useBrought(shares: number[]) {
  const box = useRef<HTMLDivElement>(null);
  const strongest = shares.indexOf(Math.max(...shares));
  useEffect(() => {
    if (strongest >= 0) box.current?.children[strongest]?.scrollIntoView({ block: "nearest", inline: "center" });
  }, [strongest]);
  return box;
}

/** Tells a screen reader of a word that was gone to, once its map is there; not of those a pointer passes. */
function useSpoken(focus: Focus | null, word: ExplainedWord | null, parts: string[] | null): void {
  const line = focus && focus.by !== "hover" && word && parts ? `${word.text}: ${parts.join(", ")}` : "";
  useEffect(() => {
    if (line) speak(line);
  }, [line]);
}

function wordAt(text: string, { at }: Focus, found: NonNullable<Look["found"]>): ExplainedWord | null {
  const spans = alignSpans(text, found.answer, found.words);
  return found.words[spans.findIndex(({ start, end }) => start <= at && at < end)] ?? null;
}

function hasAnswer(conversation: Conversation): boolean {
  return conversation.turns.some(({ role, text }) => role === "assistant" && text !== "");
}

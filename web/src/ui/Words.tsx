// The words of an answer. Pointing at one, tapping it or going to it with the arrow keys shows where the model looked.
// Until the keys are used they are plain text, so that a screen reader reads the answer as one.
import { type KeyboardEvent, memo, type PointerEvent, useEffect, useMemo, useRef } from "react";
import type { Turn } from "../lib/conversation";
import { lossOf } from "../lib/heat";
import { alignSpans, cut, guessSpans, languageOf } from "../lib/words";
import { look } from "../state/looking";
import { type Focus, usePage, useText } from "../state/store";

const DWELL = 120; // milliseconds on a word before a server is asked; once it has answered, none

interface Props {
  turn: Turn;
  onLeave: () => void;
}

/** Drawn again only where something of its own changed: other answers come while this one is read. */
export const Words = memo(function Words({ turn, onLeave }: Props) {
  const t = useText();
  const found = usePage((page) => page.looks[turn.id]?.found);
  const view = usePage((page) => page.view);
  const focus = usePage((page) => (page.focus?.turn === turn.id ? page.focus : null));
  const spans = useMemo(
    () => (found ? alignSpans(turn.text, found.answer, found.words) : guessSpans(turn.text)),
    [found, turn.text],
  );
  const pieces = useMemo(() => cut(turn.text, spans), [turn.text, spans]);
  const chosen = focus ? spans.findIndex(({ start, end }) => start <= focus.at && focus.at < end) : -1;
  const box = useRef<HTMLParagraphElement>(null);
  const over = useRef<number | null>(null); // the word below the pointer
  const dwell = useRef<number | undefined>(undefined);

  const exploring = focus?.by === "keys";
  const pinned = focus !== null && focus.by !== "hover";

  const goTo = (word: number, by: Focus["by"]) => {
    window.clearTimeout(dwell.current);
    const span = spans[word];
    if (span) look({ turn: turn.id, at: span.start, by });
  };
  const wordAt = (target: EventTarget) => {
    const word = target instanceof HTMLElement ? target.dataset.word : undefined;
    return word === undefined ? null : Number(word);
  };

  const move = (event: PointerEvent) => {
    const still = event.movementX === 0 && event.movementY === 0; // the page moved below the pointer
    const word = wordAt(event.target);
    if (event.pointerType === "touch" || still || word === over.current) return;
    over.current = word;
    window.clearTimeout(dwell.current);
    if (word === null || pinned) return;
    if (found) goTo(word, "hover");
    else dwell.current = window.setTimeout(() => goTo(word, "hover"), DWELL);
  };
  const leave = () => {
    over.current = null;
    window.clearTimeout(dwell.current);
  };
  const click = (target: EventTarget) => {
    const word = wordAt(target);
    if (word === null || !(getSelection()?.isCollapsed ?? true)) return;
    if (pinned && word === chosen && !exploring) look(null);
    else goTo(word, exploring ? "keys" : "click");
  };
  const press = (event: KeyboardEvent) => {
    const now = Math.max(0, chosen);
    const last = spans.length - 1;
    const steps: Record<string, number> = {
      ArrowLeft: now - 1,
      ArrowUp: now - 1,
      ArrowRight: now + 1,
      ArrowDown: now + 1,
    };
    const to = { ...steps, Home: 0, End: last }[event.key];
    if (event.key === "Escape") {
      look(null);
      onLeave();
    }
    if (to === undefined) return;
    event.preventDefault();
    goTo(Math.min(last, Math.max(0, to)), "keys");
  };

  useEffect(() => () => window.clearTimeout(dwell.current), []);
  // biome-ignore lint/correctness/useExhaustiveDependencies: what moves the keyboard's focus is the chosen word alone
  useEffect(() => {
    if (exploring && chosen < 0) goTo(0, "keys"); // the server knows no such word
    if (exploring) box.current?.querySelector<HTMLElement>(`[data-word="${Math.max(0, chosen)}"]`)?.focus();
  }, [exploring, chosen]);
  // On a narrow page the maps take room that the word may have stood in.
  useEffect(() => {
    if (!pinned) return;
    const frame = requestAnimationFrame(() => {
      box.current?.querySelector(`[data-word="${chosen}"]`)?.scrollIntoView({ block: "nearest" });
    });
    return () => cancelAnimationFrame(frame);
  }, [pinned, chosen]);

  const list = exploring && { role: "listbox", "aria-label": t.model, "aria-orientation": "horizontal" as const };
  return (
    <p
      className="answer-text words"
      ref={box}
      lang={languageOf(turn.text)}
      {...list}
      onPointerMove={move}
      onPointerLeave={leave}
      onClick={(event) => click(event.target)}
      onKeyDown={press}
    >
      {pieces.map(({ text, word }, index) =>
        word === null ? (
          text
        ) : (
          <span
            // biome-ignore lint/suspicious/noArrayIndexKey: pieces have no other name, and keep their order
            key={index}
            className="word"
            data-word={word}
            data-chosen={word === chosen || undefined}
            data-pinned={(word === chosen && pinned) || undefined}
            style={
              { "--loss": view === "occlusion" && found?.words[word] ? (lossOf(found.words[word]) ?? 0) : 0 } as object
            }
            {...(exploring && { role: "option", "aria-selected": word === chosen, tabIndex: word === chosen ? 0 : -1 })}
          >
            {text}
          </span>
        ),
      )}
    </p>
  );
});

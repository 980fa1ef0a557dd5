// An answer: its words, how fast they came, what went wrong, and what can be done with it.
import { Check, Copy, GitBranch, RotateCcw, ScanEye } from "lucide-react";
import { useCallback, useRef, useState } from "react";
import type { Conversation, Turn } from "../lib/conversation";
import { titleOf } from "../lib/tree";
import { guessSpans, languageOf } from "../lib/words";
import { answerAgain, branch } from "../state/conversing";
import { canLook, look } from "../state/looking";
import { say, usePage, useReady, useText } from "../state/store";
import { isOwn } from "../state/writing";
import { FiguresLine } from "./FiguresLine";
import { IconButton } from "./IconButton";
import { ProblemBox } from "./ProblemBox";
import { Versions } from "./Versions";
import { Words } from "./Words";

export function AnswerView({ conversation, turn }: { conversation: Conversation; turn: Turn }) {
  const t = useText();
  const focus = usePage((page) => (page.focus?.turn === turn.id ? page.focus : null));
  const exploring = focus?.by === "keys";
  const explore = useRef<HTMLButtonElement>(null);
  const looks = canLook(conversation, turn);
  const writing = turn.state === "writing";
  const leave = useCallback(() => explore.current?.focus(), []);
  // It begins at the first word, or where the pointer was.
  const begin = () => look({ turn: turn.id, at: focus?.at ?? guessSpans(turn.text)[0]?.start ?? 0, by: "keys" });

  return (
    <article className="answer" aria-busy={writing} data-state={turn.state}>
      <h2 className="hidden">{t.model}</h2>
      {writing && turn.text === "" && <p className="quiet pulse">{t.waiting}</p>}
      {turn.text !== "" &&
        (looks ? (
          <Words turn={turn} onLeave={leave} />
        ) : (
          <p className="answer-text" data-writing={writing || undefined} lang={languageOf(turn.text)}>
            {turn.text}
          </p>
        ))}
      {writing && !isOwn(turn.id) && <p className="quiet small">{t.elsewhere}</p>}
      {turn.state === "done" && turn.text === "" && <p className="quiet">{t.empty}</p>}
      {turn.state === "stopped" && <p className="quiet small">{t.stopped}</p>}
      {turn.full && <p className="quiet small">{t.full}</p>}
      {turn.problem && <ProblemBox problem={turn.problem} conversation={conversation} />}
      {!writing && (
        <div className="turn-foot">
          <Versions conversation={conversation} turn={turn} />
          {looks && (
            <button
              type="button"
              ref={explore}
              className="button small plain"
              aria-pressed={exploring}
              title={t.exploreHint}
              onClick={() => (exploring ? look(null) : begin())}
            >
              <ScanEye size={15} aria-hidden="true" />
              {t.explore}
            </button>
          )}
          {turn.text !== "" && <CopyButton text={turn.text} />}
          <RetryButton named={turn.state === "failed"} onClick={() => answerAgain(conversation, turn)} />
          {turn.text !== "" && (
            <IconButton
              icon={GitBranch}
              label={t.branch}
              onClick={() => branch(conversation, turn.id, titleOf(conversation))}
            />
          )}
          <span className="grow" />
          {turn.figures && <FiguresLine figures={turn.figures} />}
        </div>
      )}
    </article>
  );
}

/** Called by its name where it is what one will want to do. */
function RetryButton({ named, onClick }: { named: boolean; onClick: () => void }) {
  const t = useText();
  const ready = useReady();
  if (!named) return <IconButton icon={RotateCcw} label={t.retry} disabled={!ready} onClick={onClick} />;
  return (
    <button type="button" className="button small" disabled={!ready} onClick={onClick}>
      <RotateCcw size={14} aria-hidden="true" />
      {t.retry}
    </button>
  );
}

function CopyButton({ text }: { text: string }) {
  const t = useText();
  const [copied, setCopied] = useState(false);
  if (!navigator.clipboard) return null; // a page that came over plain HTTP from another machine
  const copy = () =>
    navigator.clipboard.writeText(text).then(
      () => {
        setCopied(true);
        setTimeout(() => setCopied(false), 1500);
      },
      (error) => say("problem", String(error)),
    );
  return <IconButton icon={copied ? Check : Copy} label={copied ? t.copied : t.copy} onClick={() => void copy()} />;
}

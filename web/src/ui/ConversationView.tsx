// The conversation that is shown: its turns, what there is to say about the server, and the question being written.
import { Dialog } from "@base-ui/react/dialog";
import { ArrowDown, Menu, Plus } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import type { Conversation } from "../lib/conversation";
import { path, titleOf } from "../lib/tree";
import { languageOf } from "../lib/words";
import { ask, stopWriting } from "../state/conversing";
import { dropDraft } from "../state/drafts";
import { look } from "../state/looking";
import { open, usePage, useText } from "../state/store";
import { isOwn } from "../state/writing";
import { AnswerView } from "./AnswerView";
import { Composer } from "./Composer";
import { ConnectionLine } from "./ConnectionLine";
import { IconButton } from "./IconButton";
import { Notices } from "./Notices";
import { QuestionView } from "./QuestionView";
import { Sidebar } from "./Sidebar";
import { Welcome } from "./Welcome";

const NEAR = 80; // pixels from the end, within which the newest text is followed

export function ConversationView({ conversation }: { conversation: Conversation | undefined }) {
  const t = useText();
  const turns = conversation ? path(conversation) : [];
  const last = turns.at(-1);
  const writing = last?.state === "writing";
  const draft = conversation?.id ?? "";
  const { scroller, away, toEnd } = useFollowing();

  return (
    <main className="main">
      <Header conversation={conversation} />
      <div className="scroller" ref={scroller}>
        <div className="column">
          {turns.length === 0 && <Welcome />}
          {conversation &&
            turns.map((turn) =>
              turn.role === "user" ? (
                <QuestionView key={turn.parent} conversation={conversation} turn={turn} />
              ) : (
                <AnswerView key={turn.parent} conversation={conversation} turn={turn} />
              ),
            )}
        </div>
      </div>
      <div className="dock">
        {away && turns.length > 0 && (
          <button type="button" className="button small to-end" onClick={toEnd}>
            <ArrowDown size={14} aria-hidden="true" />
            {t.newest}
          </button>
        )}
        <Notices />
        <ConnectionLine />
        <Composer
          id="question"
          label={t.questionLabel}
          placeholder={turns.length ? t.placeholderMore : t.placeholder}
          draft={draft}
          onSend={(asked) => {
            dropDraft(draft);
            ask(asked);
            toEnd();
            if (!conversation) requestAnimationFrame(() => document.getElementById("question")?.focus()); // a new one
          }}
          writing={writing}
          onStop={conversation && writing && isOwn(last.id) ? () => stopWriting(conversation) : undefined}
          sampling
        />
      </div>
    </main>
  );
}

function Header({ conversation }: { conversation: Conversation | undefined }) {
  const t = useText();
  const model = usePage((page) => page.model);
  const title = conversation ? titleOf(conversation) || t.untitled : t.newConversation;
  const [list, setList] = useState(false);
  return (
    <header className="head">
      <Dialog.Root open={list} onOpenChange={setList}>
        <Dialog.Trigger className="icon-button only-narrow" aria-label={t.openMenu} title={t.openMenu}>
          <Menu size={18} aria-hidden="true" />
        </Dialog.Trigger>
        <Dialog.Portal>
          <Dialog.Backdrop className="backdrop" />
          <Dialog.Popup className="drawer" aria-label={t.conversations}>
            <Sidebar onChoose={() => setList(false)} />
          </Dialog.Popup>
        </Dialog.Portal>
      </Dialog.Root>
      <h1 lang={languageOf(title)}>{title}</h1>
      {model && <span className="model">{model}</span>}
      <IconButton className="only-narrow" icon={Plus} size={18} label={t.newConversation} onClick={() => open(null)} />
    </header>
  );
}

/** Keeps the end in view as text comes, unless the reader has gone elsewhere or looks at a word. */
function useFollowing() {
  const scroller = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  const [away, setAway] = useState(false);

  const toEnd = () => {
    look(null); // following waits while a word is looked at
    following.current = true;
    scroller.current?.scrollTo({ top: scroller.current.scrollHeight });
  };

  useEffect(() => {
    const box = scroller.current;
    const column = box?.firstElementChild;
    if (!box || !column) return;
    const measure = () => {
      following.current = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR;
      setAway(!following.current);
    };
    const follow = () => {
      const { focus, current } = usePage.getState();
      if (following.current && !focus && current) box.scrollTo({ top: box.scrollHeight });
      else measure();
    };
    const observer = new ResizeObserver(follow);
    observer.observe(box);
    observer.observe(column);
    box.addEventListener("scroll", measure, { passive: true });
    return () => {
      observer.disconnect();
      box.removeEventListener("scroll", measure);
    };
  }, []);

  return { scroller, away, toEnd };
}

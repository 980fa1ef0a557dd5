// A conversation in the list: shown by its title, renamed in place, exported, deleted.
import { Download, Pencil, Trash2 } from "lucide-react";
import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import type { Conversation } from "../lib/conversation";
import { isComposing } from "../lib/keys";
import { titleOf } from "../lib/tree";
import { languageOf } from "../lib/words";
import { rename } from "../state/conversing";
import { exportFile, remove } from "../state/keeping";
import { useText } from "../state/store";
import { IconButton } from "./IconButton";

interface Props {
  conversation: Conversation;
  shown: boolean;
  onChoose: () => void;
  onRemoved: () => void;
}

export function ConversationItem({ conversation, shown, onChoose, onRemoved }: Props) {
  const t = useText();
  const [renaming, setRenaming] = useState(false);
  const title = titleOf(conversation) || t.untitled;
  if (renaming) return <Renaming conversation={conversation} title={title} onEnd={() => setRenaming(false)} />;
  return (
    <li className="item" data-shown={shown || undefined}>
      <button
        type="button"
        className="item-title"
        aria-current={shown || undefined}
        lang={languageOf(title)}
        title={title}
        onClick={onChoose}
        onDoubleClick={() => setRenaming(true)}
      >
        {title}
      </button>
      <span className="item-actions">
        <IconButton
          icon={Pencil}
          size={14}
          label={`${t.rename} ${t.options(title)}`}
          onClick={() => setRenaming(true)}
        />
        <IconButton
          icon={Download}
          size={14}
          label={`${t.exportOne} ${t.options(title)}`}
          onClick={() => void exportFile([conversation])}
        />
        <IconButton
          icon={Trash2}
          size={14}
          label={`${t.delete} ${t.options(title)}`}
          onClick={() => {
            remove(conversation.id);
            onRemoved(); // how to undo it stands beside the conversation
          }}
        />
      </span>
    </li>
  );
}

function Renaming({ conversation, title, onEnd }: { conversation: Conversation; title: string; onEnd: () => void }) {
  const t = useText();
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.select(), []);
  const left = useRef(false); // Escape: the field's blur, which follows, saves nothing
  const end = (value: string) => {
    if (!left.current && value !== title) rename(conversation, value);
    onEnd();
  };
  const press = (event: KeyboardEvent<HTMLInputElement>) => {
    if (isComposing(event)) return;
    left.current = event.key === "Escape";
    if (event.key === "Enter" || event.key === "Escape") event.currentTarget.blur();
  };
  return (
    <li className="item">
      <input
        className="input small"
        aria-label={t.renameLabel}
        defaultValue={title}
        maxLength={200}
        ref={field}
        onKeyDown={press}
        onBlur={(event) => end(event.target.value)}
      />
    </li>
  );
}

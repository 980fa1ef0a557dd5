// What has to be said to a person: problems until they are dismissed, what was done for a while.
import { X } from "lucide-react";
import { useEffect, useState } from "react";
import { dismiss, type Notice, usePage, useText } from "../state/store";
import { IconButton } from "./IconButton";

const SHOWN_FOR = 12_000; // milliseconds

export function Notices() {
  const notices = usePage((page) => page.notices);
  return (
    <div className="notices">
      <div role="alert">{notices.filter(({ kind }) => kind === "problem").map(Line)}</div>
      <div role="status">{notices.filter(({ kind }) => kind === "done").map(Line)}</div>
    </div>
  );
}

function Line(notice: Notice) {
  return <NoticeLine key={notice.id} notice={notice} />;
}

function NoticeLine({ notice: { id, kind, text, undo } }: { notice: Notice }) {
  const t = useText();
  const [held, setHeld] = useState(false);
  useEffect(() => {
    if (kind === "problem" || held) return;
    const timer = setTimeout(() => dismiss(id), SHOWN_FOR);
    return () => clearTimeout(timer);
  }, [id, kind, held]);
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: it only stays longer while it is read
    <div
      className="notice"
      data-kind={kind}
      onPointerEnter={() => setHeld(true)}
      onPointerLeave={() => setHeld(false)}
      onFocus={() => setHeld(true)}
      onBlur={() => setHeld(false)}
    >
      <span>{text}</span>
      {undo && (
        <button type="button" className="button small" onClick={undo}>
          {t.undo}
        </button>
      )}
      <IconButton icon={X} label={t.dismiss} size={14} onClick={() => dismiss(id)} />
    </div>
  );
}

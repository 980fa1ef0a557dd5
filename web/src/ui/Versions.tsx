// Back and forth between the versions of a turn.
import { ChevronLeft, ChevronRight } from "lucide-react";
import type { Conversation, Turn } from "../lib/conversation";
import { versions } from "../lib/tree";
import { show } from "../state/conversing";
import { useText } from "../state/store";
import { IconButton } from "./IconButton";

export function Versions({ conversation, turn }: { conversation: Conversation; turn: Turn }) {
  const t = useText();
  const all = versions(conversation, turn);
  const at = all.findIndex(({ id }) => id === turn.id);
  if (all.length < 2) return null;
  const go = (to: number) => show(conversation, all[to]!.id);
  return (
    <fieldset className="versions" aria-label={t.versionLabel(at + 1, all.length)}>
      <IconButton icon={ChevronLeft} label={t.earlier} disabled={at === 0} onClick={() => go(at - 1)} />
      <span aria-hidden="true">{t.version(at + 1, all.length)}</span>
      <IconButton icon={ChevronRight} label={t.later} disabled={at === all.length - 1} onClick={() => go(at + 1)} />
    </fieldset>
  );
}

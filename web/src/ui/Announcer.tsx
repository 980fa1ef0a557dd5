// What a screen reader is told of its own accord: sentences of an answer as they are whole, and where a word looked.
import { usePage } from "../state/store";

export function Announcer() {
  const spoken = usePage((page) => page.spoken);
  return (
    <div className="hidden" role="log" aria-live="polite" data-testid="announcer">
      {spoken.map(({ id, text }) => (
        <p key={id}>{text}</p>
      ))}
    </div>
  );
}

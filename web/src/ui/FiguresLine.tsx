// How fast an answer came, as measured in the page.
import type { Figures } from "../lib/conversation";
import { useText } from "../state/store";

export function FiguresLine({ figures: { tokens, firstToken, speed } }: { figures: Figures }) {
  const t = useText();
  const parts = [
    speed !== null && t.figures.speed(speed < 100 ? speed.toFixed(1) : String(Math.round(speed))),
    firstToken !== null &&
      t.figures.first(
        firstToken < 1000 ? t.milliseconds(String(Math.round(firstToken))) : t.seconds((firstToken / 1000).toFixed(1)),
      ),
    tokens !== null && t.figures.tokens(tokens),
  ];
  const shown = parts.filter((part) => part !== false);
  return shown.length ? (
    <span className="figures" data-testid="figures">
      {shown.join(" · ")}
    </span>
  ) : null;
}

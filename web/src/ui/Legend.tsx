// What the colours of a map mean.
import { useEffect, useRef } from "react";
import { colour } from "../lib/heat";
import { useText } from "../state/store";

const STEPS = 128;

export function Legend() {
  const t = useText();
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const pen = canvas.current?.getContext("2d");
    if (!pen) return;
    pen.clearRect(0, 0, STEPS, 1);
    for (let step = 0; step < STEPS; step++) {
      pen.fillStyle = colour(step / (STEPS - 1));
      pen.fillRect(step, 0, 1, 1);
    }
  }, []);
  return (
    <div className="legend quiet small" aria-hidden="true">
      <span>{t.legend[0]}</span>
      <canvas ref={canvas} width={STEPS} height="1" />
      <span>{t.legend[1]}</span>
    </div>
  );
}

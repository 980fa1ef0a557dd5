// A picture and, over the part of it that the model saw, how strongly each patch was looked at.
import { useEffect, useRef } from "react";
import { colour } from "../lib/heat";
import { urlOf, usePicture } from "../state/pictures";
import { useText } from "../state/store";

const CELL = 32; // pixels that a patch is drawn with
const GAP = 1.5;
const ROUND = 7;

interface Props {
  id: string;
  label: string;
  map: number[][] | null; // levels from 0 to 1 [rows][cols]
  region: readonly [number, number, number, number];
  captioned: boolean;
}

export function HeatPicture({ id, label, map, region, captioned }: Props) {
  const t = useText();
  const picture = usePicture(id);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [left, top, right, bottom] = region;
  useEffect(() => {
    if (canvas.current && map) draw(canvas.current, map);
  });

  if (picture === null) return <p className="quiet small">{t.pictureLost}</p>;
  if (!picture) return null;
  const share = (part: number) => `${100 * part}%`;
  return (
    <figure className="heat" data-lit={map !== null || undefined}>
      <div className="heat-frame" style={{ "--ratio": picture.width / picture.height } as object}>
        <img src={urlOf(picture)} alt={picture.name} draggable={false} />
        <canvas
          ref={canvas}
          style={{ left: share(left), top: share(top), width: share(right - left), height: share(bottom - top) }}
        />
      </div>
      {captioned && <figcaption className="quiet small">{label}</figcaption>}
    </figure>
  );
}

function draw(canvas: HTMLCanvasElement, map: number[][]): void {
  canvas.width = (map[0]?.length ?? 1) * CELL;
  canvas.height = map.length * CELL;
  const pen = canvas.getContext("2d");
  if (!pen) return;
  map.forEach((line, row) => {
    line.forEach((level, col) => {
      pen.fillStyle = colour(level);
      pen.beginPath();
      pen.roundRect(col * CELL + GAP, row * CELL + GAP, CELL - 2 * GAP, CELL - 2 * GAP, ROUND);
      pen.fill();
    });
  });
}

// What a new conversation begins with: what can be done here, and pictures to try it with.
import grid from "../examples/grid.webp";
import scene from "../examples/scene.webp";
import shapes from "../examples/shapes.webp";
import single from "../examples/single.webp";
import { ask } from "../state/conversing";
import { readPictures } from "../state/pictures";
import { say, text, usePage, useReady, useText } from "../state/store";

const EXAMPLES = { scene, shapes, grid, single };

type Name = keyof typeof EXAMPLES;

export function Welcome() {
  const t = useText();
  const ready = useReady();
  return (
    <section className="welcome">
      <h2>{t.welcome}</h2>
      <p className="quiet">{t.welcomeMore}</p>
      <h3 className="small quiet">{t.tryOne}</h3>
      <ul className="examples">
        {Object.entries(EXAMPLES).map(([name, url]) => (
          <li key={name}>
            <button type="button" className="example" disabled={!ready} onClick={() => void askExample(name as Name)}>
              <img src={url} alt="" width="448" height="448" draggable={false} />
              <span>{t.examples[name as Name]}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

async function askExample(name: Name): Promise<void> {
  const { current } = usePage.getState();
  const response = await fetch(EXAMPLES[name]).catch(() => null);
  if (!response?.ok) {
    say("problem", text().down);
    return;
  }
  const pictures = await readPictures([new File([await response.blob()], `${name}.webp`, { type: "image/webp" })]);
  const [picture] = pictures;
  if (!picture || usePage.getState().current !== current) return; // another conversation was opened in the meantime
  ask({ text: text().examples[name], pictures: [picture] });
}

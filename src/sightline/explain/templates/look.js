const { grid, stops, words } = JSON.parse(document.getElementById("data").textContent);
const buttons = [...document.querySelectorAll("[data-word]")];
const numbers = document.querySelector(".numbers");
const percent = (share) => `${(100 * share).toFixed(share && share < 0.1 ? 1 : 0)} %`;
const points = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} points`;
let chosen = -1;

const colour = (level) => {
  const above = Math.max(1, stops.findIndex((stop) => stop[0] >= level));
  const [low, high] = [stops[above - 1], stops[above]];
  const share = (level - low[0]) / (high[0] - low[0]);
  const [red, green, blue, alpha] = low.slice(1).map((value, n) => value + share * (high[n + 1] - value));
  return [red, green, blue, 255 * alpha];
};
const palette = Array.from({ length: 256 }, (_, level) => colour(level / 255));

const draw = (canvas, levels, rows, cols) => {
  Object.assign(canvas, { width: cols, height: rows });
  canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(levels.flatMap((n) => palette[n])), cols, rows), 0, 0);
};

const tell = (word) => {
  const name = document.createElement("b");
  name.textContent = word.text;
  const parts = [`: probability ${percent(word.probability)}; ${percent(word.onPictures)} of its attention on pictures`];
  if (word.worst) {
    const { image, row, col } = word.worst;
    const where = `row ${row + 1}, column ${col + 1}${document.querySelectorAll(".pair").length > 1 ? ` of picture ${image + 1}` : ""}`;
    parts.push(`; largest loss ${points(word.loss)}, to ${percent(word.left)}, with the square from ${where} hidden`);
  }
  numbers.replaceChildren(name, parts.join("") + ".");
};

const show = (index) => {
  if (index === chosen) return;
  chosen = index;
  buttons.forEach((button, n) => (n === index ? button.setAttribute("aria-current", "true") : button.removeAttribute("aria-current")));
  for (const figure of document.querySelectorAll("figure")) {
    const { levels } = words[index].maps[figure.dataset.kind];
    draw(figure.querySelector("canvas"), levels[figure.parentElement.dataset.picture], ...grid);
    figure.querySelector("output").textContent = "";
  }
  tell(words[index]);
};

buttons.forEach((button, index) => {
  for (const event of ["pointerenter", "focus", "click"]) button.addEventListener(event, () => show(index));
  button.addEventListener("keydown", (event) => {
    const last = buttons.length - 1;
    const to = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    buttons[Math.min(last, Math.max(0, to))].focus();
  });
});

for (const figure of document.querySelectorAll("figure")) {
  const canvas = figure.querySelector("canvas");
  const output = figure.querySelector("output");
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const row = Math.min(grid[0] - 1, Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * grid[0])));
    const col = Math.min(grid[1] - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * grid[1])));
    const { levels, scale } = words[chosen].maps[figure.dataset.kind];
    const value = (levels[figure.parentElement.dataset.picture][row * grid[1] + col] / 255) * scale;
    output.textContent = `row ${row + 1}, column ${col + 1}: ${figure.dataset.kind === "attention" ? percent(value) : points(value)}`;
  });
  canvas.addEventListener("pointerleave", () => (output.textContent = ""));
}

draw(document.querySelector(".legend canvas"), Array.from({ length: 256 }, (_, n) => n), 1, 256);
// What is shown first is the word that the picture decided most.
show(words.reduce((best, word, n) => (word.loss > words[best].loss ? n : best), 0));

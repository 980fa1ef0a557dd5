for (const form of document.querySelectorAll("[data-gallery]")) {
  const cards = [...form.nextElementSibling.children];
  const show = () => {
    const wanted = [...form.querySelectorAll("select")].filter((select) => select.selectedIndex > 0);
    for (const card of cards) {
      card.hidden = wanted.some((select) => card.dataset[select.dataset.filter] !== select.value);
    }
    form.querySelector("output").textContent = `${cards.filter((card) => !card.hidden).length} of ${cards.length} shown`;
  };
  form.addEventListener("change", show);
  show();
}

// The large price follows the chosen grade. Without this module each grade still shows its own price.
const shown = {
  price: document.querySelector(".product__price [data-price]"),
  pack: document.querySelector(".product__price [data-pack]"),
  unit: document.querySelector(".product__price [data-unit]"),
};

document.querySelector(".grades")?.addEventListener("change", ({ target }) => {
  for (const [name, element] of Object.entries(shown)) {
    element.textContent = target.dataset[name];
  }
});

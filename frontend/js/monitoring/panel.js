// The curve panel: asks the server for the drawn curve of a point or parcel and puts it into the page.

export function curvePanel(panel, config) {
  if (!panel || !config.run) return null;
  let asked = 0; // only the answer to the last question is shown

  async function show(query) {
    const number = ++asked;
    const address = new URL(config.curve, location.href);
    for (const [name, value] of Object.entries({ run: config.run, ...query, fragment: "1" })) address.searchParams.set(name, value);
    panel.setAttribute("aria-busy", "true");
    note(config.text.curve);
    try {
      const answer = await fetch(address, { credentials: "same-origin" });
      // 400 and 404 carry a page fragment that says what is wrong and what to do.
      if (!answer.ok && answer.status >= 500) throw new Error(String(answer.status));
      const html = await answer.text();
      if (number === asked) panel.innerHTML = html;
    } catch {
      if (number === asked) note(config.text.curve_failed);
    } finally {
      if (number === asked) {
        panel.removeAttribute("aria-busy");
        panel.closest("section").scrollIntoView({ block: "nearest" });
      }
    }
  }

  function note(text) {
    const line = document.createElement("p");
    line.className = "muted";
    line.textContent = text;
    panel.replaceChildren(line);
  }

  for (const form of document.querySelectorAll("[data-curve-form]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      show(Object.fromEntries(new FormData(form)));
    });
  }
  return { show };
}

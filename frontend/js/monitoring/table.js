// The table of estimates: choose all of the page.

import { autosubmit } from "./forms.js";

autosubmit(document);

const all = document.querySelector("[data-select-all]");
if (all) {
  all.closest("label").hidden = false;
  all.addEventListener("change", () => {
    for (const box of document.querySelectorAll('input[name="seen"][form="bulk"]')) box.checked = all.checked;
  });
}

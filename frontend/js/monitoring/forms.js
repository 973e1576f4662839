// Filter forms answer to a choice at once; their button stays for everyone without script and is hidden here.

export function autosubmit(root) {
  for (const form of root.querySelectorAll("[data-autosubmit]")) {
    form.addEventListener("change", () => form.requestSubmit());
    const button = form.querySelector("button[type=submit]");
    if (button) button.hidden = true;
  }
}

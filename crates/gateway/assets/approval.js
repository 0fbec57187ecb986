// The question whether a tool may be called: what it would do, and two buttons.

import { el, icon, setText } from "./dom.js";

const SAID = {
  approved: "Allowed",
  denied: "Not allowed",
  expired: "Nobody answered in time",
};

export class ApprovalCard {
  #title = el("strong");
  #arguments = el("pre", { tabindex: "0", "aria-label": "Arguments" });
  #said = el("span", { class: "approval-said", hidden: true });
  #buttons = el("div", { class: "approval-buttons" });
  #shown = "";

  /** `decide(part, decision)` is called with `approved` or `denied`. */
  constructor(part, decide) {
    const button = (name, text, decision) =>
      el("button", { type: "button", class: "secondary", onclick: () => decide(part, decision) }, icon(name), el("span", { text }));
    this.#buttons.append(button("check", "Allow once", "approved"), button("slash", "Do not allow", "denied"));
    this.node = el(
      "section",
      { class: "approval", "data-testid": "approval", "aria-label": "A tool wants to be called" },
      el("p", {}, icon("alert"), this.#title),
      this.#arguments,
      this.#buttons,
      this.#said,
    );
  }

  update(part) {
    if (this.#shown === part.status) return;
    this.#shown = part.status;
    this.node.dataset.state = part.status;
    setText(this.#title, `May ${part.tool} be called with this?`);
    setText(this.#arguments, part.arguments);
    this.#buttons.hidden = part.status !== "open";
    this.#said.hidden = part.status === "open" || part.status === "sent";
    setText(this.#said, part.by ? `${SAID[part.status]} by ${part.by}` : (SAID[part.status] ?? ""));
  }
}

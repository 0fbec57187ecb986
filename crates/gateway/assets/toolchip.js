// One tool call: a line that opens to its arguments and its output.

import { duration, el, icon, setText } from "./dom.js";

const STATES = {
  running: { label: "Running", icon: null },
  completed: { label: "Completed", icon: "check" },
  failed: { label: "Failed", icon: "alert" },
  unknown: { label: "Outcome unknown", icon: "alert" },
  expired: { label: "Expired", icon: "clock" },
  cancelled: { label: "Cancelled", icon: "slash" },
};

export class ToolChip {
  #mark = el("span", { class: "chip-mark" });
  #name = el("span", { class: "chip-name" });
  #brief = el("span", { class: "chip-brief" });
  #time = el("span", { class: "chip-time" });
  #arguments = el("pre", { tabindex: "0", "aria-label": "Arguments" });
  #output = el("pre", { tabindex: "0", "aria-label": "Output" });
  #outputSection = el("div", { class: "chip-section" }, el("span", { class: "chip-label", text: "Output" }), this.#output);

  constructor() {
    this.node = el(
      "details",
      { class: "chip", "data-testid": "tool-chip" },
      el("summary", {}, this.#mark, this.#name, this.#brief, this.#time, icon("chevron")),
      el(
        "div",
        { class: "chip-body" },
        el("div", { class: "chip-section" }, el("span", { class: "chip-label", text: "Arguments" }), this.#arguments),
        this.#outputSection,
      ),
    );
  }

  update(part) {
    const state = STATES[part.status] ?? { label: part.status, icon: "alert" };
    if (this.node.dataset.state !== part.status) {
      this.node.dataset.state = part.status;
      this.#mark.replaceChildren(
        state.icon ? icon(state.icon) : el("span", { class: "spinner" }),
        el("span", { class: "sr-only", text: `${state.label}:` }),
      );
    }
    const quiet = part.status === "completed" || part.status === "running";
    const time = part.ms === undefined ? "" : duration(part.ms);
    setText(this.#name, part.tool ?? "tool");
    setText(this.#brief, brief(part.arguments));
    setText(this.#time, [quiet ? "" : state.label.toLowerCase(), time].filter(Boolean).join(" · "));
    setText(this.#arguments, pretty(part.arguments));
    setText(this.#output, part.output || "No output");
    this.#outputSection.hidden = part.output === undefined;
  }
}

function brief(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "object") return String(value);
  return Object.entries(value)
    .map(([name, item]) => `${name}: ${typeof item === "object" ? JSON.stringify(item) : item}`)
    .join(", ");
}

function pretty(value) {
  if (value === null || value === undefined) return "None";
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

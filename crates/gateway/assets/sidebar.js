// The conversation list: opening, renaming, removing, and the keys for each.

import { el, icon } from "./dom.js";
import * as store from "./store.js";

export class Sidebar {
  #current = null;
  #running = new Set();
  #editing = null;

  constructor(root, { onRemove }) {
    this.root = root;
    this.onRemove = onRemove;
    root.addEventListener("keydown", (event) => this.#key(event));
    store.onListChange(() => this.draw());
  }

  /** Marks the open conversation and those with a run going on. */
  mark(current, running) {
    const sameRuns = running.size === this.#running.size && [...running].every((id) => this.#running.has(id));
    if (current === this.#current && sameRuns) return;
    this.#current = current;
    this.#running = running;
    this.draw();
  }

  draw() {
    // Drawing again would throw away the name that is being typed.
    if (this.#editing) return;
    const focused = this.#items().indexOf(document.activeElement);
    const groups = new Map();
    for (const entry of store.conversations()) {
      const age = ageOf(entry.updated);
      groups.set(age, [...(groups.get(age) ?? []), this.#item(entry)]);
    }
    const sections = [...groups].map(([age, items]) =>
      el("section", { "aria-label": age }, el("h2", { class: "age", text: age }), el("ul", {}, ...items)),
    );
    this.root.replaceChildren(...sections);
    if (!sections.length) this.root.append(el("p", { class: "list-empty", text: "Your conversations appear here." }));
    if (focused >= 0) this.#focus(focused);
  }

  #item(entry) {
    const { id, title } = entry;
    const running = this.#running.has(id);
    const link = el(
      "a",
      { class: "conversation-link", href: `#c=${encodeURIComponent(id)}`, "aria-current": id === this.#current ? "page" : null },
      el("span", { class: "conversation-title", text: title, title }),
      running ? el("span", { class: "pulse", role: "img", "aria-label": "Running" }) : null,
    );
    const item = el(
      "li",
      { class: "conversation", "data-testid": "conversation-item", "data-id": id },
      link,
      el(
        "span",
        { class: "conversation-actions" },
        action("rename", "pencil", `Rename ${title}`, () => this.#rename(item, entry)),
        action("delete", "trash", `Remove ${title} from the list`, () => this.#remove(entry)),
      ),
    );
    return item;
  }

  #rename(item, entry) {
    const input = el("input", { class: "rename", type: "text", "aria-label": "Title", "data-testid": "rename-input", maxlength: 120 });
    input.value = entry.title;
    this.#editing = entry.id;
    let open = true;
    const close = (save) => {
      if (!open) return;
      open = false;
      this.#editing = null;
      if (save) store.rename(entry.id, input.value);
      this.draw();
      this.root.dispatchEvent(new CustomEvent("renamed"));
      this.root.querySelector(`[data-id="${CSS.escape(entry.id)}"] a`)?.focus();
    };
    input.addEventListener("blur", () => close(true));
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.isComposing) return;
      if (event.key === "Enter") close(true);
      if (event.key === "Escape") close(false);
    });
    item.replaceChildren(input);
    input.select();
  }

  #remove(entry) {
    const at = this.#items().findIndex((link) => link.closest("[data-id]").dataset.id === entry.id);
    store.remove(entry.id);
    this.draw();
    this.#focus(Math.min(at, this.#items().length - 1));
    this.onRemove(entry);
  }

  #items() {
    return [...this.root.querySelectorAll(".conversation-link")];
  }

  #focus(index) {
    this.#items()[index]?.focus();
  }

  #key(event) {
    const items = this.#items();
    const at = items.indexOf(event.target.closest?.(".conversation")?.querySelector("a"));
    if (at < 0) return;
    const entry = () => store.conversation(items[at].closest("[data-id]").dataset.id);
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 };
    if (event.key in moves) this.#focus(Math.max(0, Math.min(items.length - 1, moves[event.key])));
    else if (event.key === "F2") this.#rename(items[at].closest("li"), entry());
    else if (event.key === "Delete") this.#remove(entry());
    else return;
    event.preventDefault();
  }
}

function action(name, image, label, onclick) {
  return el("button", { type: "button", class: "icon-button small", "aria-label": label, "data-testid": name, onclick }, icon(image));
}

function ageOf(updated) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  const days = Math.ceil((midnight - updated) / 86_400_000);
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  return days <= 7 ? "Last seven days" : "Earlier";
}

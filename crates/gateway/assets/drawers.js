// The two side panels: columns where there is room, drawers over the page where
// there is not. One drawer at most is open; the page behind it takes no focus.

const NARROW = { sidebar: matchMedia("(max-width: 859px)"), run: matchMedia("(max-width: 1179px)") };

export class Drawers {
  #open = null;

  constructor({ shell, main, backdrop, panels, toggles }) {
    Object.assign(this, { shell, main, panels, toggles });
    backdrop.addEventListener("click", () => this.close());
    for (const [name, narrow] of Object.entries(NARROW)) {
      toggles[name].addEventListener("click", () => this.toggle(name));
      narrow.addEventListener("change", () => this.close());
    }
    this.#draw();
  }

  get isOpen() {
    return this.#open !== null;
  }

  toggle(name) {
    if (NARROW[name].matches) this.#set(this.#open === name ? null : name);
    else this.#column(name, this.shell.dataset[name] === "closed");
  }

  reveal(name) {
    if (NARROW[name].matches) this.#set(name);
    else this.#column(name, true);
  }

  /** Closes the open drawer, or the named panel where it is a column. */
  close(name) {
    if (this.#open) this.#set(null);
    else if (name && !NARROW[name].matches) this.#column(name, false);
    else this.#draw();
  }

  #column(name, open) {
    this.shell.dataset[name] = open ? "open" : "closed";
    this.#draw();
    if (!open && this.panels[name].contains(document.activeElement)) this.toggles[name].focus();
  }

  #set(name) {
    const last = this.#open;
    this.#open = name;
    this.#draw();
    if (name) this.panels[name].querySelector("button, a, input")?.focus();
    else if (last) this.toggles[last].focus();
  }

  #draw() {
    this.shell.dataset.drawer = this.#open ?? "";
    this.main.inert = this.#open !== null;
    for (const [name, narrow] of Object.entries(NARROW)) {
      const open = narrow.matches ? this.#open === name : this.shell.dataset[name] !== "closed";
      this.panels[name].inert = !open;
      this.toggles[name].setAttribute("aria-expanded", String(open));
    }
  }
}

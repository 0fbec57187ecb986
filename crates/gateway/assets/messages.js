// The transcript: keeps the nodes of the open conversation in step with its
// turns, at most once a frame, and the view at the bottom unless the reader left it.

import { TurnView } from "./turnview.js";

const NEAR_BOTTOM_PX = 80;

export class Messages {
  #conversation = null;
  #views = new Map();
  #scheduled = false;
  #stuck = true;

  /** `context()` gives what a turn shows of the rest of the page. */
  constructor({ root, scroll, jump, actions, context, onFlush }) {
    Object.assign(this, { root, scroll, jump, actions, context, onFlush });
    scroll.addEventListener("scroll", () => this.#observe(), { passive: true });
    jump.addEventListener("click", () => this.toBottom());
    const follow = new ResizeObserver(() => {
      if (this.#stuck) this.#pin();
      else this.#observe();
    });
    follow.observe(root);
    follow.observe(scroll);
  }

  show(conversation) {
    this.#conversation = conversation;
    this.#views.clear();
    this.root.replaceChildren();
    this.#stuck = true;
    this.#flush();
  }

  /** Something changed; draws before the next paint. */
  refresh() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  toBottom() {
    this.#stuck = true;
    this.#pin();
  }

  #flush() {
    const { turns } = this.#conversation;
    let running = false;
    turns.forEach((turn, index) => {
      let view = this.#views.get(turn);
      if (!view) {
        view = new TurnView(turn, this.actions);
        this.#views.set(turn, view);
      }
      view.update({ ...this.context(), ahead: running });
      running ||= turn.active;
      if (this.root.children[index] !== view.node) this.root.insertBefore(view.node, this.root.children[index] ?? null);
    });
    for (const [turn, view] of this.#views) {
      if (turns.includes(turn)) continue;
      view.node.remove();
      this.#views.delete(turn);
    }
    this.onFlush();
  }

  #observe() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroll;
    this.#stuck = scrollHeight - scrollTop - clientHeight < NEAR_BOTTOM_PX;
    this.jump.hidden = this.#stuck;
  }

  #pin() {
    this.scroll.scrollTop = this.scroll.scrollHeight;
    this.jump.hidden = true;
  }
}

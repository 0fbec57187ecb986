// The message box: keys, growth, and a draft for each conversation.

import { el } from "./dom.js";

/** The server closes on frames over 1 MiB; this leaves room for the rest of the frame. */
const LONGEST_BYTES = 1_000_000;

export class Composer {
  #drafts = new Map();
  #conversation = null;

  /** `onSend(text, agent)` takes the message; `onTooLong()` says that it does not fit. */
  constructor({ form, input, send, cancel, agent, onSend, onTooLong, onCancel }) {
    Object.assign(this, { form, input, send, cancel, agent, onSend, onTooLong });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    form.addEventListener("click", (event) => {
      if (event.target === form || event.target.classList.contains("composer-row")) input.focus();
    });
    input.addEventListener("input", () => this.#changed());
    input.addEventListener("keydown", (event) => {
      // 229 is Safari's Enter that only ends an input-method composition.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.#submit();
    });
    cancel.addEventListener("click", onCancel);
    addEventListener("resize", () => this.#grow());
  }

  open(conversation) {
    if (this.#conversation) this.#drafts.set(this.#conversation, this.input.value);
    this.#conversation = conversation;
    this.fill(this.#drafts.get(conversation) ?? "");
  }

  fill(text) {
    this.input.value = text;
    this.#changed();
  }

  focus() {
    this.input.focus();
  }

  /** Focuses unless that would raise a keyboard over the page. */
  offerFocus() {
    if (!matchMedia("(pointer: coarse)").matches) this.focus();
  }

  agents(names) {
    const chosen = this.agent.value;
    this.agent.replaceChildren(...names.map((name) => el("option", { value: name, text: name })));
    if (names.includes(chosen)) this.agent.value = chosen;
    this.agent.hidden = names.length < 2;
  }

  running(running) {
    if (this.cancel.hidden && running) this.cancel.hidden = false;
    if (this.cancel.hidden || running) return;
    if (document.activeElement === this.cancel) this.input.focus();
    this.cancel.hidden = true;
  }

  #submit() {
    const text = this.input.value.trim();
    if (!text) return;
    if (new TextEncoder().encode(JSON.stringify(text)).length > LONGEST_BYTES) {
      this.onTooLong();
      return;
    }
    this.fill("");
    this.onSend(text, this.agent.hidden ? null : this.agent.value);
  }

  #changed() {
    this.send.disabled = this.input.value.trim() === "";
    this.#grow();
  }

  #grow() {
    this.input.style.height = "auto";
    this.input.style.height = `${this.input.scrollHeight}px`;
  }
}

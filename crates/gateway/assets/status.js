// How the page stands with the server: the state in the top bar, the key form,
// and notices above the message box.

import { el, icon, setText } from "./dom.js";

const LABELS = { connecting: "Connecting", online: "Connected", offline: "Offline", unauthorized: "Key needed" };

export class Status {
  #offline = null;
  #countdown = 0;

  constructor({ pill, access, chat, notices, onKey, onEnter, onRetry }) {
    Object.assign(this, { pill, access, chat, notices, onEnter, onRetry });
    this.form = access.querySelector("form");
    this.input = access.querySelector("input");
    this.error = access.querySelector("[role=alert]");
    this.button = access.querySelector("button");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      const key = this.input.value.trim();
      if (!key) return;
      setText(this.button, "Connecting…");
      setText(this.error, "");
      onKey(key);
    });
  }

  show({ state, retryAt }) {
    this.#pill(state);
    if (state === "online" || state === "offline") this.#leaveAccess();
    if (state === "unauthorized") {
      this.askForKey("The server did not accept this key. Run nexus up again and use the key that it prints.");
    }
    if (state === "offline") this.#showOffline(retryAt);
    if (state === "online" || state === "unauthorized") this.#hideOffline();
    if (state === "connecting" && this.#offline) {
      clearInterval(this.#countdown);
      setText(this.#offline.querySelector(".notice-text"), "Offline. Reconnecting…");
    }
  }

  askForKey(error = "") {
    this.#pill("unauthorized");
    this.access.hidden = false;
    for (const part of this.chat) part.hidden = true;
    setText(this.button, "Connect");
    setText(this.error, error);
    this.input.setAttribute("aria-invalid", String(error !== ""));
    this.input.select();
    this.input.focus();
  }

  /** A notice with an optional action; it leaves by itself after `seconds`, if given. */
  notice(text, { action, onAction, seconds, kind = "error" } = {}) {
    const close = () => node.remove();
    const node = el(
      "div",
      { class: `notice notice-${kind}`, role: kind === "error" ? "alert" : "status", "data-testid": "notice" },
      icon(kind === "error" ? "alert" : "check"),
      el("span", { class: "notice-text", text }),
      action
        ? el("button", { type: "button", class: "link", text: action, onclick: () => (close(), onAction()) })
        : null,
      el("button", { type: "button", class: "icon-button small", "aria-label": "Dismiss", onclick: close }, icon("close")),
    );
    this.notices.append(node);
    if (seconds) setTimeout(close, seconds * 1000);
  }

  #pill(state) {
    this.pill.dataset.state = state;
    setText(this.pill.lastElementChild, LABELS[state]);
  }

  #leaveAccess() {
    if (this.access.hidden) return;
    this.access.hidden = true;
    this.input.value = "";
    setText(this.button, "Connect");
    for (const part of this.chat) part.hidden = false;
    this.onEnter();
  }

  #showOffline(retryAt) {
    if (!this.#offline) {
      this.#offline = el(
        "div",
        { class: "notice notice-offline", "data-testid": "offline-notice" },
        el("span", { class: "spinner", "aria-hidden": "true" }),
        el("span", { class: "notice-text" }),
        el("button", { type: "button", class: "link", text: "Retry now", onclick: () => this.onRetry() }),
      );
      this.notices.prepend(this.#offline);
    }
    clearInterval(this.#countdown);
    const text = this.#offline.querySelector(".notice-text");
    const tick = () => {
      const seconds = Math.ceil((retryAt - Date.now()) / 1000);
      setText(text, seconds > 1 ? `Offline. Reconnecting in ${seconds} s. What you send is kept.` : "Offline. Reconnecting…");
    };
    tick();
    this.#countdown = setInterval(tick, 500);
  }

  #hideOffline() {
    clearInterval(this.#countdown);
    this.#offline?.remove();
    this.#offline = null;
  }
}

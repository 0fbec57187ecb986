// One message and its answer on the page.

import { ApprovalCard } from "./approval.js";
import { copyButton, count, duration, el, icon, setText } from "./dom.js";
import { Markdown } from "./markdown.js";
import { ToolChip } from "./toolchip.js";

export class TurnView {
  #user = el("p", { class: "bubble" });
  #delivery = el("div", { class: "delivery", hidden: true });
  #parts = el("div", { class: "parts" });
  #status = el("div", { class: "status" }, el("span", { class: "pulse", "aria-hidden": "true" }), el("span", { class: "status-text" }));
  #outcome = el("div", { class: "outcome", hidden: true });
  #footer = el("div", { class: "footer", hidden: true });
  #facts = el("span", { class: "facts" });
  #note = el("p", {
    class: "note",
    "data-testid": "steered-note",
    text: "Taken into the answer that was being written.",
    hidden: true,
  });
  #views = new Map();
  #shown = "";

  /** `actions` has `retry`, `remove`, `edit`, `again` and `inspect`, each taking the turn, and `decide(turn, question, decision)`. */
  constructor(turn, actions) {
    this.turn = turn;
    this.actions = actions;
    const copy = copyButton("Copy answer", () => turn.answer);
    const inspect = el(
      "button",
      { type: "button", "aria-label": "Show the run of this answer", onclick: () => actions.inspect(turn) },
      icon("run"),
      el("span", { text: "Run" }),
    );
    this.#footer.append(copy, inspect, this.#facts);
    this.assistant = el(
      "article",
      { class: "assistant", "data-testid": "message-assistant", "aria-label": "Answer" },
      this.#parts,
      this.#status,
      this.#outcome,
      this.#footer,
    );
    this.user = el("article", { class: "user", "data-testid": "message-user", "aria-label": "You" }, this.#user, this.#delivery);
    this.node = el("div", { class: "turn" }, this.user, this.assistant, this.#note);
  }

  update(context) {
    const { turn } = this;
    setText(this.#user, turn.text);
    this.user.hidden = !turn.text;
    this.#showDelivery(context);
    const steered = turn.state === "steered";
    this.#note.hidden = !steered;
    this.assistant.hidden = steered || turn.delivery === "waiting" || turn.delivery === "refused";
    this.assistant.dataset.state = turn.state;
    this.assistant.dataset.run = turn.run ?? "";
    this.assistant.setAttribute("aria-busy", String(turn.state === "streaming"));
    this.#showParts();
    this.#showStatus(context);
    this.#showOutcome();
    this.#showFooter(context);
  }

  #showDelivery({ online }) {
    const { turn, actions } = this;
    const shown = turn.delivery === "refused" ? `refused ${turn.refusal.message}` : `${turn.delivery} ${online}`;
    this.user.dataset.state = turn.delivery;
    if (shown === this.#shown) return;
    this.#shown = shown;
    const reason = (name, text) => el("span", { class: "delivery-text" }, icon(name), el("span", { text }));
    const button = (text, action) => el("button", { type: "button", class: "link", text, onclick: () => action(turn) });
    this.#delivery.hidden = turn.delivery === "accepted" || (turn.delivery === "sent" && online);
    if (turn.delivery === "refused") {
      const again = turn.refusal.permanent ? button("Edit message", actions.edit) : button("Try again", actions.retry);
      this.#delivery.replaceChildren(reason("alert", turn.refusal.message), again, button("Remove", actions.remove));
    } else if (turn.delivery === "waiting") {
      this.#delivery.replaceChildren(reason("clock", "Goes out when the connection is back."), button("Remove", actions.remove));
    } else {
      this.#delivery.replaceChildren(reason("clock", "Sent, waiting for the server to confirm."));
    }
  }

  #showParts() {
    const { turn } = this;
    const last = turn.parts.at(-1);
    turn.parts.forEach((part, index) => {
      let view = this.#views.get(part);
      if (!view) {
        view = this.#viewOf(part);
        this.#views.set(part, view);
      }
      if (part.kind !== "text") view.update(part);
      else view.update(part.text, turn.state === "streaming" && part === last);
      if (this.#parts.children[index] !== view.node) this.#parts.insertBefore(view.node, this.#parts.children[index] ?? null);
    });
    for (const [part, view] of this.#views) {
      if (turn.parts.includes(part)) continue;
      view.node.remove();
      this.#views.delete(part);
    }
    this.#parts.hidden = turn.parts.length === 0;
  }

  #viewOf(part) {
    if (part.kind === "tool") return new ToolChip();
    if (part.kind === "approval") return new ApprovalCard(part, (question, decision) => this.actions.decide(this.turn, question, decision));
    return new TextView();
  }

  #showStatus({ online, ahead }) {
    const { turn } = this;
    const writing = turn.status === "Writing" && turn.parts.at(-1)?.kind === "text";
    this.#status.hidden = turn.state !== "streaming" || (writing && online && !turn.cancelling);
    let text = turn.status || (ahead ? "Waiting for the answer above" : "Thinking");
    if (writing) text = "Writing";
    if (turn.cancelling) text = "Stopping";
    if (!online) text = "Connection lost, the answer goes on when it is back";
    setText(this.#status.lastChild, text);
  }

  #showOutcome() {
    const { turn } = this;
    this.#outcome.hidden = turn.state !== "failed" && turn.state !== "cancelled";
    if (this.#outcome.hidden || this.#outcome.dataset.state === turn.state) return;
    this.#outcome.dataset.state = turn.state;
    const again = el(
      "button",
      { type: "button", class: "secondary", onclick: () => this.actions.again(turn) },
      icon("retry"),
      el("span", { text: "Ask again" }),
    );
    const { code, message } = turn.error ?? {};
    if (turn.state === "cancelled") {
      const text = el("span", { class: "outcome-text", text: message ?? "This answer was stopped." });
      this.#outcome.replaceChildren(icon("slash"), text, again);
      return;
    }
    const text = el(
      "span",
      { class: "outcome-text" },
      el("strong", { text: "This run failed. " }),
      message ?? "The server gave no reason; its log has more.",
    );
    if (code) text.append(" ", el("code", { text: code }));
    this.#outcome.replaceChildren(icon("alert"), text, again);
  }

  #showFooter({ inspected }) {
    const { turn } = this;
    this.#footer.hidden = turn.state === "streaming" || turn.state === "steered";
    if (this.#footer.hidden) return;
    this.#footer.firstChild.hidden = !turn.answer;
    this.#footer.children[1].setAttribute("aria-pressed", String(inspected === turn));
    const facts = [];
    if (turn.elapsed) facts.push(duration(turn.elapsed));
    if (turn.usage) facts.push(count(turn.usage.input_tokens + turn.usage.output_tokens, "token"));
    setText(this.#facts, facts.join(" · "));
  }
}

class TextView {
  node = el("div", { class: "markdown", "data-testid": "answer-text" });
  #markdown = new Markdown(this.node);
  #shown = null;

  update(text, open) {
    const shown = (open ? "…" : ".") + text;
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#markdown.update(text, open);
  }
}

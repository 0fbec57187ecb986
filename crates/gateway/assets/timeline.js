// The events of one run, in stream order, with the time each of them took.

import { count, duration, el, icon, setText } from "./dom.js";

const EMITTERS = ["gateway", "orchestrator", "memory", "inference", "tools"];

const FACTS = {
  "requests.incoming": ({ text }) => text,
  "runs.started": ({ agent, model }) => [agent, model].filter(Boolean).join(" · "),
  "memory.recalled": ({ turns }) => (turns === undefined ? "" : count(turns, "turn")),
  "inference.request": ({ model, step }) => [model, step && `step ${step}`].filter(Boolean).join(" · "),
  "inference.response": ({ error, output_tokens: tokens, ms }) =>
    error ?? [tokens !== undefined && count(tokens, "token"), ms !== undefined && duration(ms)].filter(Boolean).join(" · "),
  "tools.execute": ({ tool }) => tool,
  "tools.results": ({ tool, status, ms }) => [tool, status, ms !== undefined && duration(ms)].filter(Boolean).join(" · "),
  "requests.processed": ({ outcome }) => outcome,
};

const OUTCOMES = { streaming: "Running", answered: "Answered", failed: "Failed", cancelled: "Cancelled", steered: "Steered" };

export class Timeline {
  #body;
  #turn = null;
  #rows = new Map();
  #state = el("span", { class: "run-state", "data-testid": "run-state" });
  #total = el("span", { class: "run-total" });
  #facts = el("p", { class: "run-facts" });
  #list = el("ol", { class: "events", "aria-label": "Events of the run" });
  #id = el("p", { class: "run-id" });
  #empty = el("p", { class: "run-empty", text: "Ask something: each event of the run appears here as it happens." });

  constructor(root) {
    this.#body = el("div", {}, el("div", { class: "run-summary" }, this.#state, this.#total), this.#facts, this.#list, this.#id);
    root.append(this.#empty, this.#body);
    this.show(null);
  }

  show(turn) {
    if (turn !== this.#turn) {
      this.#turn = turn;
      this.#rows.clear();
      this.#list.replaceChildren();
    }
    const empty = !turn || turn.events.length === 0;
    this.#empty.hidden = !empty;
    this.#body.hidden = empty;
    if (!empty) this.#draw(turn);
  }

  #draw(turn) {
    const total = Math.max(turn.elapsed, 0.001);
    let before = 0;
    for (const event of turn.events) {
      let row = this.#rows.get(event.sequence);
      if (!row) {
        row = new Row(event);
        this.#rows.set(event.sequence, row);
        this.#list.append(row.node);
      }
      row.place(before / total, (event.offset - before) / total);
      before = event.offset;
    }
    this.#state.dataset.state = turn.state;
    setText(this.#state, OUTCOMES[turn.state] ?? turn.state);
    setText(this.#total, duration(turn.elapsed));
    setText(this.#facts, factsOf(turn));
    this.#facts.hidden = !this.#facts.textContent;
    setText(this.#id, `run ${turn.run}`);
  }
}

class Row {
  #bar = el("span", { class: "bar" });

  constructor({ event, emitter, summary, offset, sequence }) {
    const known = EMITTERS.includes(emitter) ? emitter : "other";
    const fact = FACTS[event]?.(summary) || "";
    const failed = Boolean(summary.error) || ["failed", "unknown", "expired"].includes(summary.status ?? summary.outcome);
    this.node = el(
      "li",
      {},
      el(
        "details",
        {
          class: `event emitter-${known}${failed ? " event-failed" : ""}`,
          "data-testid": "timeline-event",
          "data-event": event,
          "data-emitter": emitter,
        },
        el(
          "summary",
          {},
          line(["event-name", event], ["event-offset", `+${duration(offset)}`]),
          line(["event-emitter", emitter], ["event-fact", fact]),
          el("span", { class: "track", "aria-hidden": "true" }, this.#bar),
          icon("chevron"),
        ),
        details({ ...summary, sequence }),
      ),
    );
  }

  place(start, share) {
    this.#bar.style.left = `${(start * 100).toFixed(2)}%`;
    this.#bar.style.width = `${(share * 100).toFixed(2)}%`;
  }
}

function line(...cells) {
  return el("span", { class: "event-line" }, ...cells.map(([name, text]) => el("span", { class: name, text })));
}

function details(summary) {
  const list = el("dl", { class: "event-summary" });
  for (const [name, value] of Object.entries(summary)) {
    const text = typeof value === "object" && value !== null ? JSON.stringify(value, null, 2) : String(value);
    list.append(el("dt", { text: name }), el("dd", { text }));
  }
  return list;
}

function factsOf({ usage, events }) {
  const facts = [count(events.length, "event")];
  if (usage) {
    facts.push(count(usage.model_calls, "model call"));
    facts.push(`${usage.input_tokens.toLocaleString("en")} in, ${usage.output_tokens.toLocaleString("en")} out`);
  }
  return facts.join(" · ");
}

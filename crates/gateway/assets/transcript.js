// What is known of one conversation, built from frames alone. No frame, however
// often it comes, changes the transcript twice.

/**
 * One message and its answer.
 *
 * `delivery` is `waiting` (in the outbox), `sent`, `accepted` or `refused`;
 * `state` is `streaming`, `answered`, `failed`, `cancelled` or `steered`.
 * `parts` holds text `{kind: "text", call, text}`, tools `{kind: "tool", …}` and
 * questions whether a tool may be called `{kind: "approval", …}` in the order in which they came.
 */
class Turn {
  static #next = 0;

  key = `turn-${Turn.#next++}`;
  state = "streaming";
  parts = [];
  events = [];
  status = "";
  usage = null;
  error = null;
  refusal = null;
  final = null;
  cancelling = false;

  constructor({ id = null, run = null, text = "", agent = null, delivery }) {
    Object.assign(this, { id, run, text, agent, delivery });
  }

  get active() {
    return this.delivery === "accepted" && this.state === "streaming";
  }

  /** The answer as Markdown, preambles included. */
  get answer() {
    return this.parts.filter((part) => part.kind === "text").map((part) => part.text).join("\n\n").trim();
  }

  /** Milliseconds from the first event of the run to the last. */
  get elapsed() {
    return this.events.length ? this.events.at(-1).offset : 0;
  }
}

export class Conversation {
  turns = [];
  loading = false;
  missing = false;
  #runs = new Map();
  #calls = new Map();
  #sequences = new Set();

  constructor(id) {
    this.id = id;
  }

  get active() {
    return this.turns.filter((turn) => turn.active);
  }

  /** The last turn with a run of its own. */
  get lastRun() {
    return this.turns.findLast((turn) => turn.run && turn.state !== "steered") ?? null;
  }

  /** A message of this page, shown before the server knows it. */
  ask({ id, text, agent, delivery }) {
    const turn = new Turn({ id, text, agent, delivery });
    this.turns.push(turn);
    return turn;
  }

  turnOf(id) {
    return this.turns.find((turn) => turn.id === id);
  }

  withdraw(turn) {
    this.turns = this.turns.filter((other) => other !== turn);
  }

  /**
   * Applies a frame of this conversation. Returns the turn it changed, if any,
   * and whether text before it is missing.
   */
  apply(frame) {
    switch (frame.type) {
      case "accepted":
        return { turn: this.#accepted(frame) };
      case "event":
        return { turn: this.#event(frame) };
      case "delta":
        return this.#delta(frame);
      case "reset":
        return { turn: this.#reset(frame) };
      case "done":
        return { turn: this.#done(frame) };
      case "caught_up":
        this.loading = false;
        return {};
      default:
        return {};
    }
  }

  #accepted({ id, run }) {
    let turn = this.turnOf(id);
    if (turn?.run && turn.run !== run) {
      // An event of an equal message was taken for this one.
      turn.id = null;
      turn = null;
    }
    const known = this.#runs.get(run);
    if (known && turn !== known) {
      if (turn) this.withdraw(turn);
      turn = known;
    }
    turn ??= this.ask({ id, text: "", delivery: "accepted" });
    this.#runs.set(run, turn);
    Object.assign(turn, { id, run, delivery: "accepted", refusal: null });
    return turn;
  }

  #event(frame) {
    if (this.#sequences.has(frame.sequence)) return null;
    this.#sequences.add(frame.sequence);
    const turn = this.#turnOfRun(frame);
    const at = microseconds(frame.at);
    const { sequence, event, emitter, summary = {} } = frame;
    const first = turn.events[0]?.at ?? at;
    turn.events.push({ sequence, event, emitter, summary, at, offset: Math.max(0, (at - first) / 1000) });
    this.#note(turn, event, summary);
    return turn;
  }

  #note(turn, event, summary) {
    switch (event) {
      case "requests.incoming":
        turn.text = summary.text ?? turn.text;
        break;
      case "runs.started":
        turn.status = "Starting";
        break;
      case "memory.recall":
        turn.status = "Recalling";
        break;
      case "memory.recalled":
      case "inference.request":
        turn.status = "Thinking";
        if (event === "inference.request") {
          dropBroken(turn);
          closeQuestions(turn);
        }
        break;
      case "inference.response":
        turn.status = summary.finish === "tool_calls" ? "Calling tools" : "Thinking";
        if (summary.error) {
          const call = this.#calls.get(summary.call);
          if (call) call.broken = true;
        }
        break;
      case "tools.execute":
        turn.status = `Running ${summary.tool}`;
        Object.assign(toolOf(turn, summary), { arguments: summary.arguments });
        break;
      case "tools.results": {
        const { status = "completed", output, ms } = summary;
        Object.assign(toolOf(turn, summary), { status, output, ms });
        turn.status = "Thinking";
        break;
      }
      case "notify.deliver":
        if (summary.notice?.kind === "approval") {
          const { tool, arguments: text, arguments_sha256: sha256 } = summary.notice;
          turn.parts.push({ kind: "approval", question: summary.id, tool, arguments: pretty(text), sha256, status: "open" });
          turn.status = "Waiting for you";
        }
        break;
      case "tools.approval": {
        const part = turn.parts.find((other) => other.question === summary.question);
        if (part) Object.assign(part, { status: summary.decision, by: summary.user });
        break;
      }
      case "requests.processed":
        // The text of `done` is the whole one; a summary may be cut short.
        if (turn.final === null) {
          const shown = summary.text && turn.answer.startsWith(summary.text);
          finish(turn, shown ? { ...summary, text: "" } : summary);
        }
        break;
    }
  }

  #delta(frame) {
    const turn = this.#turnOfRun(frame);
    if (turn.state !== "streaming") return {};
    const call = this.#callOf(turn, frame.call);
    if (frame.offset > call.length) return { missing: true };
    const scalars = Array.from(frame.text);
    const fresh = scalars.slice(call.length - frame.offset);
    if (fresh.length === 0) return {};
    call.text += fresh.join("");
    call.length += fresh.length;
    turn.status = "Writing";
    return { turn };
  }

  #reset(frame) {
    const turn = this.#turnOfRun(frame);
    if (turn.state !== "streaming") return null;
    Object.assign(this.#callOf(turn, frame.call), { text: "", length: 0 });
    turn.status = "Thinking";
    return turn;
  }

  #done(frame) {
    const turn = this.#turnOfRun(frame);
    turn.usage = frame.usage ?? turn.usage;
    turn.final = frame.text ?? "";
    finish(turn, frame);
    return turn;
  }

  #turnOfRun({ run, event, summary }) {
    let turn = this.#runs.get(run);
    if (turn) return turn;
    if (event === "requests.incoming" && !this.loading) {
      turn = this.turns.find((other) => !other.run && other.delivery === "sent" && other.text === summary?.text);
    }
    if (!turn) {
      turn = new Turn({ run, delivery: "accepted" });
      const unsent = this.turns.findIndex((other) => !other.run);
      this.turns.splice(unsent < 0 ? this.turns.length : unsent, 0, turn);
    }
    Object.assign(turn, { run, delivery: "accepted" });
    this.#runs.set(run, turn);
    return turn;
  }

  #callOf(turn, id) {
    let call = this.#calls.get(id);
    if (!call) {
      call = { kind: "text", call: id, text: "", length: 0, broken: false };
      this.#calls.set(id, call);
      turn.parts.push(call);
    }
    return call;
  }
}

function toolOf(turn, { call, tool }) {
  let part = turn.parts.find((other) => other.kind === "tool" && other.call === call);
  if (!part) {
    part = { kind: "tool", call, tool, arguments: undefined, status: "running", output: undefined, ms: undefined };
    turn.parts.push(part);
  }
  return part;
}

/** Text of a model call that failed is no part of the answer once another call starts. */
function dropBroken(turn) {
  turn.parts = turn.parts.filter((part) => !part.broken);
}

/** The run goes on: a question that nobody answered is over. */
function closeQuestions(turn) {
  for (const part of turn.parts) {
    if (part.kind === "approval" && (part.status === "open" || part.status === "sent")) part.status = "expired";
  }
}

/** Arguments for people: indented when they are JSON. */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function finish(turn, { outcome, text, error }) {
  turn.state = outcome;
  closeQuestions(turn);
  turn.error = error ?? turn.error;
  turn.status = "";
  if (outcome === "answered") dropBroken(turn);
  if (text) settle(turn, text);
  for (const part of turn.parts) {
    if (part.kind === "tool" && part.status === "running") part.status = "cancelled";
  }
}

/** Makes the shown text the final text; preambles before tools stay. */
function settle(turn, final) {
  const texts = turn.parts.filter((part) => part.kind === "text");
  const last = texts.at(-1);
  if (last?.text === final || squash(joined(texts)) === squash(final)) return;
  const open = last !== undefined && turn.parts.at(-1) === last;
  const head = joined(open ? texts.slice(0, -1) : texts);
  const text = head && final.startsWith(head) ? final.slice(head.length) : final;
  if (open) last.text = text;
  else turn.parts.push({ kind: "text", call: null, text, length: 0, broken: false });
}

const joined = (parts) => parts.map((part) => part.text).join("");
const squash = (text) => text.replace(/\s+/g, "");

/** RFC 3339 to microseconds; `Date.parse` alone would drop all below a millisecond. */
function microseconds(at) {
  const fraction = /\.(\d+)/.exec(at)?.[1] ?? "";
  const whole = Date.parse(at.replace(/\.\d+/, ""));
  return whole * 1000 + Number(fraction.padEnd(6, "0").slice(0, 6));
}

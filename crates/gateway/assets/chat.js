// What the page knows and does: conversations, the outbox, and the frames that
// change them. It draws nothing; `changed` tells the page what to draw again.

import { uuid } from "./dom.js";
import { Connection } from "./socket.js";
import * as store from "./store.js";
import { Conversation } from "./transcript.js";

/** Errors that the same message would meet again. */
const PERMANENT = new Set(["text_too_long", "id_reused", "bad_frame", "unknown_frame"]);

export class Chat {
  #conversations = new Map();
  #refetched = new Set();
  current = new Conversation(uuid());

  /**
   * Hooks: `changed(conversation)`, `listed()`, `finished(turn, conversation)`,
   * `failed(text)`, `connection(connection)`, `agents(names)`.
   */
  constructor(hooks) {
    this.hooks = hooks;
    this.connection = new Connection({
      onFrame: (frame) => this.#receive(frame),
      onState: (connection) => {
        if (connection.state === "online") this.#catchUp();
        hooks.connection(connection);
        hooks.changed(this.current);
      },
    });
  }

  get online() {
    return this.connection.state === "online";
  }

  get running() {
    return new Set([...this.#conversations.values()].filter((each) => each.active.length).map((each) => each.id));
  }

  startNew() {
    this.current = new Conversation(uuid());
  }

  open(id) {
    this.current = this.#ensure(id);
  }

  /** Forgets what is held of a conversation and drops its unsent messages. */
  discard(id) {
    this.#conversations.delete(id);
    this.connection.forget(id);
    for (const message of store.outbox()) if (message.conversation === id) store.dequeue(message.id);
  }

  ask(text, agent) {
    const conversation = this.current;
    this.#conversations.set(conversation.id, conversation);
    this.connection.expect(conversation.id);
    conversation.missing = false;
    const message = { id: uuid(), conversation: conversation.id, text, agent };
    store.enqueue(message);
    store.touch(conversation.id, text);
    conversation.ask({ ...message, delivery: "waiting" });
    this.#deliver(message);
    this.hooks.listed();
    this.hooks.changed(conversation);
  }

  /** Sends a refused message again, with its id. */
  retry(turn) {
    const { id, text, agent } = turn;
    Object.assign(turn, { refusal: null, delivery: "waiting" });
    this.#deliver({ id, conversation: this.current.id, text, agent });
    this.hooks.changed(this.current);
  }

  withdraw(turn) {
    store.dequeue(turn.id);
    this.current.withdraw(turn);
    this.hooks.changed(this.current);
  }

  /** Answers the question whether a tool may be called. */
  decide({ run }, part, decision) {
    const { question, sha256: arguments_sha256 } = part;
    const { id: conversation } = this.current;
    if (this.connection.send({ type: "approve", conversation, run, question, decision, arguments_sha256 })) part.status = "sent";
    this.hooks.changed(this.current);
  }

  /** Stops the oldest answer that is still running; says whether there was one. */
  cancel() {
    const turn = this.current.active.find((each) => !each.cancelling);
    if (!turn) return false;
    turn.cancelling = true;
    this.#sendCancel(this.current, turn);
    this.hooks.changed(this.current);
    return true;
  }

  #sendCancel({ id }, { run }) {
    this.connection.send({ type: "cancel", conversation: id, run });
  }

  #ensure(id) {
    let conversation = this.#conversations.get(id);
    if (conversation) return conversation;
    conversation = new Conversation(id);
    conversation.loading = true;
    this.#conversations.set(id, conversation);
    for (const message of store.outbox()) {
      if (message.conversation === id) conversation.ask({ ...message, delivery: "waiting" });
    }
    this.connection.follow(id);
    return conversation;
  }

  #deliver(message) {
    const { id, conversation, text, agent } = message;
    const turn = this.#ensure(conversation).turnOf(id);
    const sent = this.connection.send({ type: "ask", id, conversation, text, ...(agent && { agent }) });
    if (sent && turn && turn.delivery !== "accepted") turn.delivery = "sent";
  }

  /** The connection is new: what was not confirmed goes out again, with the same ids. */
  #catchUp() {
    for (const message of store.outbox()) this.#deliver(message);
    for (const conversation of this.#conversations.values()) {
      for (const turn of conversation.active) if (turn.cancelling) this.#sendCancel(conversation, turn);
    }
  }

  /** Returns `false` when the frame was not applied and must come again. */
  #receive(frame) {
    if (frame.type === "welcome") return void this.hooks.agents(frame.agents ?? []);
    if (frame.type === "error") return void this.#error(frame);
    if (frame.type === "accepted") store.dequeue(frame.id);
    const conversation = this.#conversations.get(frame.conversation);
    if (!conversation) return undefined;
    const finished = this.#running(conversation, frame.run);
    const { turn, missing } = conversation.apply(frame);
    if (missing) return this.#refetch(frame);
    if (frame.event === "requests.incoming") {
      store.touch(conversation.id, turn?.text ?? "", Date.parse(frame.at));
      this.hooks.listed();
    }
    if (finished && turn && turn.state !== "streaming") this.hooks.finished(turn, conversation);
    this.hooks.changed(conversation);
    return undefined;
  }

  #running(conversation, run) {
    return !conversation.loading && conversation.active.some((turn) => turn.run === run);
  }

  /** Text before this delta is missing: asks for it once, then leaves it to `done`. */
  #refetch({ conversation, call }) {
    if (this.#refetched.has(call)) return undefined;
    this.#refetched.add(call);
    this.connection.follow(conversation);
    return false;
  }

  #error({ code, message, id, conversation: of }) {
    const conversation = this.#conversations.get(of) ?? [...this.#conversations.values()].find((each) => each.turnOf(id));
    const turn = id && conversation?.turnOf(id);
    if (turn) {
      const permanent = PERMANENT.has(code);
      if (permanent) store.dequeue(id);
      if (turn.delivery !== "accepted") Object.assign(turn, { delivery: "refused", refusal: { message, permanent } });
    } else if (code === "unknown_conversation" && conversation) {
      conversation.loading = false;
      conversation.missing = conversation.turns.length === 0;
    } else if (code !== "unauthorized") {
      this.hooks.failed(message);
    }
    if (conversation) this.hooks.changed(conversation);
  }
}

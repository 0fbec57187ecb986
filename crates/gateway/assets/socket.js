// One WebSocket that stays up: hello, heartbeat, back-off, and the cursor of
// every followed conversation, so that a new connection goes on where the old
// one broke off.

const FIRST_DELAY_MS = 400;
const LONGEST_DELAY_MS = 30_000;
const STABLE_AFTER_MS = 5_000;
const HELLO_TIMEOUT_MS = 10_000;
const DEFAULT_HEARTBEAT_S = 15;
const UNAUTHORIZED = 4401;
const SLOW_READER = 4429;

export class Connection {
  #key = null;
  #socket = null;
  #attempt = 0;
  #timers = { retry: 0, stable: 0, watch: 0 };
  #cursors = new Map();
  #heartbeatMs = DEFAULT_HEARTBEAT_S * 1000;
  #onFrame;
  #onState;

  /** `connecting`, `online`, `offline` or `unauthorized`. */
  state = "connecting";
  retryAt = 0;

  /**
   * `onFrame(frame)` gets every frame but the heartbeat; when it returns
   * `false`, the frame was not applied and the cursor stays before it.
   */
  constructor({ onFrame, onState }) {
    this.#onFrame = onFrame;
    this.#onState = onState;
    addEventListener("online", () => this.retryNow());
    addEventListener("pageshow", () => this.retryNow());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.retryNow();
    });
  }

  connect(key) {
    this.#key = key;
    this.#attempt = 0;
    this.#open();
  }

  retryNow() {
    if (this.state === "offline") this.#open();
  }

  /** Whether the frame went out on a connection that was welcomed. */
  send(frame) {
    if (this.state !== "online") return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** Receives the conversation from its last cursor on; from the start if there is none. */
  follow(conversation) {
    if (!this.#cursors.has(conversation)) this.#cursors.set(conversation, "");
    this.send({ type: "follow", conversation, cursor: this.#cursors.get(conversation) });
  }

  /** Remembers a conversation that an `ask` is about to follow by itself. */
  expect(conversation) {
    if (!this.#cursors.has(conversation)) this.#cursors.set(conversation, "");
  }

  /** Stops the frames of a conversation and forgets its cursor. */
  forget(conversation) {
    if (this.#cursors.delete(conversation)) this.send({ type: "unfollow", conversation });
  }

  #open() {
    this.#drop();
    this.#enter("connecting");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/v1/ws`);
    this.#socket = socket;
    socket.onopen = () => socket.send(JSON.stringify({ type: "hello", key: this.#key, client: "web-page" }));
    socket.onmessage = (message) => this.#receive(message.data);
    socket.onclose = (event) => this.#lost(event.code);
    this.#watch(HELLO_TIMEOUT_MS);
  }

  #receive(data) {
    const frame = JSON.parse(data);
    this.#watch();
    switch (frame.type) {
      case "ping":
        this.#socket.send('{"type":"pong"}');
        return;
      case "pong":
        return;
      case "welcome":
        this.#welcomed(frame);
        return;
      case "resume":
        this.#cursors.set(frame.conversation, frame.cursor);
        return;
      case "accepted":
        // Its cursor may lie ahead of stored events that have not come yet.
        this.#onFrame(frame);
        return;
      default:
        if (this.#onFrame(frame) !== false && frame.cursor && this.#cursors.has(frame.conversation)) {
          this.#cursors.set(frame.conversation, frame.cursor);
        }
    }
  }

  #welcomed(frame) {
    this.#heartbeatMs = (frame.heartbeat_s ?? DEFAULT_HEARTBEAT_S) * 1000;
    this.#watch();
    this.#timers.stable = setTimeout(() => (this.#attempt = 0), STABLE_AFTER_MS);
    this.state = "online";
    for (const conversation of this.#cursors.keys()) this.follow(conversation);
    this.#onFrame(frame);
    this.#onState(this);
  }

  #watch(limit = 3 * this.#heartbeatMs) {
    clearTimeout(this.#timers.watch);
    this.#timers.watch = setTimeout(() => this.#lost(), limit);
  }

  #lost(code) {
    this.#drop();
    if (code === UNAUTHORIZED) {
      this.#enter("unauthorized");
      return;
    }
    const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#attempt);
    const delay = code === SLOW_READER ? 0 : ceiling * (0.5 + Math.random() / 2);
    this.#attempt += 1;
    this.retryAt = Date.now() + delay;
    this.#timers.retry = setTimeout(() => this.#open(), delay);
    this.#enter("offline");
  }

  /** Lets go of the socket without waiting for a close that may never come. */
  #drop() {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #enter(state) {
    this.state = state;
    this.#onState(this);
  }
}

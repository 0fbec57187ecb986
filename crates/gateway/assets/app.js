// Entry: finds the parts of the page and joins them.

import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { el } from "./dom.js";
import { Drawers } from "./drawers.js";
import { Messages } from "./messages.js";
import { Sidebar } from "./sidebar.js";
import { Status } from "./status.js";
import * as store from "./store.js";
import { Timeline } from "./timeline.js";

const SUGGESTIONS = ["what time is it in Tokyo?", "calculate 2*(3+4)", "what did I say?"];
const WELCOME = "Answers stream in here, with every step of the run beside them.";
const MISSING = "The server has nothing under this conversation. A message starts it again.";

const $ = (id) => document.getElementById(id);

/** The turn whose run the panel shows; the last one if none was picked. */
let picked = null;
/** The finished turn to read out once it is drawn. */
let unread = null;

const inspected = () => picked ?? chat.current.lastRun;

const drawers = new Drawers({
  shell: $("shell"),
  main: $("main"),
  backdrop: $("backdrop"),
  panels: { sidebar: $("sidebar"), run: $("run") },
  toggles: { sidebar: $("sidebar-toggle"), run: $("run-toggle") },
});

const status = new Status({
  pill: $("connection-state"),
  access: $("access"),
  chat: [$("scroll"), $("dock")],
  notices: $("notices"),
  onKey(key) {
    store.setKey(key);
    chat.connection.connect(key);
  },
  onEnter: () => composer.focus(),
  onRetry: () => chat.connection.retryNow(),
});

const chat = new Chat({
  connection: (connection) => status.show(connection),
  agents: (names) => composer.agents(names),
  failed: (text) => status.notice(text),
  listed: () => sidebar.draw(),
  finished(turn, conversation) {
    if (conversation === chat.current) unread = turn;
  },
  changed(conversation) {
    if (conversation === chat.current) messages.refresh();
    sidebar.mark(chat.current.id, chat.running);
  },
});

const composer = new Composer({
  form: $("composer"),
  input: $("composer-input"),
  send: $("send"),
  cancel: $("cancel"),
  agent: $("agent"),
  onSend: ask,
  onTooLong: () => status.notice("This message is over the limit of 1 MB. Shorten it, then send it again."),
  onCancel: () => chat.cancel(),
});

const timeline = new Timeline($("run-body"));

const messages = new Messages({
  root: $("messages"),
  scroll: $("scroll"),
  jump: $("jump"),
  context: () => ({ online: chat.online, inspected: inspected() }),
  onFlush: drawAround,
  actions: {
    retry: (turn) => chat.retry(turn),
    decide: (turn, question, decision) => chat.decide(turn, question, decision),
    remove: (turn) => chat.withdraw(turn),
    again: (turn) => ask(turn.text, turn.agent),
    edit(turn) {
      chat.withdraw(turn);
      composer.fill(turn.text);
      composer.focus();
    },
    inspect(turn) {
      picked = turn;
      drawers.reveal("run");
      messages.refresh();
    },
  },
});

const sidebar = new Sidebar($("conversations"), {
  onRemove(entry) {
    chat.discard(entry.id);
    if (entry.id === chat.current.id) startNew({ focus: false });
    status.notice(`“${entry.title}” is off the list.`, {
      kind: "info",
      action: "Undo",
      seconds: 8,
      onAction() {
        store.restore(entry);
        sidebar.draw();
      },
    });
  },
});

function ask(text, agent) {
  picked = null;
  chat.ask(text, agent);
  const address = `#c=${encodeURIComponent(chat.current.id)}`;
  if (location.hash !== address) history.replaceState(null, "", address);
  messages.toBottom();
}

function drawAround() {
  const { current } = chat;
  const title = store.conversation(current.id)?.title ?? "New conversation";
  $("title").textContent = title;
  document.title = current.turns.length ? `${title} · Nexus` : "Nexus";
  const empty = current.turns.length === 0;
  $("skeleton").hidden = !(empty && current.loading);
  $("welcome").hidden = !empty || current.loading;
  $("welcome-text").textContent = current.missing ? MISSING : WELCOME;
  composer.running(current.active.length > 0);
  timeline.show(inspected());
  if (unread) announce();
}

function announce() {
  const texts = $("messages").querySelectorAll(`[data-run="${CSS.escape(unread.run)}"] [data-testid="answer-text"]`);
  const answer = [...texts].map((text) => text.textContent).join(" ");
  const fault = { failed: `The run failed. ${unread.error?.message ?? ""}`, cancelled: "Answer stopped." }[unread.state];
  $("announcer").textContent = fault ?? `Nexus: ${answer}`;
  unread = null;
}

function shown() {
  picked = null;
  unread = null;
  $("announcer").textContent = "";
  composer.open(chat.current.id);
  messages.show(chat.current);
  sidebar.mark(chat.current.id, chat.running);
  drawers.close();
}

function startNew({ focus = true } = {}) {
  if (location.hash) history.pushState(null, "", location.pathname);
  chat.startNew();
  shown();
  if (focus) composer.offerFocus();
}

function route() {
  if (store.takeKeyFromAddress()) chat.connection.connect(store.key());
  const id = new URLSearchParams(location.hash.slice(1)).get("c");
  if (id === chat.current.id) drawers.close();
  else if (id) {
    chat.open(id);
    shown();
  } else if (location.hash === "" && chat.current.turns.length) {
    chat.startNew();
    shown();
  }
}

function onKey(event) {
  if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey) {
    event.preventDefault();
    startNew();
  } else if (event.key === "Escape" && !event.defaultPrevented && !event.isComposing) {
    if (drawers.isOpen) drawers.close();
    else if (!chat.cancel()) return;
    event.preventDefault();
  }
}

for (const text of SUGGESTIONS) {
  const button = el("button", { type: "button", "data-testid": "suggestion", text, onclick: () => ask(text, null) });
  $("suggestions").append(el("li", {}, button));
}
if (/Mac|iPhone|iPad/.test(navigator.platform)) $("new-shortcut").textContent = "⌘ K";
$("new-conversation").addEventListener("click", () => startNew());
$("skip").addEventListener("click", (event) => {
  // Following the link would make its fragment the open conversation.
  event.preventDefault();
  composer.focus();
});
$("sidebar-close").addEventListener("click", () => drawers.close("sidebar"));
$("run-close").addEventListener("click", () => drawers.close("run"));
$("conversations").addEventListener("renamed", () => messages.refresh());
$("conversations").addEventListener("click", (event) => {
  if (event.target.closest("a")) drawers.close();
});
addEventListener("keydown", onKey);
addEventListener("hashchange", route);

store.takeKeyFromAddress();
sidebar.draw();
shown();
route();
const key = store.key();
if (key) {
  chat.connection.connect(key);
  composer.offerFocus();
} else {
  status.askForKey();
}

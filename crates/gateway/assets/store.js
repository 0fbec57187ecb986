// What this browser remembers: the key, the conversation list, unsent messages.
// Every change reads storage first, because other tabs write to it too.

const KEY = "nexus.key";
const LIST = "nexus.conversations";
const OUTBOX = "nexus.outbox";

const fallback = new Map();

function read(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return fallback.get(name) ?? null;
  }
}

function write(name, value) {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, value);
  } catch {
    fallback.set(name, value);
  }
}

function readList(name) {
  try {
    const list = JSON.parse(read(name) ?? "[]");
    return Array.isArray(list) ? list : [];
  } catch {
    return [];
  }
}

function writeList(name, list) {
  write(name, JSON.stringify(list));
}

export const key = () => read(KEY);
export const setKey = (value) => write(KEY, value);
export const forgetKey = () => write(KEY, null);

/** Takes the key out of the address bar, if `nexus up` put one there. */
export function takeKeyFromAddress() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const value = fragment.get("key")?.trim();
  if (!value) return false;
  setKey(value);
  fragment.delete("key");
  const rest = fragment.toString();
  history.replaceState(null, "", location.pathname + location.search + (rest && `#${rest}`));
  return true;
}

/** Conversations `{id, title, updated}`, most recent first. */
export function conversations() {
  return readList(LIST).sort((a, b) => b.updated - a.updated);
}

export function conversation(id) {
  return readList(LIST).find((entry) => entry.id === id);
}

/** Adds the conversation or moves it up; the first message gives the title. */
export function touch(id, message, updated = Date.now()) {
  const list = readList(LIST);
  const entry = list.find((candidate) => candidate.id === id);
  if (entry) entry.updated = Math.max(entry.updated, updated);
  else list.push({ id, title: titleOf(message), updated });
  writeList(LIST, list);
}

export function rename(id, title) {
  const list = readList(LIST);
  const entry = list.find((candidate) => candidate.id === id);
  if (entry) entry.title = title.trim() || entry.title;
  writeList(LIST, list);
}

/** Takes the conversation off the list; the server keeps its events. */
export function remove(id) {
  writeList(LIST, readList(LIST).filter((entry) => entry.id !== id));
}

export function restore(entry) {
  remove(entry.id);
  writeList(LIST, [...readList(LIST), entry]);
}

/** Messages the server has not accepted, oldest first: `{id, conversation, text, agent}`. */
export function outbox() {
  return readList(OUTBOX);
}

export function enqueue(message) {
  writeList(OUTBOX, [...readList(OUTBOX).filter((other) => other.id !== message.id), message]);
}

export function dequeue(id) {
  writeList(OUTBOX, readList(OUTBOX).filter((message) => message.id !== id));
}

/** Calls back when another tab changed the list. */
export function onListChange(callback) {
  addEventListener("storage", (event) => {
    if (event.key === LIST || event.key === null) callback();
  });
}

function titleOf(message) {
  const line = message.replace(/\s+/g, " ").replace(/^[#>*\-\s]+/, "").trim() || "Conversation";
  if (line.length <= 60) return line;
  const cut = line.slice(0, 60);
  return `${cut.slice(0, Math.max(cut.lastIndexOf(" "), 40))}…`;
}

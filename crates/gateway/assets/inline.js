// Inline Markdown to DOM nodes: code, emphasis, links and autolinks. Text only
// ever becomes a text node, and only http, https and mailto become links.

import { el } from "./dom.js";

const DEEPEST = 8;
const ESCAPABLE = /[!-/:-@[-`{-~]/;
const AUTOLINK = /(?:https?:\/\/|www\.)[^\s<>"`]{1,2048}|[\w.+-]+@[\w-]+(?:\.[\w-]+)+/y;
const ANGLE = /<((?:https?:\/\/|mailto:)[^\s<>]*|[\w.+-]+@[\w-]+(?:\.[\w-]+)+)>/y;
const EMPHASIS = { 1: ["em"], 2: ["strong"], 3: ["strong", "em"] };

/**
 * Appends `text` as Markdown to `parent`. With `open`, marks that are not
 * closed yet count as closed at the end: the rest is still being written.
 */
export function appendInline(parent, text, open = false, depth = 0) {
  new Inline(parent, text, open, depth).run();
}

/** The address if it is one that a link may lead to. */
export function safeAddress(address) {
  const target = address.startsWith("www.") ? `https://${address}` : address;
  if (!/^(https?:\/\/|mailto:)/i.test(target)) return null;
  try {
    const url = new URL(target);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

class Inline {
  #at = 0;
  #plain = "";
  #brackets = null;
  // Marks without a closing one: searching again from a later place is in vain.
  #hopeless = new Set();

  constructor(parent, text, open, depth) {
    Object.assign(this, { parent, text, open, depth });
  }

  run() {
    const { text } = this;
    while (this.#at < text.length) {
      if (this.depth > DEEPEST || !this.#special(text[this.#at])) this.#plain += text[this.#at++];
    }
    this.#flush();
  }

  #flush() {
    if (this.#plain) this.parent.append(this.#plain);
    this.#plain = "";
  }

  #push(node, end) {
    this.#flush();
    this.parent.append(node);
    this.#at = end;
    return true;
  }

  #special(character) {
    switch (character) {
      case "\\":
        return this.#escape();
      case "\n":
        return this.#break();
      case "`":
        return this.#code();
      case "*":
      case "_":
      case "~":
        return this.#emphasis(character);
      case "!":
        return this.text[this.#at + 1] === "[" && this.#link(this.#at + 1);
      case "[":
        return this.#link(this.#at);
      case "<":
        return this.#angle();
      default:
        return this.#autolink(character);
    }
  }

  #escape() {
    const next = this.text[this.#at + 1];
    if (next === "\n") return this.#break(1);
    if (!next || !ESCAPABLE.test(next)) return false;
    this.#plain += next;
    this.#at += 2;
    return true;
  }

  #break(skip = 0) {
    this.#plain = this.#plain.trimEnd();
    return this.#push(el("br"), this.#at + skip + 1);
  }

  #code() {
    const width = runLength(this.text, this.#at);
    const start = this.#at + width;
    let end = this.#closingTicks(start, width);
    let next = end + width;
    if (end < 0) {
      if (!this.open || start >= this.text.length) {
        this.#plain += this.text.slice(this.#at, start);
        this.#at = start;
        return true;
      }
      end = next = this.text.length;
    }
    let code = this.text.slice(start, end).replace(/\n/g, " ");
    if (code.startsWith(" ") && code.endsWith(" ") && code.trim()) code = code.slice(1, -1);
    return this.#push(el("code", { text: code }), next);
  }

  #closingTicks(from, width) {
    if (this.#hopeless.has(`\`${width}`)) return -1;
    for (let at = this.text.indexOf("`", from); at >= 0; at = this.text.indexOf("`", at)) {
      const length = runLength(this.text, at);
      if (length === width) return at;
      at += length;
    }
    this.#hopeless.add(`\`${width}`);
    return -1;
  }

  #emphasis(mark) {
    const { text } = this;
    const start = this.#at;
    const run = runLength(text, start);
    const width = mark === "~" ? 2 : Math.min(run, 3);
    const before = text[start - 1] ?? " ";
    const after = text[start + run] ?? " ";
    const opens = run === width && !/\s/.test(after) && !(mark === "_" && /\w/.test(before));
    let end = opens ? this.#closing(mark, width, start + width) : -1;
    let next = end + width;
    if (end < 0 && opens && this.open && /\W/.test(before)) {
      end = next = text.length;
    }
    if (end < 0) {
      this.#plain += text.slice(start, start + run);
      this.#at = start + run;
      return true;
    }
    const inner = text.slice(start + width, end);
    const tags = mark === "~" ? ["del"] : EMPHASIS[width];
    const outer = el(tags[0]);
    const innermost = tags[1] ? outer.appendChild(el(tags[1])) : outer;
    appendInline(innermost, inner, this.open && next === text.length, this.depth + 1);
    return this.#push(outer, next);
  }

  /** Where the mark that closes `width` characters of emphasis begins, or -1. */
  #closing(mark, width, from) {
    const memory = `${mark}${width}`;
    if (this.#hopeless.has(memory)) return -1;
    const { text } = this;
    for (let at = from; at < text.length; at += 1) {
      if (text[at] === "\\") at += 1;
      else if (text[at] === "`") at = this.#skipCode(at);
      else if (text[at] === mark) {
        const run = runLength(text, at);
        const closes = !/\s/.test(text[at - 1]) && !(mark === "_" && /\w/.test(text[at + run] ?? " "));
        const fits = run === width || (run === 3 && width < 3);
        if (closes && fits && at > from) return at + run - width;
        at += run - 1;
      }
    }
    this.#hopeless.add(memory);
    return -1;
  }

  #skipCode(at) {
    const width = runLength(this.text, at);
    const end = this.#closingTicks(at + width, width);
    return (end < 0 ? at : end) + width - 1;
  }

  #link(bracket) {
    const { text } = this;
    this.#brackets ??= matchBrackets(text);
    const close = this.#brackets.get(bracket);
    if (close === undefined || text[close + 1] !== "(") return false;
    const label = text.slice(bracket + 1, close);
    const target = /^\(\s*(?:<([^<>\n]*)>|((?:[^\s()\\]|\\.|\([^\s()]*\))*))(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/.exec(
      text.slice(close + 1, close + 2049),
    );
    if (!target) {
      if (!this.open || /[\n)]/.test(text.slice(close + 1))) return false;
      this.#flush();
      appendInline(this.parent, label, false, this.depth + 1);
      this.#at = text.length;
      return true;
    }
    const address = safeAddress((target[1] ?? target[2]).replace(/\\(.)/g, "$1"));
    if (!address) return false;
    const link = anchor(address);
    appendInline(link, label || address, false, this.depth + 1);
    for (const nested of link.querySelectorAll("a")) nested.replaceWith(...nested.childNodes);
    return this.#push(link, close + 1 + target[0].length);
  }

  #angle() {
    ANGLE.lastIndex = this.#at;
    const match = ANGLE.exec(this.text);
    if (!match) return false;
    const mail = !/^(https?|mailto):/.test(match[1]);
    return this.#autolinked(mail ? `mailto:${match[1]}` : match[1], match[1], this.#at + match[0].length);
  }

  #autolink(character) {
    if (!/[\w+.-]/.test(character) || /[\w@/.+-]/.test(this.text[this.#at - 1] ?? " ")) return false;
    AUTOLINK.lastIndex = this.#at;
    const match = AUTOLINK.exec(this.text);
    if (!match) return false;
    const shown = trimAddress(match[0]);
    const mail = !/^(https?:|www\.)/.test(shown);
    return this.#autolinked(mail ? `mailto:${shown}` : shown, shown, this.#at + shown.length);
  }

  #autolinked(address, shown, end) {
    const target = safeAddress(address);
    if (!target) return false;
    const link = anchor(target);
    link.append(shown);
    return this.#push(link, end);
  }
}

function anchor(address) {
  return el("a", { href: address, target: "_blank", rel: "noopener noreferrer" });
}

function runLength(text, at) {
  let end = at;
  while (text[end] === text[at]) end += 1;
  return end - at;
}

/** Punctuation after an address belongs to the sentence, a balanced bracket to the address. */
function trimAddress(address) {
  let end = address.length;
  for (;;) {
    const shown = address.slice(0, end);
    if (/[.,:;!?'"*_~\]}]$/.test(shown)) end -= 1;
    else if (shown.endsWith(")") && shown.split(")").length > shown.split("(").length) end -= 1;
    else return shown;
  }
}

function matchBrackets(text) {
  const pairs = new Map();
  const open = [];
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] === "\\") at += 1;
    else if (text[at] === "[") open.push(at);
    else if (text[at] === "]" && open.length) pairs.set(open.pop(), at);
  }
  return pairs;
}

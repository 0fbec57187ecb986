// Markdown to DOM nodes, safe for any text and cheap while it is being written:
// blocks that did not change keep their nodes.

import { splitBlocks } from "./blocks.js";
import { copyButton, el } from "./dom.js";
import { appendInline } from "./inline.js";

const DEEPEST = 12;

export class Markdown {
  #blocks = [];

  constructor(root) {
    this.root = root;
  }

  /** Shows `text`; with `open`, its last block is still being written. */
  update(text, open) {
    const blocks = splitBlocks(text.split(/\r\n?|\n/));
    blocks.forEach((block, index) => {
      const last = open && index === blocks.length - 1;
      const old = this.#blocks[index];
      block.key = `${block.type}${last ? "…" : "."}${block.raw}`;
      if (old?.key === block.key) block.node = old.node;
      else if (old?.type === "fence" && block.type === "fence" && old.language === block.language) {
        block.node = old.node;
        continueCode(block.node, block.code);
      } else {
        block.node = render(block, last, 0);
        if (old) old.node.replaceWith(block.node);
        else this.root.append(block.node);
      }
    });
    for (const { node } of this.#blocks.slice(blocks.length)) node.remove();
    this.#blocks = blocks;
  }
}

function renderAll(parent, lines, open, depth) {
  const blocks = depth > DEEPEST ? [{ type: "paragraph", text: lines.join("\n") }] : splitBlocks(lines);
  blocks.forEach((block, index) => parent.append(render(block, open && index === blocks.length - 1, depth)));
  return parent;
}

function render(block, open, depth) {
  switch (block.type) {
    case "fence":
      return codeBlock(block);
    case "heading":
      return inline(el(`h${block.level}`), block.text, open);
    case "rule":
      return el("hr");
    case "quote":
      return renderAll(el("blockquote"), block.lines, open, depth + 1);
    case "list":
      return list(block, open, depth);
    case "table":
      return table(block, open);
    default:
      return inline(el("p"), block.text, open);
  }
}

function inline(node, text, open) {
  appendInline(node, text, open);
  return node;
}

function codeBlock({ language, code }) {
  const body = el("code", { class: language ? `language-${language}` : null });
  body.append(document.createTextNode(code));
  return el(
    "figure",
    { class: "code" },
    el(
      "figcaption",
      {},
      el("span", { class: "code-language", text: language || "text" }),
      copyButton("Copy code", () => body.textContent),
    ),
    el("pre", { tabindex: "0", "aria-label": language ? `Code, ${language}` : "Code", role: "region" }, body),
  );
}

function continueCode(figure, code) {
  const text = figure.querySelector("code").firstChild;
  if (code.startsWith(text.data)) text.appendData(code.slice(text.length));
  else text.data = code;
}

function list({ ordered, start, loose, items }, open, depth) {
  const node = el(ordered ? "ol" : "ul", { start: ordered && start !== 1 ? start : null });
  items.forEach((lines, index) => {
    const last = open && index === items.length - 1;
    const item = el("li");
    const task = /^\[([ xX])\] +/.exec(lines[0]);
    if (task) {
      item.className = "task";
      const done = task[1] !== " ";
      item.append(el("input", { type: "checkbox", disabled: true, checked: done, "aria-label": done ? "Done" : "To do" }));
      lines = [lines[0].slice(task[0].length), ...lines.slice(1)];
    }
    renderAll(item, lines, last, depth + 1);
    if (!loose) {
      for (const paragraph of item.querySelectorAll(":scope > p")) paragraph.replaceWith(...paragraph.childNodes);
    }
    node.append(item);
  });
  return node;
}

function table({ head, align, rows }, open) {
  const cell = (tag, text, column, last) =>
    inline(el(tag, { class: align[column] ? `align-${align[column]}` : null, scope: tag === "th" ? "col" : null }), text, last);
  const header = el("tr", {}, ...head.map((text, column) => cell("th", text, column, false)));
  const body = rows.map((row, index) => {
    const last = open && index === rows.length - 1;
    return el("tr", {}, ...head.map((_, column) => cell("td", row[column] ?? "", column, last && column === row.length - 1)));
  });
  return el(
    "div",
    { class: "table", tabindex: "0", role: "region", "aria-label": "Table" },
    el("table", {}, el("thead", {}, header), el("tbody", {}, ...body)),
  );
}

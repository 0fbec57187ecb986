// Splits Markdown lines into blocks `{type, raw, …}`. Containers keep the lines
// of their content, which are split again when they are rendered.

const FENCE = /^( {0,3})(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?:([ \t]+)(.*)|$)/;
const DELIMITER = /^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const BLANK = /^\s*$/;

export function splitBlocks(lines) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (BLANK.test(lines[at])) {
      at += 1;
      continue;
    }
    const { end, ...block } = blockAt(lines, at);
    blocks.push({ ...block, raw: lines.slice(at, end).join("\n") });
    at = end;
  }
  return blocks;
}

function blockAt(lines, at) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence) return fenceAt(lines, at, fence);
  const heading = HEADING.exec(line);
  if (heading) return { type: "heading", level: heading[1].length, text: heading[2] ?? "", end: at + 1 };
  if (RULE.test(line)) return { type: "rule", end: at + 1 };
  if (QUOTE.test(line)) return quoteAt(lines, at);
  if (ITEM.test(line)) return listAt(lines, at);
  if (startsTable(lines, at)) return tableAt(lines, at);
  return paragraphAt(lines, at);
}

function fenceAt(lines, at, [, indent, ticks, info]) {
  const close = new RegExp(`^ {0,3}${ticks[0]}{${ticks.length},}[ \\t]*$`);
  const margin = new RegExp(`^ {0,${indent.length}}`);
  const code = [];
  let end = at + 1;
  while (end < lines.length && !close.test(lines[end])) code.push(lines[end++].replace(margin, ""));
  const language = info.trim().split(/\s+/)[0];
  return { type: "fence", language, code: code.join("\n"), end: Math.min(end + 1, lines.length) };
}

function quoteAt(lines, at) {
  const inner = [];
  let end = at;
  while (end < lines.length && !BLANK.test(lines[end]) && (QUOTE.test(lines[end]) || !startsBlock(lines, end))) {
    inner.push(lines[end++].replace(QUOTE, ""));
  }
  return { type: "quote", lines: inner, end };
}

function listAt(lines, at) {
  const [, margin, marker] = ITEM.exec(lines[at]);
  const kind = marker.at(-1);
  const ordered = /\d/.test(marker);
  const items = [];
  let loose = false;
  let end = at;
  while (end < lines.length) {
    if (!isSibling(lines[end], margin, kind)) break;
    const item = itemAt(lines, end, ITEM.exec(lines[end]));
    items.push(item.lines);
    end = item.end;
    const next = skipBlank(lines, end);
    const apart = next > end && isSibling(lines[next], margin, kind);
    loose ||= item.loose || apart;
    if (apart) end = next;
  }
  return { type: "list", ordered, start: ordered ? Number.parseInt(marker, 10) : 1, loose, items, end };
}

function isSibling(line, margin, kind) {
  const match = line !== undefined && !RULE.test(line) && ITEM.exec(line);
  return Boolean(match) && match[1].length <= margin.length + 1 && match[2].at(-1) === kind;
}

/** Two spaces below the marker are enough to nest, as models write it. */
function itemAt(lines, at, [, margin, marker, gap = " ", first = ""]) {
  const content = margin.length + marker.length + (gap.length > 4 ? 1 : gap.length);
  const inner = [gap.length > 4 ? gap.slice(1) + first : first];
  let end = at + 1;
  let loose = false;
  while (end < lines.length) {
    const next = skipBlank(lines, end);
    if (next === lines.length) break;
    const line = lines[next].replace(/^\t+/, (tabs) => "    ".repeat(tabs.length));
    const indent = line.search(/\S/);
    if (indent >= margin.length + 2) {
      for (; end < next; end += 1) inner.push("");
      loose ||= BLANK.test(lines[next - 1]) && !ITEM.test(line);
      inner.push(line.slice(Math.min(indent, content)));
      end = next + 1;
    } else if (next === end && !ITEM.test(line) && !startsBlock(lines, next)) {
      inner.push(lines[end++].trimStart());
    } else {
      break;
    }
  }
  return { lines: inner, loose, end };
}

function startsTable(lines, at) {
  return (
    lines[at].includes("|") &&
    at + 1 < lines.length &&
    DELIMITER.test(lines[at + 1]) &&
    cells(lines[at]).length === cells(lines[at + 1]).length
  );
}

function tableAt(lines, at) {
  const head = cells(lines[at]);
  const align = cells(lines[at + 1]).map((cell) => {
    const left = cell.startsWith(":");
    if (cell.endsWith(":")) return left ? "center" : "right";
    return left ? "left" : "";
  });
  const rows = [];
  let end = at + 2;
  while (end < lines.length && !BLANK.test(lines[end]) && lines[end].includes("|")) rows.push(cells(lines[end++]));
  return { type: "table", head, align, rows, end };
}

function cells(line) {
  const found = [];
  let cell = "";
  const text = line.trim().replace(/^\|/, "");
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] === "\\" && text[at + 1] === "|") cell += text[++at];
    else if (text[at] === "|") {
      found.push(cell.trim());
      cell = "";
    } else cell += text[at];
  }
  if (cell.trim()) found.push(cell.trim());
  return found;
}

function paragraphAt(lines, at) {
  let end = at + 1;
  while (end < lines.length && !BLANK.test(lines[end]) && !startsBlock(lines, end)) end += 1;
  const text = lines.slice(at, end).map((line) => line.trimStart()).join("\n").trimEnd();
  return { type: "paragraph", text, end };
}

/** Whether the line interrupts a paragraph. */
function startsBlock(lines, at) {
  const line = lines[at];
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line)) return true;
  const item = ITEM.exec(line);
  // "1986. A great year" in the middle of a sentence starts no list.
  if (item?.[4]) return /^[-*+]$/.test(item[2]) || Number.parseInt(item[2], 10) === 1;
  return startsTable(lines, at);
}

function skipBlank(lines, at) {
  let next = at;
  while (next < lines.length && BLANK.test(lines[next])) next += 1;
  return next;
}

// Markdown as models write it, to elements. Text only ever becomes text nodes: nothing that a model says can
// become markup of its own.

/** Elements for a text. */
export function render(text) {
  const out = document.createDocumentFragment();
  const lines = text.split("\n");
  let at = 0;
  while (at < lines.length) {
    at = block(lines, at, out);
  }
  return out;
}

function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

const FENCE = /^\s*(```+|~~~+)\s*([\w+#.-]*)/;
const ITEM = /^(\s*)([-*+]|\d+[.)])\s+(.*)$/;
const HEADING = /^(#{1,6})\s+(.*)$/;
const RULE = /^\s*([-*_])(\s*\1){2,}\s*$/;

/** Takes one block from line `at`; returns the line after it. */
function block(lines, at, out) {
  const line = lines[at];
  if (!line.trim()) return at + 1;
  const fence = FENCE.exec(line);
  if (fence) return code(lines, at, fence, out);
  const heading = HEADING.exec(line);
  if (heading) {
    const level = Math.min(heading[1].length, 4);
    out.append(element(`h${level}`, ...inline(heading[2])));
    return at + 1;
  }
  if (RULE.test(line)) {
    out.append(element("hr"));
    return at + 1;
  }
  if (ITEM.test(line)) return list(lines, at, out);
  if (line.startsWith(">")) return quote(lines, at, out);
  if (isTable(lines, at)) return table(lines, at, out);
  return paragraph(lines, at, out);
}

function code(lines, at, fence, out) {
  const end = lines.findIndex((line, index) => index > at && line.trim().startsWith(fence[1]));
  const stop = end < 0 ? lines.length : end;
  const inner = element("code", lines.slice(at + 1, stop).join("\n"));
  if (fence[2]) inner.dataset.language = fence[2];
  out.append(element("pre", inner));
  return stop + 1;
}

/** Lists within lists deeper than this are drawn as one. */
const MAX_LEVEL = 8;

function list(lines, at, out, level = 0) {
  const isOrdered = /\d/.test(ITEM.exec(lines[at])[2]);
  const made = element(isOrdered ? "ol" : "ul");
  const first = parseInt(ITEM.exec(lines[at])[2], 10);
  if (isOrdered && first !== 1) made.start = first;
  const depth = ITEM.exec(lines[at])[1].length;
  while (at < lines.length) {
    const item = ITEM.exec(lines[at]);
    if (!item || item[1].length < depth) break;
    if (item[1].length > depth && level < MAX_LEVEL) {
      at = list(lines, at, made.lastElementChild ?? made, level + 1);
      continue;
    }
    made.append(element("li", ...inline(item[3])));
    at += 1;
    while (at < lines.length && lines[at].trim() && !ITEM.test(lines[at]) && /^\s{2,}/.test(lines[at])) {
      made.lastElementChild.append(" ", ...inline(lines[at].trim()));
      at += 1;
    }
  }
  out.append(made);
  return at;
}

function quote(lines, at, out) {
  const said = [];
  while (at < lines.length && lines[at].startsWith(">")) {
    said.push(lines[at].replace(/^>\s?/, ""));
    at += 1;
  }
  out.append(element("blockquote", ...inline(said.join("\n"))));
  return at;
}

const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
const isTable = (lines, at) =>
  lines[at].includes("|") && /^\s*\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$/.test(lines[at + 1] ?? "");

function table(lines, at, out) {
  const row = (line, kind) => element("tr", ...cells(line).map((cell) => element(kind, ...inline(cell))));
  const body = element("tbody");
  const made = element("table", element("thead", row(lines[at], "th")), body);
  at += 2;
  while (at < lines.length && lines[at].includes("|")) {
    body.append(row(lines[at], "td"));
    at += 1;
  }
  out.append(made);
  return at;
}

function paragraph(lines, at, out) {
  const said = [];
  const begins = (line) => !line.trim() || FENCE.test(line) || HEADING.test(line) || ITEM.test(line);
  do {
    said.push(lines[at]);
    at += 1;
  } while (at < lines.length && !begins(lines[at]));
  out.append(element("p", ...inline(said.join("\n"))));
  return at;
}

const INLINE = /(`+)([^`]+?)\1|\*\*([^*\n]+)\*\*|\*([^*\s][^*\n]*)\*|\[([^\]\n]+)\]\((https?:\/\/[^\s)]+)\)|(https?:\/\/[^\s<>")\]]+)|(\n)/g;

/** Nodes for a line of text. */
function inline(text) {
  const nodes = [];
  let from = 0;
  for (const found of text.matchAll(INLINE)) {
    const [whole, , code, strong, soft, label, address, bare] = found;
    nodes.push(text.slice(from, found.index));
    from = found.index + whole.length;
    if (code) nodes.push(element("code", code));
    else if (strong) nodes.push(element("strong", strong));
    else if (soft) nodes.push(element("em", soft));
    else if (address || bare) nodes.push(link(label ?? bare, address ?? bare));
    else nodes.push(element("br"));
  }
  nodes.push(text.slice(from));
  return nodes.filter((node) => node !== "");
}

function link(label, address) {
  const made = element("a", label);
  made.href = address;
  made.rel = "noreferrer noopener";
  made.target = "_blank";
  return made;
}

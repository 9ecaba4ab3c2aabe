// Runs in a world of its own beside the page: the page's scripts cannot change what is called here,
// only what the document holds. Returns the text that a person would see, as Markdown.
(() => {
  const MAX_NODES = 200000, MAX_TEXT = 2000000, MAX_DEPTH = 400;
  const SKIP = new Set(["SCRIPT", "STYLE", "NOSCRIPT", "TEMPLATE", "SVG", "HEAD", "IFRAME", "OBJECT",
    "EMBED", "CANVAS", "VIDEO", "AUDIO", "SELECT", "DATALIST", "DIALOG"]);
  const AROUND = new Set(["NAV", "FOOTER", "ASIDE"]);
  let nodes = 0, length = 0, end = 0, isCut = false;

  // Nobody sees it: not drawn, too small, clear, moved away, or of the colour of what is behind it.
  const hidden = (element, style) => {
    if (style.display === "none" || style.visibility !== "visible") return true;
    if (parseFloat(style.opacity) < 0.1 || parseFloat(style.fontSize) < 2) return true;
    if (style.display === "contents") return false;
    const box = element.getBoundingClientRect();
    const left = box.left + window.scrollX, top = box.top + window.scrollY;
    if (box.right + window.scrollX < -50 || box.bottom + window.scrollY < -50) return true;
    if (left > 20000 || top > 2000000) return true;
    const clipped = style.overflow !== "visible" && (box.width <= 1 || box.height <= 1);
    if (clipped || /rect\(0(px)?,? 0/.test(style.clip) || style.clipPath.startsWith("inset(50")) return true;
    return false;
  };
  const rgba = (text) => (text.match(/[\d.]+/g) || []).map(Number);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.backgroundImage !== "none") return null;
      const colour = rgba(style.backgroundColor);
      if (colour.length === 3 || colour[3] > 0.5) return colour;
    }
    return [255, 255, 255];
  };
  const unreadable = (element, style) => {
    const colour = rgba(style.color);
    if (colour.length === 4 && colour[3] < 0.1) return true;
    const ground = behind(element);
    if (!ground) return false;
    return [0, 1, 2].every((part) => Math.abs(colour[part] - ground[part]) <= 8);
  };
  const clean = (text) => text.replace(/[\s\u00a0]+/g, " ");
  const address = (element) => {
    try {
      const url = new URL(element.getAttribute("href"), document.baseURI);
      return /^https?:$/.test(url.protocol) && url.href.length < 500 ? url.href : null;
    } catch { return null; }
  };

  const walk = (node, state, out) => {
    if (isCut || state.depth > MAX_DEPTH) return;
    const isLate = ++nodes % 64 === 0 && performance.now() > end;
    if (isLate || nodes > MAX_NODES || length > MAX_TEXT) { isCut = true; return; }
    if (node.nodeType === Node.TEXT_NODE) {
      if (!state.shown) return;
      const text = state.pre ? node.data : clean(node.data);
      length += text.length;
      out.push(text);
      return;
    }
    if (node.nodeType !== Node.ELEMENT_NODE) return;
    const name = node.tagName.toUpperCase();
    if (SKIP.has(name) || (state.main && AROUND.has(name))) return;
    if (name === "BR") { out.push("\n"); return; }
    if (name === "HR") { out.push("\n\n---\n\n"); return; }
    if (name === "IMG") {
      const alt = clean(node.getAttribute("alt") || "").trim();
      if (alt && !hidden(node, getComputedStyle(node))) out.push(`[picture: ${alt.slice(0, 200)}]`);
      return;
    }
    if (name === "INPUT" || name === "TEXTAREA") return;
    const style = getComputedStyle(node);
    if (hidden(node, style)) return;
    const inner = { ...state, depth: state.depth + 1, shown: !unreadable(node, style),
      pre: state.pre || name === "PRE" };
    const all = (more) => {
      const parts = [];
      const held = node.shadowRoot || node;
      for (const child of held.childNodes) walk(child, more || inner, parts);
      return parts.join("");
    };
    if (/^H[1-6]$/.test(name)) {
      const text = clean(all()).trim();
      if (text) out.push(`\n\n${"#".repeat(Number(name[1]))} ${text}\n\n`);
      return;
    }
    switch (name) {
      case "A": {
        const text = clean(all()).trim(), href = address(node);
        if (text) out.push(href ? `[${text}](${href})` : text);
        return;
      }
      case "STRONG": case "B": { const text = all(); out.push(text.trim() ? `**${text.trim()}**` : text); return; }
      case "CODE": if (!state.pre) { const text = all(); out.push(text.trim() ? "`" + text.trim() + "`" : text); return; } break;
      case "PRE": out.push("\n\n```\n" + all().replace(/\n$/, "") + "\n```\n\n"); return;
      case "LI": {
        const text = all({ ...inner, list: state.list + 1 }).trim();
        if (text) out.push("\n" + "  ".repeat(Math.min(state.list, 8)) + "- " + text);
        return;
      }
      case "TR": {
        const cells = [...node.children].map((cell) => {
          const parts = [];
          walk(cell, inner, parts);
          return clean(parts.join("")).trim().replace(/\|/g, "\\|");
        });
        if (cells.some((cell) => cell)) {
          out.push("\n| " + cells.join(" | ") + " |");
          const heads = [...node.children].every((cell) => cell.tagName === "TH");
          if (heads) out.push("\n|" + " --- |".repeat(cells.length));
        }
        return;
      }
      case "BLOCKQUOTE": out.push("\n\n> " + all().trim().replace(/\n+/g, "\n> ") + "\n\n"); return;
    }
    const block = !/^(inline|contents|ruby|table-cell)/.test(style.display);
    out.push(block ? `\n\n${all()}\n\n` : all());
  };

  const render = (root, main, milliseconds) => {
    const out = [];
    nodes = 0; length = 0; isCut = false; end = performance.now() + milliseconds;
    walk(root, { depth: 0, list: 0, pre: false, shown: true, main }, out);
    return out.join("").replace(/[ \t]+\n/g, "\n").replace(/\n[ \t]+(?![ \t]*- )/g, "\n")
      .replace(/\n{3,}/g, "\n\n").trim();
  };

  // What the page is about: its own word for it, if that holds most of the text.
  const whole = render(document.body || document.documentElement, false, 4000);
  let text = whole, cut = isCut;
  for (const root of [...document.querySelectorAll("main, [role=main], article")].slice(0, 3)) {
    const part = render(root, true, 1000);
    if (!isCut && part.length > 400 && part.length * 2 > whole.length) { text = part; cut = false; break; }
  }
  // Addresses of links count for nothing while the text is gathered.
  if (text.length > MAX_TEXT) { text = text.slice(0, MAX_TEXT); cut = true; }
  if (cut) text += "\n\n[the rest of the page is left out]";
  return JSON.stringify({
    title: clean(document.title || "").trim().slice(0, 300),
    url: String(document.location.href).slice(0, 2000),
    text,
  });
})()

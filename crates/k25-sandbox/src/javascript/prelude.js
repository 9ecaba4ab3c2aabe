// What JavaScript finds here beside the language: print, console, and the files of its folder.
(function (host) {
  "use strict";
  const MAX_DEPTH = 4, MAX_ITEMS = 200;

  function quoted(text) {
    return JSON.stringify(text);
  }

  function show(value, depth, seen) {
    if (typeof value === "string") return depth === 0 ? value : quoted(value);
    if (typeof value === "bigint") return `${value}n`;
    if (typeof value === "symbol") return value.toString();
    if (typeof value === "function") return `[function ${value.name || "anonymous"}]`;
    if (value === null || typeof value !== "object") return Object.is(value, -0) ? "-0" : String(value);
    if (value instanceof Error) return value.stack ? `${value}\n${value.stack}` : String(value);
    if (seen.includes(value)) return "[circular]";
    if (depth > MAX_DEPTH) return Array.isArray(value) ? "[…]" : "{…}";
    const below = (item) => show(item, depth + 1, seen.concat([value]));
    if (value instanceof Date) return isNaN(value) ? "Invalid Date" : value.toISOString();
    if (value instanceof RegExp) return String(value);
    if (value instanceof Map) return `Map(${value.size}) ${list("{", [...value].map(([k, v]) => `${below(k)} => ${below(v)}`), "}")}`;
    if (value instanceof Set) return `Set(${value.size}) ${list("{", [...value].map(below), "}")}`;
    if (Array.isArray(value)) return list("[", few(value).map(below), "]");
    if (ArrayBuffer.isView(value)) return `${value.constructor.name}(${value.length}) ${list("[", Array.from(few(value), String), "]")}`;
    if (value instanceof Promise) return "[promise]";
    const entries = few(Object.entries(value)).map(([key, item]) =>
      Array.isArray(item) && item === undefined ? key : `${/^[\w$]+$/.test(key) ? key : quoted(key)}: ${below(item)}`);
    return list("{", entries, "}");
  }

  function few(items) {
    return items.length > MAX_ITEMS ? items.slice(0, MAX_ITEMS) : items;
  }

  function list(open, items, close) {
    if (items.length === 0) return open + close;
    const pad = open === "{" ? " " : "";
    const line = items.join(", ");
    if (line.length <= 100 && !line.includes("\n")) return open + pad + line + pad + close;
    const indented = items.map((item) => "  " + item.replace(/\n/g, "\n  "));
    return `${open}\n${indented.join(",\n")}\n${close}`;
  }

  function line(values) {
    return values.map((value) => show(value, 0, [])).join(" ") + "\n";
  }

  const { write, readText, readBytes, writeText, writeBytes, list: names, remove } = host;
  const out = (...values) => write(1, line(values));
  const err = (...values) => write(2, line(values));
  globalThis.print = out;
  globalThis.console = { log: out, info: out, debug: out, table: out, dir: out, warn: err, error: err, trace: err };
  globalThis.readFile = (name) => readText(String(name));
  globalThis.readBytes = (name) => new Uint8Array(readBytes(String(name)));
  globalThis.writeFile = (name, content) => {
    if (content instanceof ArrayBuffer) content = new Uint8Array(content);
    if (ArrayBuffer.isView(content)) {
      const bytes = new Uint8Array(content.buffer, content.byteOffset, content.byteLength);
      writeBytes(String(name), bytes);
    } else {
      writeText(String(name), typeof content === "string" ? content : JSON.stringify(content, null, 2));
    }
  };
  globalThis.listFiles = () => names();
  globalThis.removeFile = (name) => remove(String(name));
  return (value) => { if (value !== undefined) out(value); };
})

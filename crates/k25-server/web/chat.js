// The chat page: a conversation, its drawing, and the keys.

import { render } from "/markdown.js";
import { Refusal, ask } from "/stream.js";

const find = (id) => document.getElementById(id);
const log = find("log");
const text = find("text");

/** Everything that is kept in this tab. `messages` are as the server takes them. */
const state = {
  models: [],
  messages: [],
  pictures: [],
  thinking: true,
  usage: { prompt: 0, cached: 0, completion: 0, cost: 0 },
  running: null,
};
const settings = { system: "", tools: "", max: "", temperature: "", colours: "", key: "" };

// ---- drawing -------------------------------------------------------------------------------------

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const textOf = (message) => typeof message.content === "string" || !message.content
  ? message.content ?? ""
  : message.content.filter((part) => part.type === "text").map((part) => part.text).join("");
const picturesOf = (message) => Array.isArray(message.content)
  ? message.content.filter((part) => part.type === "image_url").map((part) => part.image_url.url)
  : [];

/** Draws the conversation anew. */
function draw() {
  log.replaceChildren();
  if (!state.messages.length) {
    log.append(element("p", { className: "empty" }, element("b", {}, "What is on your mind?"),
      "The conversation stays in this tab."));
  }
  for (const [index, message] of state.messages.entries()) {
    if (message.role === "user") log.append(drawUser(message));
    if (message.role === "assistant") drawAnswer(message, index);
  }
  showUsage();
}

function drawUser(message) {
  const article = element("article", { className: "user", ariaLabel: "You" });
  article.append(...picturesOf(message).map((src) => element("img", { src, alt: "picture you sent" })));
  if (textOf(message)) article.append(element("div", { className: "said" }, textOf(message)));
  return article;
}

/** Draws an answer; returns what changes while it comes. */
function drawAnswer(message, index) {
  const article = element("article", { className: "assistant", ariaLabel: "Answer" });
  const reasoning = element("div");
  const summary = element("summary", {}, "Thought");
  const thinking = element("details", { className: "thinking", hidden: true }, summary, reasoning);
  const said = element("div", { className: "said" });
  const calls = element("div");
  const under = element("div", { className: "under" });
  article.append(thinking, said, calls, under);
  log.append(article);
  const parts = { article, thinking, summary, reasoning, said, calls, under, drawnCalls: "" };
  update(parts, message, index);
  return parts;
}

function update(parts, message, index, isRunning = false) {
  parts.thinking.hidden = !message.reasoning_content;
  if (parts.reasoning.textContent !== (message.reasoning_content ?? "")) {
    parts.reasoning.textContent = message.reasoning_content ?? "";
  }
  const isThinking = isRunning && !message.content && !message.tool_calls?.length;
  parts.thinking.classList.toggle("busy", isThinking);
  const seconds = message.seconds ? ` for ${message.seconds} s` : "";
  parts.summary.textContent = isThinking ? `Thinking${seconds}` : `Thought${seconds}`;
  parts.said.replaceChildren(render(message.content ?? ""));
  const calls = JSON.stringify([message.tool_calls, isRunning]);
  if (calls !== parts.drawnCalls) {
    parts.drawnCalls = calls;
    parts.calls.replaceChildren(...(message.tool_calls ?? []).map((call) => drawCall(call, index, isRunning)));
  }
  if (isRunning) return;
  parts.under.replaceChildren();
  if (message.fault) parts.article.append(element("p", { className: "alarm", role: "alert" }, message.fault));
  if (message.note) parts.under.append(element("span", { className: "quiet" }, message.note));
  if (message.content) parts.under.append(button("Copy", () => navigator.clipboard.writeText(message.content)));
  if (index === state.messages.length - 1) parts.under.append(button("Again", () => again(index)));
}

function drawCall(call, index, isRunning) {
  const { name, arguments: given } = call.function;
  const card = element("div", { className: "call" }, element("strong", {}, name),
    element("pre", {}, element("code", {}, pretty(given))));
  const result = state.messages.find((message, at) => at > index && message.tool_call_id === call.id);
  if (result) {
    card.append(element("pre", {}, result.content));
  } else if (!isRunning) {
    const box = element("textarea", { rows: 2, placeholder: "The result of this call", ariaLabel: `Result of ${name}` });
    box.dataset.call = call.id;
    card.append(box, button("Give results", () => giveResults(index)));
  }
  return card;
}

function button(label, act) {
  return element("button", { type: "button", className: "plain", onclick: act }, label);
}

function pretty(json) {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}

function showUsage() {
  const { prompt, cached, completion, cost } = state.usage;
  const count = (tokens) => tokens.toLocaleString("en");
  const parts = [];
  if (prompt) parts.push(`${count(prompt)} in${cached ? ` (${count(cached)} cached)` : ""}`, `${count(completion)} out`);
  const currency = model()?.pricing?.currency;
  if (prompt && currency) parts.push(`${cost.toFixed(4)} ${currency}`);
  find("usage").textContent = parts.join(" · ");
}

const isAtEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 80;
const toEnd = () => { log.scrollTop = log.scrollHeight; };

// ---- asking --------------------------------------------------------------------------------------

const model = () => state.models.find((model) => model.id === find("model").value);

/** The messages as the server takes them, without what is ours. */
function sent() {
  const messages = state.messages.map(({ seconds, fault, note, ...message }) => message)
    .filter((message) => message.role !== "assistant" || message.content || message.tool_calls);
  return settings.system ? [{ role: "system", content: settings.system }, ...messages] : messages;
}

function request() {
  const body = { model: find("model").value, messages: sent() };
  body.thinking = { type: state.thinking ? "enabled" : "disabled" };
  if (settings.tools.trim()) body.tools = JSON.parse(settings.tools);
  if (settings.max) body.max_tokens = Number(settings.max);
  if (settings.temperature !== "") body.temperature = Number(settings.temperature);
  return body;
}

async function answer() {
  const message = { role: "assistant", content: "" };
  const index = state.messages.push(message) - 1;
  const began = performance.now();
  const stop = new AbortController();
  state.running = stop;
  showRunning();
  const parts = drawAnswer(message, index);
  parts.thinking.hidden = !state.thinking;
  toEnd();
  let isDrawn = true;
  const redraw = () => {
    if (!isDrawn) return;
    isDrawn = false;
    requestAnimationFrame(() => {
      isDrawn = true;
      if (state.running !== stop) return;
      const follow = isAtEnd();
      update(parts, message, index, true);
      if (follow) toEnd();
    });
  };
  try {
    await ask(request(), settings.key, stop.signal, (choice, usage) => {
      if (usage) count(usage);
      if (choice) take(message, choice, began);
      redraw();
    });
  } catch (error) {
    if (error.name === "AbortError") message.note = "stopped";
    else message.fault = error.message;
    if (error instanceof Refusal && error.status === 401) openSettings("This server wants an API key.");
  }
  state.running = null;
  if (!message.content && message.tool_calls) message.content = null;
  showRunning();
  const follow = isAtEnd();
  update(parts, message, index);
  showUsage();
  if (follow) toEnd();
  keep();
  text.focus();
}

/** Adds a piece to the message. */
function take(message, choice, began) {
  const { reasoning_content: reasoning, content, tool_calls: calls } = choice.delta;
  if (reasoning) {
    message.reasoning_content = (message.reasoning_content ?? "") + reasoning;
    message.seconds = Math.max(1, Math.round((performance.now() - began) / 1000));
  }
  if (content) message.content += content;
  for (const { index, id, function: part } of calls ?? []) {
    message.tool_calls ??= [];
    message.tool_calls[index] ??= { id, type: "function", function: { name: part.name, arguments: "" } };
    message.tool_calls[index].function.arguments += part.arguments ?? "";
  }
  if (choice.finish_reason === "length") message.note = "cut at the most tokens";
}

function count(usage) {
  const cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
  const { usage: sum } = state;
  sum.prompt += usage.prompt_tokens;
  sum.cached += cached;
  sum.completion += usage.completion_tokens;
  const price = model()?.pricing;
  if (price) {
    const fresh = usage.prompt_tokens - cached;
    sum.cost += (fresh * price.input + cached * price.cached_input + usage.completion_tokens * price.output) / 1e6;
  }
}

function send() {
  const said = text.value.trim();
  if (state.running || (!said && !state.pictures.length)) return;
  if (openCalls().length) return giveResults(state.messages.length - 1, said);
  const pictures = state.pictures.map((url) => ({ type: "image_url", image_url: { url } }));
  const content = pictures.length ? [...pictures, ...(said ? [{ type: "text", text: said }] : [])] : said;
  state.messages.push({ role: "user", content });
  state.pictures = [];
  text.value = "";
  fit();
  showPictures();
  draw();
  answer();
}

/** Calls of the last message that have no result. */
const openCalls = () => state.messages.at(-1)?.tool_calls ?? [];

function giveResults(index, said = "") {
  const calls = state.messages[index].tool_calls;
  for (const call of calls) {
    const box = [...document.querySelectorAll("textarea[data-call]")].find((box) => box.dataset.call === call.id);
    state.messages.push({ role: "tool", tool_call_id: call.id, content: box?.value || said || "(no result)" });
  }
  text.value = "";
  draw();
  answer();
}

function again(index) {
  if (state.running) return;
  state.messages.length = index;
  draw();
  answer();
}

/** Takes the last message back into the composer. */
function editLast() {
  const index = state.messages.findLastIndex((message) => message.role === "user");
  if (index < 0 || state.running) return;
  const message = state.messages[index];
  text.value = textOf(message);
  state.pictures = picturesOf(message);
  state.messages.length = index;
  fit();
  showPictures();
  draw();
}

function startNew() {
  state.running?.abort();
  state.messages = [];
  state.usage = { prompt: 0, cached: 0, completion: 0, cost: 0 };
  keep();
  draw();
  text.focus();
}

function showRunning() {
  find("stop").hidden = !state.running;
  find("send").hidden = Boolean(state.running);
  log.ariaBusy = Boolean(state.running);
}

// ---- pictures ------------------------------------------------------------------------------------

async function addPictures(files) {
  for (const file of files) {
    if (!file.type.startsWith("image/")) continue;
    const reader = new FileReader();
    const read = new Promise((done) => { reader.onload = done; });
    reader.readAsDataURL(file);
    await read;
    state.pictures.push(reader.result);
  }
  showPictures();
  text.focus();
}

function showPictures() {
  find("pictures").replaceChildren(...state.pictures.map((src, index) => element("button", {
    type: "button", title: "Take this picture away", onclick: () => {
      state.pictures.splice(index, 1);
      showPictures();
      text.focus();
    },
  }, element("img", { src, alt: `picture ${index + 1}` }))));
}

// ---- settings and keys ---------------------------------------------------------------------------

function setMode(thinking) {
  state.thinking = thinking;
  find("thinking").ariaChecked = String(thinking);
  find("instant").ariaChecked = String(!thinking);
  keep();
}

function openSettings(fault = "") {
  for (const name of Object.keys(settings)) find(name).value = settings[name];
  find("fault").textContent = fault;
  if (!find("settings").open) find("settings").showModal();
}

function takeSettings(event) {
  try {
    const tools = find("tools").value.trim();
    if (tools && !Array.isArray(JSON.parse(tools))) throw new Error("a list is wanted");
  } catch (error) {
    event.preventDefault();
    find("fault").textContent = `The tools are no JSON list: ${error.message}`;
    return;
  }
  for (const name of Object.keys(settings)) settings[name] = find(name).value;
  document.documentElement.dataset.colours = settings.colours;
  keep();
  loadModels();
}

/** Keeps the conversation for a reload of this tab, as far as there is room. */
function keep() {
  const { messages, thinking, usage } = state;
  try {
    sessionStorage.setItem("k25", JSON.stringify({ messages, thinking, usage, settings }));
  } catch {
    sessionStorage.removeItem("k25");
  }
}

function recall() {
  try {
    const kept = JSON.parse(sessionStorage.getItem("k25"));
    Object.assign(settings, kept?.settings);
    if (kept) Object.assign(state, { messages: kept.messages, usage: kept.usage });
    setMode(kept?.thinking ?? true);
  } catch {
    sessionStorage.removeItem("k25");
  }
  document.documentElement.dataset.colours = settings.colours;
}

async function loadModels() {
  const headers = settings.key ? { authorization: `Bearer ${settings.key}` } : {};
  const response = await fetch("/v1/models", { headers }).catch(() => null);
  if (response?.status === 401) return openSettings("This server wants an API key.");
  state.models = response?.ok ? (await response.json()).data : [];
  find("model").replaceChildren(...state.models.map(({ id }) => element("option", { value: id }, id)));
  showUsage();
}

/** The composer is as high as what is in it. */
function fit() {
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight}px`;
}

const shortcuts = {
  m: () => setMode(!state.thinking), n: startNew, s: () => openSettings(), a: () => find("files").click(),
};

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && state.running) {
    event.preventDefault();
    state.running.abort();
  }
  const act = event.altKey && !event.ctrlKey && shortcuts[event.key.toLowerCase()];
  if (act && !find("settings").open) {
    event.preventDefault();
    act();
  }
});
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  }
  if (event.key === "ArrowUp" && !text.value) {
    event.preventDefault();
    editLast();
  }
});
text.addEventListener("input", fit);
text.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) {
    event.preventDefault();
    addPictures(files);
  }
});
find("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
for (const [kind, isOver] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    find("composer").classList.toggle("over", isOver);
    if (kind === "drop") addPictures([...event.dataTransfer.files]);
  });
}
find("files").addEventListener("change", (event) => {
  addPictures([...event.target.files]);
  event.target.value = "";
});
find("stop").addEventListener("click", () => state.running?.abort());
find("new").addEventListener("click", startNew);
find("attach").addEventListener("click", () => find("files").click());
find("thinking").addEventListener("click", () => setMode(true));
find("instant").addEventListener("click", () => setMode(false));
find("open-settings").addEventListener("click", () => openSettings());
find("settings").querySelector("form").addEventListener("submit", takeSettings);

recall();
draw();
toEnd();
loadModels();

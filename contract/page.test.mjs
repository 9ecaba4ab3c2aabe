// The chat page in a real Chromium, with the scripted model behind it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";

import puppeteer from "puppeteer-core";

const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
let server;
let browser;
let page;
let url;
const faults = [];

before(async () => {
  const program = process.env.K25_SCRIPTED_SERVER;
  assert.ok(program, "run the suite with `cargo xtask contract`");
  server = spawn(program, {
    stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, K25_PRICES: "1" },
  });
  const [line] = await once(createInterface({ input: server.stdout }), "line");
  url = line.match(/http:\S+/)[0];
  browser = await puppeteer.launch({
    executablePath: process.env.K25_CHROMIUM ?? "/usr/bin/chromium",
    // Containers often run as root and with little shared memory.
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
  });
});

after(async () => {
  await browser?.close();
  server.kill("SIGTERM");
  const [code] = await once(server, "exit");
  assert.equal(code, 0);
  assert.deepEqual(faults, [], "errors of scripts or of the content security policy");
});

/** A new page with an empty conversation. */
async function open() {
  await page?.close();
  page = await browser.newPage();
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
  page.on("request", (request) => {
    const address = request.url();
    if (!address.startsWith(url) && !address.startsWith("data:")) faults.push(`loads ${address}`);
  });
  await page.goto(url);
  await page.waitForSelector("#model option");
}

const script = (output, more = {}) => JSON.stringify({ output, ...more });
/** Says something with the keyboard. */
async function say(text) {
  await page.focus("#text");
  await page.$eval("#text", (box, text) => { box.value = text; }, text);
  await page.keyboard.press("Enter");
}
const texts = (selector) => page.$$eval(selector, (found) => found.map((one) => one.textContent));
const settled = () => page.waitForFunction(() => !document.querySelector("#send").hidden
  && document.querySelector("article.assistant"));

test("an answer comes with its thinking folded, its usage and its cost", async () => {
  await open();
  await say(script("Let me see.</think>It is **blue**:\n\n- one\n- `two`\n\n```rust\nfn main() {}\n```", { cut: 3, delay_ms: 2 }));
  await settled();
  assert.deepEqual(await texts("article.assistant .said strong"), ["blue"]);
  assert.deepEqual(await texts("article.assistant .said li"), ["one", "two"]);
  assert.deepEqual(await texts("article.assistant .said pre code"), ["fn main() {}"]);
  assert.deepEqual(await texts("details.thinking div"), ["Let me see."]);
  assert.equal(await page.$eval("details.thinking", (one) => one.open), false);
  assert.match((await texts("#usage"))[0], /in \(\d+ cached\) · \d+ out · 0\.\d{4} USD/);
  assert.equal(await page.evaluate(() => document.activeElement.id), "text");
});

test("what a model says is never markup", async () => {
  await open();
  const evil = '<img src=x onerror="document.title=1"><script>document.title=2</script> [a](javascript:alert(1))';
  await say(script(`${evil}</think>${evil}`));
  await settled();
  assert.equal(await page.title(), "k25");
  assert.deepEqual(await texts("article.assistant .said p"), [evil]);
  assert.equal((await page.$$("article.assistant :is(img, script, a)")).length, 0);
});

test("an answer can be stopped with the keyboard", async () => {
  await open();
  await say(script("a</think>begun", { cut: 1, hang: true }));
  await page.waitForFunction(() => document.querySelector(".said p")?.textContent === "begun");
  assert.equal(await page.$eval("#stop", (one) => one.hidden), false);
  await page.keyboard.press("Escape");
  await settled();
  assert.deepEqual(await texts("article.assistant .under span"), ["stopped"]);
  const metrics = await (await fetch(`${url}/metrics`)).text();
  assert.match(metrics, /k25_answers_total\{end="cancelled"\} 1/);
});

test("the mode reaches the model", async () => {
  await open();
  await page.keyboard.down("Alt");
  await page.keyboard.press("m");
  await page.keyboard.up("Alt");
  assert.equal(await page.$eval("#instant", (one) => one.ariaChecked), "true");
  await say(JSON.stringify({ echo: true }));
  await settled();
  const seen = await texts("article.assistant .said");
  assert.match(seen[0], /"thinking":false/);
});

test("pictures are pasted and dropped", async () => {
  await open();
  for (const kind of ["paste", "drop"]) {
    await page.evaluate(async (kind, png) => {
      const bytes = Uint8Array.from(atob(png), (one) => one.charCodeAt(0));
      const data = new DataTransfer();
      data.items.add(new File([bytes], "dot.png", { type: "image/png" }));
      const event = kind === "paste"
        ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
        : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
      document.querySelector("#text").dispatchEvent(event);
    }, kind, PNG);
  }
  await page.waitForFunction(() => document.querySelectorAll("#pictures img").length === 2);
  await page.click("#pictures button");
  assert.equal((await page.$$("#pictures img")).length, 1);
  await say(JSON.stringify({ echo: true }));
  await settled();
  assert.ok((await texts("article.assistant .said"))[0].includes(PNG));
  assert.equal((await page.$$("article.user img")).length, 1);
});

test("tool calls are shown, and results go back", async () => {
  await open();
  await page.click("#open-settings");
  await page.type("#tools", "no list");
  await page.click("#settings button[type=submit]");
  assert.match((await texts("#fault"))[0], /no JSON list/);
  const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object" } } }];
  await page.$eval("#tools", (box, value) => { box.value = value; }, JSON.stringify(tools));
  await page.click("#settings button[type=submit]");
  await say(script("why</think>Look:<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0"
    + '<|tool_call_argument_begin|>{"city": "Bern"}<|tool_call_end|><|tool_calls_section_end|>'));
  await settled();
  assert.deepEqual(await texts(".call strong"), ["weather"]);
  assert.match((await texts(".call pre"))[0], /"city": "Bern"/);
  await page.type(".call textarea", "Sun");
  await page.click(".call button");
  await page.waitForFunction(() => document.querySelectorAll("article.assistant").length === 2);
  await settled();
  assert.ok((await texts(".call pre")).includes("Sun"));
});

test("errors are told where they happen", async () => {
  await open();
  await say(script("abc", { cut: 1, fail: 2 }));
  await settled();
  assert.match((await texts(".alarm"))[0], /the script fails/);
});

test("a reload keeps the conversation, a new one forgets it; the last message can be edited", async () => {
  await open();
  await say(script("a</think>kept"));
  await settled();
  await page.reload();
  assert.deepEqual(await texts("article.assistant .said p"), ["kept"]);
  await page.focus("#text");
  await page.keyboard.press("ArrowUp");
  assert.match(await page.$eval("#text", (box) => box.value), /kept/);
  assert.equal((await page.$$("article")).length, 0);
  await page.keyboard.press("Enter");
  await settled();
  await page.click("#new");
  assert.equal((await page.$$("article")).length, 0);
});

test("light and dark follow the system and the setting", async () => {
  await open();
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "light" }]);
  const light = await paper();
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }]);
  const dark = await paper();
  assert.notEqual(light, dark);
  await page.click("#open-settings");
  await page.select("#colours", "light");
  await page.click("#settings button[type=submit]");
  assert.equal(await paper(), light);
  if (process.env.K25_PICTURES) {
    await say(script("Rayleigh scattering goes with the fourth power of the frequency.</think>Because air scatters "
      + "**short waves** more than long ones:\n\n| colour | wavelength |\n|---|---|\n| blue | 450 nm |\n| red | 700 nm |"
      + "\n\nSee `λ⁻⁴`."));
    await settled();
    await page.screenshot({ path: `${process.env.K25_PICTURES}/light.png` });
    await page.evaluate(() => { document.documentElement.dataset.colours = "dark"; });
    await page.screenshot({ path: `${process.env.K25_PICTURES}/dark.png` });
  }
});

test("the page carries a strict policy", async () => {
  const response = await fetch(url);
  const policy = response.headers.get("content-security-policy");
  assert.match(policy, /default-src 'none'/);
  assert.match(policy, /frame-ancestors 'none'/);
  assert.doesNotMatch(policy, /unsafe/);
});

// Chat Completions through the official OpenAI SDK for JavaScript.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";

import OpenAI from "openai";

let server;
let client;

before(async () => {
  const program = process.env.K25_SCRIPTED_SERVER;
  assert.ok(program, "run the suite with `cargo xtask contract`");
  server = spawn(program, { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(createInterface({ input: server.stdout }), "line");
  const baseURL = line.match(/http:\S+/)[0] + "/v1";
  client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
});

after(async () => {
  server.kill("SIGTERM");
  const [code] = await once(server, "exit");
  assert.equal(code, 0);
});

const script = (output, more = {}) => [
  { role: "user", content: JSON.stringify({ output, ...more }) },
];
const CALL =
  "why</think>Look:<|tool_calls_section_begin|><|tool_call_begin|>functions.get-weather:0" +
  '<|tool_call_argument_begin|>{"city": "Bern"}<|tool_call_end|><|tool_calls_section_end|>';
const TOOLS = [
  { type: "function", function: { name: "get-weather", parameters: { type: "object" } } },
];

test("an answer with a tool call", async () => {
  const reply = await client.chat.completions.create({
    model: "scripted", messages: script(CALL), tools: TOOLS,
  });
  const { message, finish_reason } = reply.choices[0];
  assert.equal(message.reasoning_content, "why");
  assert.equal(message.content, "Look:");
  assert.deepEqual(message.tool_calls, [
    { id: "functions.get-weather:0", type: "function",
      function: { name: "get-weather", arguments: '{"city": "Bern"}' } },
  ]);
  assert.equal(finish_reason, "tool_calls");
  assert.equal(reply.usage.completion_tokens_details.reasoning_tokens, 1);
});

test("a stream adds up to the same", async () => {
  const stream = client.chat.completions.stream({
    model: "scripted", messages: script(CALL, { cut: 2 }), tools: TOOLS,
    stream_options: { include_usage: true },
  });
  const reply = await stream.finalChatCompletion();
  assert.equal(reply.choices[0].message.content, "Look:");
  assert.equal(reply.choices[0].message.tool_calls[0].function.arguments, '{"city": "Bern"}');
  assert.ok((await stream.totalUsage()).completion_tokens > 10);
});

test("a stream can be left", async () => {
  const stream = await client.chat.completions.create({
    model: "scripted", messages: script("a</think>bcd", { cut: 1, hang: true }), stream: true,
  });
  for await (const chunk of stream) {
    if (chunk.choices[0].delta.content === "b") break;
  }
});

test("errors are the SDK's own", async () => {
  await assert.rejects(
    client.chat.completions.create({ model: "gpt-4", messages: script("x") }),
    (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found",
  );
  await assert.rejects(
    client.chat.completions.create({ model: "scripted", messages: script("x"), temperature: 9 }),
    (error) => error instanceof OpenAI.BadRequestError && error.param === "temperature",
  );
});

test("models are listed", async () => {
  const models = await client.models.list();
  assert.equal(models.data[0].id, "scripted");
});

test("responses, whole and streamed", async () => {
  const request = {
    model: "scripted", input: script(CALL, { cut: 2 }),
    tools: [{ type: "function", name: "get-weather", parameters: { type: "object" }, strict: false }],
  };
  const whole = await client.responses.create(request);
  assert.deepEqual(whole.output.map((item) => item.type), ["reasoning", "message", "function_call"]);
  assert.equal(whole.output_text, "Look:");
  assert.equal(whole.output[2].call_id, "functions.get-weather:0");
  const streamed = await client.responses.stream(request).finalResponse();
  assert.equal(streamed.output_text, "Look:");
  assert.equal(streamed.output[2].arguments, '{"city": "Bern"}');
});

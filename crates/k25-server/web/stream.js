// One answer of the server, piece by piece.

/** What went wrong, in the server's words. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * Asks, and calls `take(choice, usage)` for every piece.
 * @param {object} body the request
 * @param {string} key an API key, or ""
 * @param {AbortSignal} signal ends the answer
 */
export async function ask(body, key, signal, take) {
  const headers = { "content-type": "application/json" };
  if (key) headers.authorization = `Bearer ${key}`;
  const request = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await fetch("/v1/chat/completions", {
    method: "POST", headers, body: JSON.stringify(request), signal,
  });
  if (!response.ok) {
    const said = await response.json().catch(() => null);
    throw new Refusal(response.status, said?.error?.message ?? `the server answered ${response.status}`);
  }
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Refusal(500, chunk.error.message);
    take(chunk.choices[0], chunk.usage);
  }
  throw new Refusal(500, "the answer broke off");
}

/** The data of server-sent events, however the bytes are cut. */
export async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const parts = rest.split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
      if (data.length) yield data.join("\n");
    }
  }
}

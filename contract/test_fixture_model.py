"""The real thing: `k25 serve` on a small random checkpoint, through the official OpenAI SDK."""

import base64
import json
import pathlib
import struct
import zlib

import openai
import pytest

MESSAGES = [{"role": "user", "content": "hello"}]


def ask(client, **options):
    options = {"messages": MESSAGES, "max_tokens": 24, "seed": 1, **options}
    return client.chat.completions.create(model="fixture", **options)


def text(choice):
    message = choice.message
    return getattr(message, "reasoning_content", None), message.content


def streamed(client, **options):
    reasoning = content = None
    usage = end = None
    for chunk in ask(client, stream=True, stream_options={"include_usage": True}, **options):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            part = getattr(choice.delta, "reasoning_content", None)
            reasoning = reasoning if part is None else (reasoning or "") + part
            if choice.delta.content is not None:
                content = (content or "") + choice.delta.content
            end = choice.finish_reason or end
    return (reasoning, content), end, usage


def png(size):
    """A grey picture."""
    def chunk(kind, body):
        return (struct.pack(">I", len(body)) + kind + body
                + struct.pack(">I", zlib.crc32(kind + body)))
    rows = b"".join(b"\0" + bytes([120] * size) for _ in range(size))
    data = (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return "data:image/png;base64," + base64.b64encode(data).decode()


def test_the_same_seed_says_the_same_streamed_or_not(computed):
    client = computed.openai()
    first, again = ask(client), ask(client)
    assert text(first.choices[0]) == text(again.choices[0])
    assert text(first.choices[0]) != (None, None)
    assert first.choices[0].finish_reason in ("length", "stop")
    joined, end, usage = streamed(client)
    assert joined == text(first.choices[0]) and end == first.choices[0].finish_reason
    assert usage.completion_tokens == first.usage.completion_tokens <= 24
    assert usage.prompt_tokens == first.usage.prompt_tokens > 0


def test_instant_answers_without_reasoning(computed):
    reply = ask(computed.openai(), extra_body={"thinking": {"type": "disabled"}})
    reasoning, content = text(reply.choices[0])
    assert reasoning is None and content
    assert reply.usage.completion_tokens_details.reasoning_tokens == 0


def test_a_shared_prefix_is_not_computed_again(computed):
    client = computed.openai()
    messages = [{"role": "user", "content": "hello " * 200}]
    ask(client, messages=messages, max_tokens=1)
    usage = ask(client, messages=messages, max_tokens=1).usage
    assert 0 < usage.cached_tokens < usage.prompt_tokens


def test_estimates_are_exact(computed):
    client = computed.openai()
    count = client.post("/tokenizers/estimate-token-count", cast_to=object,
                        body={"model": "fixture", "messages": MESSAGES})
    assert count["data"]["total_tokens"] == ask(client, max_tokens=1).usage.prompt_tokens


def test_several_answers_differ(computed):
    reply = ask(computed.openai(), n=3)
    assert len({text(choice) for choice in reply.choices}) == 3


def test_pictures_are_seen(computed):
    client = computed.openai()
    def look(size):
        parts = [{"type": "image_url", "image_url": {"url": png(size)}},
                 {"type": "text", "text": "hello"}]
        return ask(client, messages=[{"role": "user", "content": parts}], max_tokens=1).usage
    small, large = look(56), look(112)
    # A token for each 28 x 28 pixels.
    assert large.prompt_tokens - small.prompt_tokens == 16 - 4


def test_markers_in_a_prompt_stay_text(computed):
    client = computed.openai()
    def tokens(content):
        return ask(client, messages=[{"role": "user", "content": content}], max_tokens=1).usage.prompt_tokens
    assert tokens("<|im_end|>") > tokens("a") + 2, "a marker would be one token"


@pytest.mark.parametrize("picture", [
    "data:image/png;base64,****", "data:image/png;base64,AAAA", "data:image/png,x", "data:"])
def test_broken_pictures_are_refused(computed, picture):
    parts = [{"type": "image_url", "image_url": {"url": picture}}]
    with pytest.raises(openai.BadRequestError) as error:
        ask(computed.openai(), messages=[{"role": "user", "content": parts}])
    assert "hint" in error.value.message


def claiming(width, height, rows, bits=1):
    """A picture that says it has this size, with this many bytes of it."""
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(rows), 9))
            + chunk(b"IEND", b""))


# Small files that want to be large: in size, in what they unpack to, in frames.
BOMBS = {
    "claims": ("image/png", claiming(2**31 - 1, 2**31 - 1, 100)),
    "unpacks": ("image/png", claiming(60_000, 60_000, 450_000_000 // 8)),
    "long": ("image/png", claiming(1, 2**30, 1_000_000)),
    "gif": ("image/gif", b"GIF89a\xff\xff\xff\xff\x00\x00\x00," + b"\x00" * 4 + b"\xff\xff\xff\xff\x00\x02\x00;"),
    "webp": ("image/webp", b"RIFF\xff\xff\xff\x7fWEBPVP8L\xff\xff\xff\x7f/\xff\xff\xff\xff"),
    "jpeg": ("image/jpeg", b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01\xff\xd9"),
    "bmp": ("image/bmp", b"BM" + b"\xff" * 60),
    "other": ("image/tiff", b"II*\x00" + b"\xff" * 60),
}


def resident_mib(process):
    """The most memory that a process has held."""
    lines = pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


@pytest.mark.parametrize("name", BOMBS)
def test_image_bombs_are_refused(computed, name):
    kind, content = BOMBS[name]
    parts = [{"type": "image_url", "image_url": {
        "url": f"data:{kind};base64,{base64.b64encode(content).decode()}"}}]
    with pytest.raises(openai.BadRequestError) as error:
        ask(computed.openai(timeout=30), messages=[{"role": "user", "content": parts}])
    assert "hint" in error.value.message
    # Twice what one of them wants would be many times this.
    assert resident_mib(computed.process) < 1500
    assert ask(computed.openai(), max_tokens=1).usage.completion_tokens == 1


def test_a_prompt_beyond_the_context_is_refused(computed):
    with pytest.raises(openai.BadRequestError) as error:
        ask(computed.openai(), messages=[{"role": "user", "content": "hello " * 5000}])
    assert error.value.code == "context_length_exceeded"


def test_an_unknown_call_is_refused(computed):
    messages = [*MESSAGES, {"role": "tool", "tool_call_id": "nobody", "content": "x"}]
    with pytest.raises(openai.BadRequestError) as error:
        ask(computed.openai(), messages=messages)
    assert "nobody" in error.value.message


INSTANT = {"thinking": {"type": "disabled"}}


def test_log_probabilities_are_those_of_what_was_said(computed):
    client = computed.openai()
    options = {"logprobs": True, "top_logprobs": 3, "extra_body": INSTANT}
    choice = ask(client, **options).choices[0]
    tokens = choice.logprobs.content
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 3 for token in tokens)
    for token in tokens:
        ranked = [other.logprob for other in token.top_logprobs]
        assert ranked == sorted(ranked, reverse=True)
    said = b"".join(bytes(token.bytes) for token in tokens)
    assert said.decode(errors="replace").startswith(choice.message.content[:8])


def test_greedy_takes_the_likeliest(computed):
    choice = ask(computed.openai(), temperature=0, logprobs=True, top_logprobs=1,
                 extra_body=INSTANT).choices[0]
    for token in choice.logprobs.content:
        assert token.bytes == token.top_logprobs[0].bytes


def test_a_biased_token_is_said(computed):
    choice = ask(computed.openai(), logit_bias={"65": 100}, max_tokens=5, extra_body=INSTANT,
                 logprobs=True).choices[0]
    assert len({tuple(token.bytes) for token in choice.logprobs.content}) == 1


def test_a_stop_text_ends_the_answer(computed):
    client = computed.openai()
    full = ask(client, extra_body=INSTANT).choices[0].message.content
    stop = full[4:6]
    cut = ask(client, stop=[stop], extra_body=INSTANT).choices[0]
    assert cut.finish_reason == "stop"
    assert cut.message.content == full[:full.index(stop)]


@pytest.mark.parametrize("stream", [False, True])
def test_a_schema_is_kept(computed, stream):
    schema = {"type": "object", "additionalProperties": False, "required": ["ok", "kind"],
              "properties": {"ok": {"type": "boolean"}, "kind": {"enum": ["cat", "dog"]}}}
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    options = {"response_format": form, "max_tokens": 200, "extra_body": INSTANT}
    client = computed.openai()
    if stream:
        (_, content), end, _ = streamed(client, **options)
    else:
        choice = ask(client, **options).choices[0]
        content, end = choice.message.content, choice.finish_reason
    assert end == "stop"
    answer = json.loads(content)
    assert isinstance(answer["ok"], bool) and answer["kind"] in ("cat", "dog") and len(answer) == 2


def test_a_required_call_is_made(computed):
    tools = [{"type": "function", "function": {"name": "get-weather", "parameters": {
        "type": "object", "additionalProperties": False, "required": ["day"],
        "properties": {"day": {"enum": ["monday", "friday"]}}}}}]
    for choice in ("required", {"type": "function", "function": {"name": "get-weather"}}):
        reply = ask(computed.openai(), tools=tools, tool_choice=choice, max_tokens=400,
                    parallel_tool_calls=False, extra_body=INSTANT).choices[0]
        assert reply.message.tool_calls, reply
        call = reply.message.tool_calls[0]
        assert call.function.name == "get-weather" and call.id.startswith("functions.get-weather:")
        assert json.loads(call.function.arguments)["day"] in ("monday", "friday")

"""Chat Completions through the official OpenAI SDK."""

import json

import openai
import pytest
from conftest import call, script, section

TOOLS = [{"type": "function", "function": {
    "name": "get-weather.v2", "description": "Weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]

LONG = json.dumps({"text": "é\"\\\n" * 40_000}, ensure_ascii=False)

# What the model writes, and what a client must get: reasoning, content, calls as (id, name, arguments).
CASES = {
    "plain": ("Hm.</think>Hello!", "Hm.", "Hello!", []),
    "all_reasoning": ("I never stop", "I never stop", None, []),
    "empty": ("</think>", None, None, []),
    "one_call": (
        "w</think>Look:" + section(call("get-weather.v2", '{"city": "Bern"}')),
        "w", "Look:", [("functions.get-weather.v2:0", "get-weather.v2", '{"city": "Bern"}')]),
    "section_inside_thinking": (
        "I shall call" + section(call("f", "{}")), "I shall call", None, [("functions.f:0", "f", "{}")]),
    "no_section_end": (
        "a</think>" + "<|tool_calls_section_begin|>" + call("f", "{}"), "a", None,
        [("functions.f:0", "f", "{}")]),
    "no_call_end": (
        "a</think><|tool_calls_section_begin|><|tool_call_begin|>functions.f:0"
        "<|tool_call_argument_begin|>{\"a\": 1}", "a", None, [("functions.f:0", "f", '{"a": 1}')]),
    "no_section": ("a</think>b" + call("f", "{}"), "a", "b", [("functions.f:0", "f", "{}")]),
    "singular_section": (
        "a</think><|tool_call_section_begin|>" + call("f", "{}") + "<|tool_call_section_end|>",
        "a", None, [("functions.f:0", "f", "{}")]),
    "names": (
        "a</think>" + section(*(call(n, "{}", i) for i, n in enumerate(["a-b", "a.b", "a_b", "a:b"]))),
        "a", None, [(f"functions.{n}:{i}", n, "{}") for i, n in enumerate(["a-b", "a.b", "a_b", "a:b"])]),
    "without_prefix": (
        "a</think>" + section(call("f", "{}", 0, "")), "a", None, [("f:0", "f", "{}")]),
    "many_calls": (
        "a</think>" + section(*(call("f", json.dumps({"i": i}), i) for i in range(64))), "a", None,
        [(f"functions.f:{i}", "f", json.dumps({"i": i})) for i in range(64)]),
    "same_id_twice": (
        "a</think>" + section(call("f", "1", 0), call("f", "2", 0)), "a", None,
        [("functions.f:0", "f", "1"), ("functions.f:1", "f", "2")]),
    "long_arguments": (
        "a</think>" + section(call("f", LONG)), "a", None, [("functions.f:0", "f", LONG)]),
    "no_json": ("a</think>" + section(call("f", "not json")), "a", None,
                [("functions.f:0", "f", "not json")]),
    "blanks": (
        "a</think><|tool_calls_section_begin|>\n <|tool_call_begin|> functions.f:0 \n"
        "<|tool_call_argument_begin|> {\n} <|tool_call_end|>\n<|tool_calls_section_end|>", "a", None,
        [("functions.f:0", "f", "{\n}")]),
    "markers_in_arguments": (
        "a</think>" + section(call("f", '{"x": "</think> <think>"}')), "a", None,
        [("functions.f:0", "f", '{"x": "</think> <think>"}')]),
    "emoji": ("\U0001F914</think>\U0001F600 é", "\U0001F914", "\U0001F600 é", []),
    "stray_think": ("<think>a</think>b</think>c", "a", "bc", []),
}


def whole(client, messages, **options):
    reply = client.chat.completions.create(model="scripted", messages=messages, **options)
    return reply.choices[0]


def joined(client, messages, **options):
    """The chunks of a stream put together by hand, as many clients do; also their order."""
    reasoning, content, calls, kinds, last = None, None, [], [], None
    for chunk in client.chat.completions.create(
            model="scripted", messages=messages, stream=True, **options):
        for choice in chunk.choices:
            delta = choice.delta
            text = getattr(delta, "reasoning_content", None)
            if text is not None:
                reasoning, _ = (reasoning or "") + text, kinds.append("reasoning")
            if delta.content is not None:
                content, _ = (content or "") + delta.content, kinds.append("content")
            for part in delta.tool_calls or []:
                kinds.append("call")
                if part.id is not None:
                    assert part.index == len(calls)
                    calls.append([part.id, part.function.name, ""])
                calls[part.index][2] += part.function.arguments or ""
            last = choice.finish_reason or last
    return reasoning, content, [tuple(c) for c in calls], kinds, last


@pytest.mark.parametrize("cut", [None, 1, 7])
@pytest.mark.parametrize("name", CASES)
def test_nothing_leaks_and_nothing_is_lost(scripted, name, cut):
    output, reasoning, content, calls = CASES[name]
    if name == "long_arguments" and cut:
        cut *= 31
    client, messages = scripted.openai(), script(output, cut=cut)
    choice = whole(client, messages)
    message = choice.message
    got = [(c.id, c.function.name, c.function.arguments) for c in message.tool_calls or []]
    assert (getattr(message, "reasoning_content", None), message.content, got) == (
        reasoning, content, calls)
    assert choice.finish_reason == ("tool_calls" if calls else "stop")
    streamed = joined(client, messages)
    assert streamed[:3] == (reasoning, content, calls)
    assert streamed[4] == choice.finish_reason
    order = streamed[3]
    if "content" in order and "reasoning" in order:
        assert order.index("content") > len(order) - 1 - order[::-1].index("reasoning")


def test_the_sdks_own_stream_helper_agrees(scripted):
    output = "w</think>Look:" + section(call("get-weather.v2", '{"city": "Bern"}'))
    with scripted.openai().chat.completions.stream(
            model="scripted", messages=script(output, cut=3), tools=TOOLS) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    message = final.choices[0].message
    assert message.content == "Look:"
    assert message.tool_calls[0].function.arguments == '{"city": "Bern"}'
    assert final.choices[0].finish_reason == "tool_calls"


def test_usage(scripted):
    client, messages = scripted.openai(), script("ab</think>cd", cut=1)
    reply = client.chat.completions.create(model="scripted", messages=messages)
    usage = reply.usage
    assert usage.prompt_tokens == len(messages[0]["content"])
    assert usage.completion_tokens == len("ab</think>cd")
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.cached_tokens == usage.prompt_tokens // 2
    assert usage.prompt_tokens_details.cached_tokens == usage.cached_tokens
    assert usage.completion_tokens_details.reasoning_tokens == 2
    chunks = list(client.chat.completions.create(
        model="scripted", messages=messages, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage == usage
    assert chunks[-2].choices[0].usage["total_tokens"] == usage.total_tokens
    assert chunks[-2].choices[0].finish_reason == "stop"
    plain = list(client.chat.completions.create(model="scripted", messages=messages, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in plain)


def echo(client, messages=None, **options):
    """The request as the model saw it."""
    messages = (messages or []) + script(echo=True)
    return json.loads(whole(client, messages, **options).message.content)


def test_what_a_client_sends_reaches_the_model(scripted):
    seen = echo(
        scripted.openai(), temperature=0.3, top_p=0.8, presence_penalty=0.5, frequency_penalty=-0.5,
        seed=11, stop=["END", "\n\n"], logit_bias={"42": -100}, max_completion_tokens=77, tools=TOOLS,
        tool_choice={"type": "function", "function": {"name": "get-weather.v2"}}, logprobs=True,
        top_logprobs=2, extra_body={"thinking": {"type": "disabled"}, "top_k": 5})
    assert seen["temperature"] == pytest.approx(0.3) and seen["top_p"] == pytest.approx(0.8)
    assert (seen["presence_penalty"], seen["frequency_penalty"]) == (0.5, -0.5)
    assert (seen["seed"], seen["stop"], seen["top_k"]) == (11, ["END", "\n\n"], 5)
    assert seen["logit_bias"] == [[42, -100.0]] and seen["max_tokens"] == 77
    assert seen["tool_choice"] == 'Function("get-weather.v2")' and seen["tools"] == 1
    assert seen["thinking"] is False and seen["logprobs"] == 2


@pytest.mark.parametrize("extra", [
    {"thinking": {"type": "disabled"}},
    {"chat_template_kwargs": {"thinking": False}},
    {"reasoning_effort": "none"},
])
def test_thinking_switches(scripted, extra):
    client = scripted.openai()
    assert echo(client)["thinking"] is True
    assert echo(client, extra_body=extra)["thinking"] is False
    choice = whole(client, script("never shown</think>Hi"), extra_body=extra)
    assert choice.message.content == "Hi"
    assert getattr(choice.message, "reasoning_content", None) is None


@pytest.mark.parametrize("choice", ["auto", "none", "required"])
def test_tool_choice(scripted, choice):
    assert echo(scripted.openai(), tools=TOOLS, tool_choice=choice)["tool_choice"] == choice.capitalize()


def test_response_formats(scripted):
    client = scripted.openai()
    assert echo(client)["response_format"] == "Text"
    assert echo(client, response_format={"type": "json_object"})["response_format"] == "JsonObject"
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    seen = echo(client, response_format={
        "type": "json_schema", "json_schema": {"name": "thing", "strict": True, "schema": schema}})
    assert seen["response_format"].startswith('JsonSchema { name: "thing"')
    assert "strict: true" in seen["response_format"]


def test_a_tool_loop_goes_round(scripted):
    client = scripted.openai()
    first = whole(client, script("why</think>" + section(call("f", "{}"))), tools=TOOLS)
    history = [first.message.model_dump(exclude_none=True),
               {"role": "tool", "tool_call_id": first.message.tool_calls[0].id, "content": "4"}]
    seen = echo(client, history, tools=TOOLS)
    assert seen["messages"][0]["reasoning"] == "why"
    assert seen["messages"][0]["tool_calls"] == ["functions.f:0"]
    assert seen["messages"][1]["tool_call_id"] == "functions.f:0"


def test_one_call_at_a_time(scripted):
    output = "a</think>" + section(call("f", "1", 0), call("g", "2", 1))
    choice = whole(scripted.openai(), script(output), tools=TOOLS, parallel_tool_calls=False)
    assert [c.function.name for c in choice.message.tool_calls] == ["f"]


def test_partial_mode(scripted):
    messages = script(echo=True) + [
        {"role": "assistant", "content": "{\"a\":", "partial": True, "name": "Kimi"}]
    reply = scripted.openai().chat.completions.create(model="scripted", messages=messages)
    seen = json.loads(reply.choices[0].message.content)
    assert seen["messages"][-1] == {
        "role": "assistant", "text": "{\"a\":", "reasoning": None, "partial": True,
        "tool_call_id": None, "tool_calls": []}


def test_several_answers(scripted):
    client = scripted.openai()
    reply = client.chat.completions.create(
        model="scripted", messages=script(echo=True), n=3, seed=5)
    assert [c.index for c in reply.choices] == [0, 1, 2]
    assert [json.loads(c.message.content)["seed"] for c in reply.choices] == [5, 6, 7]
    texts = {}
    for chunk in client.chat.completions.create(
            model="scripted", messages=script("a</think>bcd", cut=1), n=3, stream=True):
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
    assert texts == {0: "bcd", 1: "bcd", 2: "bcd"}


def test_logprobs(scripted):
    client, messages = scripted.openai(), script("a</think>bé", cut=1)
    tokens = whole(client, messages, logprobs=True, top_logprobs=2).logprobs.content
    assert "".join(token.token for token in tokens) == "a</think>bé"
    assert tokens[-1].bytes == list("é".encode()) and tokens[-1].logprob == -0.5
    assert len(tokens[-1].top_logprobs) == 2
    streamed = [
        token
        for chunk in client.chat.completions.create(
            model="scripted", messages=messages, logprobs=True, top_logprobs=2, stream=True)
        for choice in chunk.choices if choice.logprobs
        for token in choice.logprobs.content
    ]
    assert streamed == tokens
    assert whole(client, messages).logprobs is None


def test_cut_by_length(scripted):
    choice = whole(scripted.openai(), script("a</think>b", length=True))
    assert choice.finish_reason == "length"


def test_pictures(scripted):
    uri = "data:image/png;base64,iVBORw0KGgo="
    parts = [{"type": "image_url", "image_url": {"url": uri}}, {"type": "text", "text": "look"},
             {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}}]
    seen = echo(scripted.openai(), [{"role": "user", "content": parts}])
    assert seen["media"] == [uri, "data:video/mp4;base64,AAAA"]


@pytest.mark.parametrize("address", [
    "http://127.0.0.1/a.png", "http://169.254.169.254/latest/meta-data", "http://[::1]/",
    "http://[::ffff:10.0.0.1]/", "http://localhost:1/", "file:///etc/passwd", "/etc/passwd"])
def test_private_addresses_are_not_fetched(scripted, address):
    parts = [{"type": "image_url", "image_url": {"url": address}}]
    with pytest.raises(openai.BadRequestError) as error:
        whole(scripted.openai(), [{"role": "user", "content": parts}])
    assert error.value.param == "messages[0].content[0]"


def test_errors_are_the_sdks_own(scripted):
    client = scripted.openai()
    with pytest.raises(openai.NotFoundError) as error:
        client.chat.completions.create(model="gpt-4", messages=script("x"))
    assert error.value.code == "model_not_found"
    assert error.value.type == "resource_not_found_error"
    with pytest.raises(openai.BadRequestError) as error:
        whole(client, script("x"), temperature=9)
    assert error.value.param == "temperature" and "hint" in error.value.message
    with pytest.raises(openai.BadRequestError):
        whole(client, [])
    with pytest.raises(openai.InternalServerError):
        whole(client, script("abc", cut=1, fail=2))
    with pytest.raises(openai.APIError) as error:
        for _ in client.chat.completions.create(
                model="scripted", messages=script("abc", cut=1, fail=2), stream=True):
            pass
    assert "the script fails" in error.value.message


def test_request_ids(scripted):
    raw = scripted.openai().chat.completions.with_raw_response.create(
        model="scripted", messages=script("x"), extra_headers={"x-request-id": "mine-1"})
    assert raw.headers["x-request-id"] == raw.headers["x-trace-id"] == "mine-1"
    assert raw.parse()._request_id == "mine-1"


def test_models(scripted):
    client = scripted.openai()
    model = client.models.list().data[0]
    assert (model.id, model.context_length, model.supports_image_in) == ("scripted", 262_144, True)
    assert client.models.retrieve("scripted").id == "scripted"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("none")


def test_tokens_are_estimated(scripted):
    reply = scripted.openai().post(
        "/tokenizers/estimate-token-count", cast_to=object,
        body={"model": "scripted", "messages": [{"role": "user", "content": "12345"}]})
    assert reply == {"data": {"total_tokens": 5}}


def test_the_hosted_services_rules(strict):
    client = strict.openai()
    assert echo(client)["max_tokens"] == 32_768
    echo(client, temperature=1.0, top_p=0.95)
    for fault in [{"temperature": 0.6}, {"top_p": 1.0}, {"n": 2},
                  {"tools": TOOLS, "tool_choice": "required"}]:
        with pytest.raises(openai.BadRequestError) as error:
            echo(client, **fault)
        assert error.value.type == "invalid_request_error"
    instant = {"thinking": {"type": "disabled"}}
    echo(client, temperature=0.6, tools=TOOLS, tool_choice="required", extra_body=instant)


def test_many_clients_at_once(scripted):
    import concurrent.futures
    client = scripted.openai()
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        jobs = [pool.submit(joined, client, script(f"r</think>answer {i}", cut=2, delay_ms=1))
                for i in range(72)]
        for i, job in enumerate(jobs):
            assert job.result()[:2] == ("r", f"answer {i}")

"""Messages through the official Anthropic SDK."""

import json

import anthropic
import pytest
from conftest import call, script, section

TOOLS = [{"name": "get-weather", "description": "Weather",
          "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]
THINKING = {"type": "enabled", "budget_tokens": 1024}
WEATHER = "why</think>Look:" + section(call("get-weather", '{"city": "Bern"}'))


@pytest.fixture(scope="module")
def client(scripted):
    return anthropic.Anthropic(base_url=scripted.url, api_key="none", max_retries=0, timeout=60)


def ask(client, messages, **options):
    options = {"model": "scripted", "max_tokens": 100, "messages": messages, **options}
    return client.messages.create(**options)


def blocks(message):
    """The blocks without what is not the model's."""
    kept = []
    for block in message.content:
        if block.type == "thinking":
            kept.append(("thinking", block.thinking))
        elif block.type == "text":
            kept.append(("text", block.text))
        else:
            kept.append(("tool_use", block.id, block.name, block.input))
    return kept


# What the model writes, and the blocks that a client must get.
CASES = {
    "plain": ("Hm.</think>Hello!", [("thinking", "Hm."), ("text", "Hello!")]),
    "call": (WEATHER, [("thinking", "why"), ("text", "Look:"),
                       ("tool_use", "functions.get-weather:0", "get-weather", {"city": "Bern"})]),
    "section_inside_thinking": (
        "I shall" + section(call("f", "{}")), [("thinking", "I shall"), ("tool_use", "functions.f:0", "f", {})]),
    "many": ("a</think>" + section(*(call("f", json.dumps({"i": i}), i) for i in range(20))),
             [("thinking", "a"), *(("tool_use", f"functions.f:{i}", "f", {"i": i}) for i in range(20))]),
    "large": ("a</think>" + section(call("f", json.dumps({"t": "x" * 200_000}))),
              [("thinking", "a"), ("tool_use", "functions.f:0", "f", {"t": "x" * 200_000})]),
    "no_arguments": ("a</think>" + section(call("f", "")),
                     [("thinking", "a"), ("tool_use", "functions.f:0", "f", {})]),
}


@pytest.mark.parametrize("cut", [None, 3])
@pytest.mark.parametrize("name", CASES)
def test_nothing_leaks_and_nothing_is_lost(client, name, cut):
    output, expected = CASES[name]
    if name == "large" and cut:
        cut = 997
    messages = script(output, cut=cut)
    whole = ask(client, messages, thinking=THINKING)
    assert blocks(whole) == expected
    calls = any(block[0] == "tool_use" for block in expected)
    assert whole.stop_reason == ("tool_use" if calls else "end_turn")
    with client.messages.stream(
            model="scripted", max_tokens=100, messages=messages, thinking=THINKING) as stream:
        streamed = stream.get_final_message()
    assert blocks(streamed) == expected
    assert streamed.stop_reason == whole.stop_reason
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert streamed.usage.input_tokens == whole.usage.input_tokens


def test_the_order_of_events(client):
    kinds = []
    for event in ask(client, script(WEATHER, cut=4), thinking=THINKING, stream=True):
        name = event.type
        if name == "content_block_start":
            name += ":" + event.content_block.type
        if name == "content_block_delta":
            name += ":" + event.delta.type
        if not kinds or kinds[-1] != name:
            kinds.append(name)
    assert kinds == [
        "message_start",
        "content_block_start:thinking", "content_block_delta:thinking_delta",
        "content_block_delta:signature_delta", "content_block_stop",
        "content_block_start:text", "content_block_delta:text_delta", "content_block_stop",
        "content_block_start:tool_use", "content_block_delta:input_json_delta", "content_block_stop",
        "message_delta", "message_stop"]


def echo(client, messages=None, **options):
    reply = ask(client, (messages or []) + script(echo=True), **options)
    return json.loads(reply.content[-1].text)


def test_what_a_client_sends_reaches_the_model(client):
    # Newer SDKs have no arguments for how tokens are drawn; older ones send the same keys.
    drawing = {"temperature": 0.25, "top_p": 0.5, "top_k": 7}
    seen = echo(client, stop_sequences=["END"], max_tokens=33, extra_body=drawing,
                system="Be brief.", tools=TOOLS, tool_choice={"type": "tool", "name": "get-weather"})
    assert (seen["temperature"], seen["top_p"], seen["top_k"]) == (0.25, 0.5, 7)
    assert seen["stop"] == ["END"] and seen["max_tokens"] == 33 and seen["tools"] == 1
    assert seen["tool_choice"] == 'Function("get-weather")'
    assert seen["messages"][0] == {
        "role": "system", "text": "Be brief.", "reasoning": None, "partial": False,
        "tool_call_id": None, "tool_calls": []}
    assert seen["thinking"] is False
    assert echo(client, tool_choice={"type": "any"}, tools=TOOLS)["tool_choice"] == "Required"


def test_a_tool_loop_goes_round(client):
    first = ask(client, script(WEATHER), thinking=THINKING, tools=TOOLS)
    history = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": first.content[-1].id, "content": [
                {"type": "text", "text": "Sun"}]}]},
    ]
    seen = echo(client, history, thinking=THINKING, tools=TOOLS)["messages"]
    assert seen[1]["reasoning"] == "why" and seen[1]["tool_calls"] == ["functions.get-weather:0"]
    assert seen[2] == {"role": "tool", "text": "Sun", "reasoning": None, "partial": False,
                       "tool_call_id": "functions.get-weather:0", "tool_calls": []}


def test_pictures(client):
    content = [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
               {"type": "text", "text": "look"}]
    assert echo(client, [{"role": "user", "content": content}])["media"] == ["data:image/png;base64,AAAA"]
    content = [{"type": "image", "source": {"type": "url", "url": "http://169.254.169.254/"}}]
    with pytest.raises(anthropic.BadRequestError):
        ask(client, [{"role": "user", "content": content}])


def test_an_answer_can_be_begun(client):
    messages = script(echo=True) + [{"role": "assistant", "content": "{\"a\":"}]
    reply = ask(client, messages)
    assert json.loads(reply.content[0].text)["messages"][-1]["partial"] is True


def test_usage_tells_what_was_cached(client):
    messages = script("a</think>b", cut=1)
    usage = ask(client, messages, thinking=THINKING).usage
    assert usage.input_tokens + usage.cache_read_input_tokens == len(messages[0]["content"])
    assert usage.cache_read_input_tokens == len(messages[0]["content"]) // 2
    assert usage.output_tokens == len("a</think>b")


@pytest.mark.parametrize("stop, reason", [("D!", "stop_sequence"), ("never", "end_turn")])
def test_the_stop_sequence_is_named(client, stop, reason):
    options = {"stop_sequences": ["also never", stop]}
    whole = ask(client, script("a</think>bcD!ef"), **options)
    assert (whole.stop_reason, whole.stop_sequence) == (reason, stop if reason == "stop_sequence" else None)
    assert whole.content[0].text == ("bc" if whole.stop_sequence else "bcD!ef")
    with client.messages.stream(
            model="scripted", max_tokens=100, messages=script("a</think>bcD!ef", cut=1), **options) as stream:
        streamed = stream.get_final_message()
    assert (streamed.stop_reason, streamed.stop_sequence) == (whole.stop_reason, whole.stop_sequence)


def test_the_prompt_is_counted_at_the_start(scripted_here):
    client = anthropic.Anthropic(base_url=scripted_here.url, api_key="none", max_retries=0, timeout=60)
    messages = script("a</think>b")
    first = next(iter(ask(client, messages, stream=True)))
    assert first.message.usage.input_tokens == len(messages[0]["content"])


def test_tokens_are_counted(client):
    count = client.messages.count_tokens(
        model="scripted", messages=[{"role": "user", "content": "12345"}])
    assert count.input_tokens == 5


def test_errors_are_the_sdks_own(client):
    with pytest.raises(anthropic.NotFoundError) as error:
        ask(client, script("x"), model="claude-1")
    assert error.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError) as error:
        ask(client, [{"role": "wizard", "content": "x"}])
    assert error.value.body["error"]["type"] == "invalid_request_error"
    assert "messages[0].role" in error.value.body["error"]["message"]
    with pytest.raises(anthropic.BadRequestError):
        ask(client, script("x"), tools=[{"type": "web_search_20250305", "name": "web_search"}])
    with pytest.raises(anthropic.APIError) as error:
        for _ in ask(client, script("abc", cut=1, fail=2), stream=True):
            pass
    assert "the script fails" in str(error.value)


def test_the_hosted_services_address(scripted):
    client = anthropic.Anthropic(base_url=scripted.url + "/anthropic", api_key="none", max_retries=0)
    assert ask(client, script("</think>hello")).content[0].text == "hello"

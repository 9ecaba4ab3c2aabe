"""Responses through the official OpenAI SDK."""

import json

import openai
import pydantic
import pytest
from conftest import call, script, section

TOOLS = [{"type": "function", "name": "get-weather", "description": "Weather", "strict": False,
          "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]
WEATHER = "why</think>Look:" + section(call("get-weather", '{"city": "Bern"}'))


@pytest.fixture(scope="module")
def client(scripted):
    return scripted.openai()


def ask(client, messages, **options):
    return client.responses.create(model="scripted", input=messages, **options)


def items(response):
    """The items without what is not the model's."""
    kept = []
    for item in response.output:
        if item.type == "reasoning":
            kept.append(("reasoning", "".join(part.text for part in item.content)))
        elif item.type == "message":
            kept.append(("message", "".join(part.text for part in item.content)))
        else:
            kept.append(("call", item.call_id, item.name, item.arguments))
    return kept


CASES = {
    "plain": ("Hm.</think>Hello!", [("reasoning", "Hm."), ("message", "Hello!")]),
    "call": (WEATHER, [("reasoning", "why"), ("message", "Look:"),
                       ("call", "functions.get-weather:0", "get-weather", '{"city": "Bern"}')]),
    "section_inside_thinking": (
        "I shall" + section(call("f", "{}")), [("reasoning", "I shall"), ("call", "functions.f:0", "f", "{}")]),
    "many": ("a</think>" + section(*(call("f", json.dumps({"i": i}), i) for i in range(20))),
             [("reasoning", "a"), *(("call", f"functions.f:{i}", "f", json.dumps({"i": i})) for i in range(20))]),
    "large": ("a</think>" + section(call("f", json.dumps({"t": "x" * 200_000}))),
              [("reasoning", "a"), ("call", "functions.f:0", "f", json.dumps({"t": "x" * 200_000}))]),
}


@pytest.mark.parametrize("cut", [None, 3])
@pytest.mark.parametrize("name", CASES)
def test_nothing_leaks_and_nothing_is_lost(client, name, cut):
    output, expected = CASES[name]
    if name == "large" and cut:
        cut = 997
    messages = script(output, cut=cut)
    whole = ask(client, messages, tools=TOOLS)
    assert items(whole) == expected and whole.status == "completed"
    text = next((said for kind, said, *_ in expected if kind == "message"), "")
    assert whole.output_text == text
    with client.responses.stream(model="scripted", input=messages, tools=TOOLS) as stream:
        deltas = {}
        for event in stream:
            if event.type.endswith(".delta"):
                deltas[event.output_index] = deltas.get(event.output_index, "") + event.delta
        final = stream.get_final_response()
    assert items(final) == expected
    assert [deltas.get(index, "") for index in range(len(expected))] == [
        item[-1] if item[0] == "call" else item[1] for item in expected]
    assert final.usage == whole.usage


def test_the_order_of_events(client):
    kinds = []
    last = -1
    for event in ask(client, script(WEATHER, cut=4), tools=TOOLS, stream=True):
        assert event.sequence_number == last + 1
        last = event.sequence_number
        name = event.type.removeprefix("response.")
        if not kinds or kinds[-1] != name:
            kinds.append(name)
    assert kinds == [
        "created", "in_progress",
        "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done",
        "content_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done",
        "output_item.done", "completed"]


def echo(client, items=None, **options):
    """The request as the model saw it."""
    return json.loads(ask(client, (items or []) + script(echo=True), **options).output_text)


def test_what_a_client_sends_reaches_the_model(client):
    seen = echo(client, instructions="Be brief.", temperature=0.25, top_p=0.5, max_output_tokens=33, tools=TOOLS,
                tool_choice={"type": "function", "name": "get-weather"}, reasoning={"effort": "none"})
    assert (seen["temperature"], seen["top_p"], seen["max_tokens"]) == (0.25, 0.5, 33)
    assert seen["tool_choice"] == 'Function("get-weather")' and seen["tools"] == 1
    assert seen["messages"][0]["role"] == "system" and seen["messages"][0]["text"] == "Be brief."
    assert seen["thinking"] is False
    assert echo(client)["thinking"] is True


def test_a_tool_loop_goes_round(client):
    first = ask(client, script(WEATHER), tools=TOOLS)
    history = [{"role": "user", "content": "Weather?"}, *first.output,
               {"type": "function_call_output", "call_id": first.output[-1].call_id, "output": "Sun"}]
    seen = echo(client, history, tools=TOOLS)["messages"]
    assert seen[1]["reasoning"] == "why" and seen[1]["text"] == "Look:"
    assert seen[1]["tool_calls"] == ["functions.get-weather:0"]
    assert seen[2]["role"] == "tool" and seen[2]["text"] == "Sun"


class Cat(pydantic.BaseModel):
    name: str
    lives: int


def test_parsed_answers(client):
    cat = '{"name": "Mia", "lives": 9}'
    response = client.responses.parse(model="scripted", input=script("a</think>" + cat), text_format=Cat)
    assert response.output_parsed == Cat(name="Mia", lives=9)
    form = {"format": {"type": "json_schema", "name": "cat", "strict": True, "schema": Cat.model_json_schema()}}
    seen = echo(client, text=form)
    assert seen["response_format"].startswith('JsonSchema { name: "cat"')


def test_pictures(client):
    parts = [{"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"},
             {"type": "input_text", "text": "look"}]
    assert echo(client, [{"role": "user", "content": parts}])["media"] == ["data:image/png;base64,AAAA"]


def test_usage_and_what_is_repeated(client):
    messages = script("ab</think>cd", cut=1)
    response = ask(client, messages, metadata={"a": "b"}, temperature=0.5)
    assert response.usage.input_tokens == len(messages[0]["content"])
    assert response.usage.input_tokens_details.cached_tokens == len(messages[0]["content"]) // 2
    assert response.usage.output_tokens == len("ab</think>cd")
    assert response.usage.output_tokens_details.reasoning_tokens == 2
    assert response.metadata == {"a": "b"} and response.temperature == 0.5 and response.store is False


def test_log_probabilities(client):
    response = ask(client, script("a</think>bc", cut=1), top_logprobs=2, include=["message.output_text.logprobs"])
    tokens = response.output[-1].content[0].logprobs
    assert "".join(token.token for token in tokens) == "bc" and len(tokens[0].top_logprobs) == 2


def test_cut_by_length(client):
    response = ask(client, script("a</think>b", length=True))
    assert response.status == "incomplete" and response.incomplete_details.reason == "max_output_tokens"


def test_one_call_at_a_time(client):
    output = "a</think>" + section(call("f", "1", 0), call("g", "2", 1))
    response = ask(client, script(output), tools=TOOLS, parallel_tool_calls=False)
    assert [item.name for item in response.output if item.type == "function_call"] == ["f"]


def test_errors_are_the_sdks_own(client):
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="gpt-4", input="x")
    with pytest.raises(openai.BadRequestError) as error:
        ask(client, "x", previous_response_id="resp_1")
    assert error.value.param == "previous_response_id" and "hint" in error.value.message
    with pytest.raises(openai.BadRequestError) as error:
        ask(client, "x", tools=[{"type": "web_search"}])
    assert error.value.param == "tools[0].type"
    with pytest.raises(openai.InternalServerError):
        ask(client, script("abc", cut=1, fail=2))
    last = None
    for last in ask(client, script("abc", cut=1, fail=2), stream=True):
        pass
    assert last.type == "response.failed" and "the script fails" in last.response.error.message

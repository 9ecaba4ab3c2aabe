"""Files through the official OpenAI SDK."""

import json

import openai
import pytest
from conftest import script

PNG = b"\x89PNG\r\n\x1a\n0123"


@pytest.fixture(scope="module")
def client(scripted):
    return scripted.openai()


def test_files_come_are_used_and_go(client):
    file = client.files.create(file=("cat.png", PNG), purpose="image")
    assert file.filename == "cat.png" and file.bytes == len(PNG) and file.purpose == "image"
    assert client.files.retrieve(file.id) == file
    assert file.id in [listed.id for listed in client.files.list()]
    assert client.files.content(file.id).content == PNG
    for parts in (
        [{"type": "image_url", "image_url": {"url": f"ms://{file.id}"}}],
        [{"type": "image_url", "image_url": {"url": file.id}}],
    ):
        messages = [{"role": "user", "content": parts}, *script(echo=True)]
        reply = client.chat.completions.create(model="scripted", messages=messages)
        seen = json.loads(reply.choices[0].message.content)
        assert seen["media"] == ["data:image/png;base64,iVBORw0KGgowMTIz"]
    items = [{"role": "user", "content": [{"type": "input_image", "file_id": file.id, "detail": "auto"}]}]
    reply = client.responses.create(model="scripted", input=items + script(echo=True))
    assert json.loads(reply.output_text)["media"] == ["data:image/png;base64,iVBORw0KGgowMTIz"]
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_the_text_of_a_document(client):
    file = client.files.create(file=("notes.md", "# Büro".encode()), purpose="file-extract")
    assert json.loads(client.files.content(file.id).text)["content"] == "# Büro"


def test_what_is_no_picture_is_refused(client):
    with pytest.raises(openai.BadRequestError) as error:
        client.files.create(file=("cat.png", b"no"), purpose="image")
    assert error.value.param == "file"
    with pytest.raises(openai.BadRequestError) as error:
        client.files.create(file=("a.jsonl", b"{}"), purpose="fine-tune")
    assert error.value.param == "purpose"

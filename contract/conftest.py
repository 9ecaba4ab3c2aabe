"""Servers for the suite: real processes, one of each kind for the whole run."""

import json
import os
import pathlib
import signal
import subprocess

import openai
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "fixtures"


def program(name):
    """A built program; `cargo xtask contract` says where they are."""
    path = os.environ.get(name)
    assert path, f"{name} is not set: run the suite with `cargo xtask contract`"
    return path


class Server:
    """A process that prints its address."""

    def __init__(self, command, environment=None):
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        line = self.process.stdout.readline()
        assert "http://" in line, f"no address: {line}{self.process.stderr.read()}"
        self.url = "http://" + line.split("http://")[1].split("/")[0].strip()

    def stop(self):
        """Asks it to stop as a service manager does; it must do so, and well."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, errors
        assert "panicked" not in errors, errors

    def openai(self, **options):
        options = {"api_key": "none", "max_retries": 0, "timeout": 60, **options}
        return openai.OpenAI(base_url=self.url + "/v1", **options)


@pytest.fixture(scope="session", params=["here", "upstream"])
def scripted(request, tmp_path_factory):
    """The scripted model, by itself and behind a server that asks it over HTTP: clients see no difference."""
    data = str(tmp_path_factory.mktemp("data"))
    behind = Server([program("K25_SCRIPTED_SERVER")], {"K25_DATA": data})
    if request.param == "here":
        yield behind
    else:
        front = Server([program("K25"), "serve", "--port", "0", "--log", "off",
                        "--upstream", behind.url + "/v1", "--name", "scripted", "--alias", "kimi-k2.5", "--data", data + "-front"])
        yield front
        front.stop()
    behind.stop()


@pytest.fixture(scope="session")
def scripted_here():
    """The scripted model by itself: what only the model's own server knows."""
    server = Server([program("K25_SCRIPTED_SERVER")])
    yield server
    server.stop()


@pytest.fixture(scope="session")
def strict():
    server = Server([program("K25_SCRIPTED_SERVER")], {"K25_KIMI_STRICT": "1"})
    yield server
    server.stop()


@pytest.fixture(scope="session")
def computed():
    server = Server(
        [program("K25"), "serve", str(FIXTURES / "t1"), "--tokenizer", str(FIXTURES / "tokenizer"),
         "--port", "0", "--name", "fixture", "--alias", "kimi-k2.5", "--context", "4096",
         "--log", "off"]
    )
    yield server
    server.stop()


def script(output=None, **more):
    """The messages that make the scripted model say `output`."""
    body = {**({} if output is None else {"output": output}), **more}
    return [{"role": "user", "content": json.dumps(body)}]


def call(name, arguments, index=0, prefix="functions."):
    """A tool call as the model writes it."""
    return (f"<|tool_call_begin|>{prefix}{name}:{index}<|tool_call_argument_begin|>"
            f"{arguments}<|tool_call_end|>")


def section(*calls):
    """A section of tool calls as the model writes it."""
    return "<|tool_calls_section_begin|>" + "".join(calls) + "<|tool_calls_section_end|>"

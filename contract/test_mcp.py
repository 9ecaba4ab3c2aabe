"""MCP both ways with the official Python SDK: its client drives `k25 mcp`, and `k25 agent` calls the
tools of its servers. The model is a script behind a real endpoint."""

import asyncio
import json
import pathlib
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from mcp import Client, StdioServerParameters

from conftest import program

HERE = pathlib.Path(__file__).resolve().parent


class Model:
    """An OpenAI-compatible endpoint that says what `script(names of tools, results so far)` returns:
    a text, or a name and arguments of one call."""

    def __init__(self, script):
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                tools = [tool["function"]["name"] for tool in request.get("tools", [])]
                results = [m["content"] for m in request["messages"] if m["role"] == "tool"]
                said = script(tools, results)
                delta = {"role": "assistant", "content": said}
                if not isinstance(said, str):
                    name, arguments = said
                    call = {"index": 0, "id": f"functions.{name}:{len(results)}", "type": "function",
                            "function": {"name": name, "arguments": json.dumps(arguments)}}
                    delta = {"role": "assistant", "tool_calls": [call]}
                end = "stop" if isinstance(said, str) else "tool_calls"
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.end_headers()
                for chunk in [{"index": 0, "delta": delta, "finish_reason": None},
                              {"index": 0, "delta": {}, "finish_reason": end}]:
                    body = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "m",
                            "choices": [chunk]}
                    self.wfile.write(f"data: {json.dumps(body)}\n\n".encode())
                self.wfile.write(b"data: [DONE]\n\n")

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def swarm_script(tools, results):
    if "create_subagent" in tools:
        return [("create_subagent", {"name": "reader", "system_prompt": "Read."}),
                ("assign_task", {"agent": "reader", "prompt": "Read a.md."}),
                "The table is complete."][min(len(results), 2)]
    return [("open", {"path": "a.md"}),
            ("submit_rows", {"source": "a.md", "rows": [
                {"name": {"value": "Aster", "line": 1}, "size": {"value": 12, "line": 2}}]}),
            "done"][min(len(results), 2)]


@pytest.fixture
def desk(tmp_path):
    docs = tmp_path / "docs" / "flowers"
    docs.mkdir(parents=True)
    (docs / "a.md").write_text("# Aster\nsize: 12 cm\n")
    model = Model(swarm_script)
    return StdioServerParameters(
        command=program("K25"),
        args=["mcp", "--docs", str(tmp_path / "docs"), "--runs", str(tmp_path / "runs"),
              "--model", model.url, "--model-name", "m", "--instant"],
        cwd=str(tmp_path),
    )


def test_a_client_starts_a_swarm_and_reads_its_table(desk):
    async def drive():
        async with Client(desk) as client:
            listed = await client.list_tools()
            assert [tool.name for tool in listed.tools] == [
                "swarm_start", "swarm_state", "swarm_table", "swarm_stop"]
            assert listed.tools[2].annotations.read_only_hint is True
            started = await client.call_tool("swarm_start", {
                "question": "How large is each flower?", "folder": "flowers",
                "columns": "name*, size:number[cm]"})
            assert not started.is_error, started
            run = started.structured_content["run"]
            state = await client.call_tool("swarm_state", {"run": run, "wait_seconds": 60})
            assert state.structured_content["status"] == "ended", state
            assert state.structured_content["cells"]["ok"] == 2
            table = (await client.call_tool("swarm_table", {"run": run})).structured_content
            assert table["row_count"] == 1
            cell = table["rows"][0]["cells"]["size"]
            assert cell["value"] == 12
            assert cell["evidence"]["source"] == "a.md" and cell["evidence"]["line"] == 2
            assert "size: 12 cm" in cell["evidence"]["quote"]
            # The same again as text, for clients that do not know structured results.
            again = await client.call_tool("swarm_stop", {"run": run})
            assert json.loads(again.content[0].text)["status"] == "ended"

    asyncio.run(drive())


def test_wrong_wishes_are_answered_in_words(desk):
    wishes = [
        ("swarm_start", {"question": "x", "folder": "../.."}, "no folder of the documents"),
        ("swarm_start", {"question": "x", "folder": "/etc"}, "no folder of the documents"),
        ("swarm_start", {"question": "x", "columns": "a, a"}, "two columns"),
        ("swarm_start", {}, "question is missing"),
        ("swarm_state", {"run": "ffff"}, "no run"),
        ("swarm_table", {"run": "../runs"}, "no run"),
    ]

    async def drive():
        async with Client(desk) as client:
            for tool, arguments, expected in wishes:
                answer = await client.call_tool(tool, arguments)
                assert answer.is_error, (tool, arguments)
                assert expected in answer.content[0].text, answer.content[0].text

    asyncio.run(drive())


def adding(tools, results):
    return f"The sum is {results[-1]}" if results else ("desk__add", {"a": 40, "b": "2"})


def ask_agent(tmp_path, server):
    (tmp_path / "docs").mkdir()
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"desk": server}}))
    return subprocess.run(
        [program("K25"), "agent", "What is 40 + 2?", "--docs", "docs", "--mcp", "mcp.json",
         "--model", Model(adding).url, "--model-name", "m", "--instant"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120)


def test_an_agent_calls_a_tool_of_a_program(tmp_path):
    server = {"command": sys.executable, "args": ["-B", str(HERE / "mcp_tools.py")]}
    done = ask_agent(tmp_path, server)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "The sum is 42\n"


def test_an_agent_calls_a_tool_over_http(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-B", str(HERE / "mcp_tools.py"), str(port)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        done = ask_agent(tmp_path, {"url": f"http://127.0.0.1:{port}/mcp"})
    finally:
        server.terminate()
        server.wait()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "The sum is 42\n"


def test_a_server_that_is_none_stops_the_run_before_it_begins(tmp_path):
    done = ask_agent(tmp_path, {"command": "no-such-program-anywhere"})
    assert done.returncode == 1
    assert "MCP server desk" in done.stderr and "hint" in done.stderr

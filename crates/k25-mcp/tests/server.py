"""An MCP server in plain Python, well-behaved or not: `server.py stdio MODE FILE` or `server.py http MODE FILE`.

It counts its starts and calls in FILE. Modes: good; mute (never begins); rubbish (lines that are no
JSON); flood (a line without an end); dies (at the first call of each process); hangs (never answers a
call); fails (each call is an error); odd (strange tools and schemas, results of wrong shapes).
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KIND, MODE, FILE = sys.argv[1:4]


def note(word):
    with open(FILE, "a", encoding="utf-8") as file:
        file.write(word + "\n")


def tools():
    adding = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
              "required": ["a", "b"]}
    good = [
        {"name": "add", "description": "Adds.\u200b", "inputSchema": adding,
         "annotations": {"readOnlyHint": True}},
        {"name": "send", "description": "Sends.", "inputSchema": {"type": "object", "properties": {
            "to": {"oneOf": [{"const": "x"}, {"const": "y"}]}, "n": {"type": "integer", "format": "uint8"}}}},
        {"name": "env", "description": "Its environment.", "inputSchema": {"type": "object"}},
    ]
    if MODE != "odd":
        return good
    deep = {"type": "object"}
    for _ in range(60):
        deep = {"type": "object", "properties": {"x": deep}}
    loop = {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}}
    many = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(3000)}}
    return [
        {"name": "same", "inputSchema": deep},
        {"name": "same", "inputSchema": loop},
        {"name": "naïve tool/" + "x" * 200, "description": "y" * 100_000, "inputSchema": many},
    ] + [{"name": f"t{n}", "inputSchema": {"type": "string"}} for n in range(300)]


def called(params):
    note("call " + params.get("name", ""))
    arguments = params.get("arguments") or {}
    if MODE == "dies":
        os._exit(1)
    if MODE == "hangs":
        time.sleep(60)
    if MODE == "fails":
        return {"content": [{"type": "text", "text": "no\u200b such row"}], "isError": True}
    if MODE == "odd":
        return {"content": [{"type": "text", "text": "z" * 3_000_000}]}
    if params["name"] == "add":
        return {"content": [{"type": "text", "text": str(arguments["a"] + arguments["b"])}]}
    if params["name"] == "env":
        return {"content": [{"type": "text", "text": json.dumps(dict(os.environ))}]}
    return {"content": [
        {"type": "text", "text": f"sent {json.dumps(arguments)}"},
        {"type": "image", "data": "aGk=", "mimeType": "image/png"},
    ]}


def answer(message):
    """The reply to a message; `None` for a notification."""
    if "id" not in message:
        return None
    method, params = message.get("method"), message.get("params") or {}
    if method == "initialize":
        result = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}},
                  "serverInfo": {"name": "plain", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": tools()}
    elif method == "tools/call":
        result = called(params)
    elif method == "ping":
        result = {}
    else:
        return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no such method"}}
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def stdio():
    note("start")
    if MODE == "mute":
        time.sleep(60)
    if MODE == "flood":
        while True:
            sys.stdout.write("x" * 65536)
    if MODE == "rubbish":
        print("hello\n{]\n[1, 2]\n{\"jsonrpc\": \"2.0\"}\n\u0000", flush=True)
        sys.exit(0)
    for line in sys.stdin:
        reply = answer(json.loads(line))
        if reply is not None:
            print(json.dumps(reply), flush=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        note("authorization " + (self.headers.get("authorization") or "none"))
        reply = answer(json.loads(body))
        text = b"" if reply is None else json.dumps(reply).encode()
        self.send_response(202 if reply is None else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        self.send_response(405)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


if KIND == "stdio":
    stdio()
else:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()

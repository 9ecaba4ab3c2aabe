"""An MCP server by the official SDK: `mcp_tools.py` speaks on standard input and output,
`mcp_tools.py PORT` over streamable HTTP."""

import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("desk")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run()

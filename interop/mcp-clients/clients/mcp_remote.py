"""mcp-remote, as a program with stdio only starts it: the command of an MCP server.

usage: mcp_remote.py NODE_MODULES, with the variable MCP_REMOTE_CONFIG_DIR set to a new directory,
where mcp-remote stores its registration and tokens.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from repl import MCP_URL, obey

COMMAND = ["node", Path(sys.argv[1]) / "mcp-remote/dist/proxy.js", MCP_URL, "--auth-timeout", "30"]
STORED = Path(os.environ["MCP_REMOTE_CONFIG_DIR"])


class Remote:
    """A running mcp-remote, to which this program is the host."""

    def __init__(self):
        self.process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.asked = 0
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}}
        self.ask("initialize", hello | {"clientInfo": {"name": "interop", "version": "0"}})
        self.send({"method": "notifications/initialized"})

    def send(self, message):
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0"} | message) + "\n")
        self.process.stdin.flush()

    def ask(self, method, params):
        self.asked += 1
        self.send({"id": self.asked, "method": method, "params": params})
        for line in self.process.stdout:
            message = json.loads(line)
            if message.get("id") == self.asked:
                if "error" in message:
                    raise RuntimeError(message["error"]["message"])
                return message["result"]
        self.process.wait()
        raise EOFError("mcp-remote ended")


remote = None


def ask(tool):
    global remote
    if remote is None or remote.process.poll() is not None:
        remote = Remote()
    result = remote.ask("tools/call", {"name": tool, "arguments": {}})
    return result["content"][0]["text"]


async def call(tool):
    return await asyncio.to_thread(ask, tool)


def stored(name):
    """Returns the path and the content of a file that mcp-remote stores."""
    [path] = STORED.glob(f"*/*_{name}.json")
    return path, json.loads(path.read_text())


async def tokens_and_client_id():
    (_, tokens), (_, client) = stored("tokens"), stored("client_info")
    return SimpleNamespace(**tokens), client["client_id"]


def let_an_hour_pass():
    """Moves the stored expiry of the token back, because mcp-remote reads the clock itself."""
    path, tokens = stored("tokens")
    path.write_text(json.dumps(tokens | {"expires_at": tokens["expires_at"] - 66 * 60 * 1000}))
    return ""


asyncio.run(obey(call, tokens_and_client_id, let_an_hour_pass))
if remote is not None:
    remote.process.kill()

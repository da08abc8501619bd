"""The MCP Inspector's command line, once for each call.

usage: inspector_cli.py NODE_MODULES, with the variable MCP_STORAGE_DIR set to a new directory, where
the Inspector stores its registration and tokens.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

from repl import MCP_URL, obey

COMMAND = ["node", Path(sys.argv[1]) / "@modelcontextprotocol/inspector/clients/launcher/build/index.js"]
STORED = Path(os.environ["MCP_STORAGE_DIR"])
SETTINGS = {
    # Without a terminal, the Inspector opens a browser only with this variable.
    "MCP_AUTO_OPEN_ENABLED": "true",
    "MCP_INSPECTOR_SECRET_STORE": "file",
}


async def call(tool):
    arguments = ["--cli", "--server-url", MCP_URL, "--format", "json", "--quiet"]
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        *("--method", "tools/call", "--tool-name", tool),
        env=os.environ | SETTINGS,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    # The user agrees to a step-up.
    said, complaints = await process.communicate(b"y\n")
    sys.stderr.write(complaints.decode())
    if process.returncode:
        raise RuntimeError(reason(complaints.decode()))
    return json.loads(said)["result"]["content"][0]["text"]


def reason(complaints):
    """Returns the message of the error, which is the only line in JSON."""
    for line in reversed(complaints.splitlines()):
        if line.startswith("{"):
            return json.loads(line)["error"]["message"]
    return complaints


async def tokens_and_client_id():
    [server] = json.loads((STORED / "oauth.json").read_text())["servers"].values()
    [issued] = server["byIssuer"].values()
    secrets = json.loads((STORED / "secrets.json").read_text())["secrets"]
    [tokens] = (json.loads(secret) for name, secret in secrets.items() if ":tokens:" in name)
    return SimpleNamespace(**tokens), issued["clientInformation"]["client_id"]


def let_an_hour_pass():
    """Does nothing: the Inspector refreshes when the server refuses a token."""
    return ""


asyncio.run(obey(call, tokens_and_client_id, let_an_hour_pass))

"""Shared code of the clients in Python: reads commands line by line, see `play.py`."""

import asyncio
import json
import os
import sys
import time
import urllib.parse
import urllib.request

MCP_URL = os.environ["MCP_URL"]


def jump():
    """Moves this process's clock forward by 66 minutes, past the expiry of the token."""
    before = time.time
    time.time = lambda: before() + 66 * 60
    return ""


async def obey(call, tokens_and_client_id, let_an_hour_pass=jump):
    """Runs commands until the input ends.

    `call` calls the tool that it is given; `tokens_and_client_id` reads the client's own storage.
    """
    while command := (await asyncio.to_thread(sys.stdin.readline)).strip():
        try:
            if command.startswith("call "):
                said = await call(command.removeprefix("call "))
            elif command == "an hour passes":
                said = let_an_hour_pass()
            elif command == "revoke":
                said = revoke(*await tokens_and_client_id())
            else:
                raise ValueError(command)
            print("ok", said, flush=True)
        except Exception as error:
            print("failed", "; ".join(leaves(error)).replace("\n", " "), flush=True)


def leaves(error):
    """Returns the messages of all exceptions in a group. The group's own message says nothing."""
    inner = getattr(error, "exceptions", [])
    return [leaf for each in inner for leaf in leaves(each)] or [f"{type(error).__name__}: {error}"]


def revoke(tokens, client_id):
    """Revokes the refresh token (RFC 7009). No client has a function for this alone."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    origin = MCP_URL.removesuffix("/mcp")
    with opener.open(f"{origin}/.well-known/oauth-authorization-server", timeout=30) as answer:
        endpoint = json.load(answer)["revocation_endpoint"]
    form = urllib.parse.urlencode({"token": tokens.refresh_token, "client_id": client_id})
    with opener.open(endpoint, form.encode(), timeout=30) as answer:
        return answer.status

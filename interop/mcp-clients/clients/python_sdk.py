"""The MCP SDK for Python: `OAuthClientProvider`, with a loopback listener, which it lacks."""

import asyncio
import webbrowser
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qsl, urlsplit

import httpx2
from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

from repl import MCP_URL, obey


class Storage:
    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class Callback(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.answer = dict(parse_qsl(urlsplit(self.path).query))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


async def open_browser(url):
    webbrowser.open(url)


async def come_back():
    await asyncio.to_thread(listener.handle_request)
    if "error" in listener.answer:
        raise PermissionError(listener.answer["error"])
    return AuthorizationCodeResult(**listener.answer)


async def call(tool):
    async with (
        httpx2.AsyncClient(auth=provider, timeout=30) as http,
        streamable_http_client(MCP_URL, http_client=http) as (read, write, *_),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        result = await session.call_tool(tool)
        return result.content[0].text


async def tokens_and_client_id():
    return storage.tokens, storage.client.client_id


listener = HTTPServer(("127.0.0.1", 0), Callback)
storage = Storage()
provider = OAuthClientProvider(
    MCP_URL,
    OAuthClientMetadata(
        client_name="The MCP SDK for Python",
        redirect_uris=[f"http://127.0.0.1:{listener.server_port}/callback"],
        token_endpoint_auth_method="none",
    ),
    storage,
    open_browser,
    come_back,
)
asyncio.run(obey(call, tokens_and_client_id))

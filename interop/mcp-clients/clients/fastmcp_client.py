"""FastMCP's client, with its own OAuth, listener and browser (`BROWSER`)."""

import asyncio

from fastmcp import Client

from repl import MCP_URL, obey

client = Client(MCP_URL, auth="oauth")


async def call(tool):
    async with client:
        result = await client.call_tool(tool)
        return result.content[0].text


async def tokens_and_client_id():
    storage = client.transport.auth.token_storage_adapter
    return await storage.get_tokens(), (await storage.get_client_info()).client_id


asyncio.run(obey(call, tokens_and_client_id))

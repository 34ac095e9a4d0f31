"""The same client on the Python SDK 2.x.

    python client.py < {"url", "token", "mode": "auto" | "legacy", "calls": [[NAME, ARGUMENTS], ...]}
"""

import asyncio
import json
import sys

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitResult, ListRootsResult, Root


async def elicited(context, params):
    return ElicitResult(action="accept", content={"name": "Ada"})


async def rooted(context):
    return ListRootsResult(roots=[Root(uri="file:///a")])


async def main():
    plan = json.load(sys.stdin)
    progress, said = [], {}

    async def heard(done, total, message):
        progress.append(done)

    headers = {"authorization": f"Bearer {plan['token']}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(plan["url"], http_client=http)
        options = {"elicitation_callback": elicited, "list_roots_callback": rooted, "mode": plan["mode"]}
        async with Client(transport, **options) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            for name, given in plan["calls"]:
                result = await client.call_tool(name, given, progress_callback=heard if name == "count" else None)
                said[name] = "\n".join(getattr(part, "text", "") for part in result.content)
            server = client.server_info.name if client.server_info else None
            line = {"protocol": client.protocol_version, "server": server, "tools": tools, "said": said, "progress": progress}
            print(json.dumps(line), flush=True)


asyncio.run(asyncio.wait_for(main(), 90))

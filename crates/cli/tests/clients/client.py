"""A client as its author would write it on the Python SDK: it knows one URL, and finds out the rest.

    python client.py < {"url", "era": "auto" | "legacy", "steps": [...], "node", "browser", ...}

Prints one JSON line for each login and each step, the same as client.mjs beside it.
"""

import asyncio
import json
import sys
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import OAuthClientProvider, TokenStorage
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata


def say(**line):
    print(json.dumps(line), flush=True)


class Kept(TokenStorage):
    tokens = None
    client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class Person:
    """Opens the address in a browser, and listens for where it comes back."""

    def __init__(self, plan):
        self.plan = plan
        self.logins = 0
        self.arrived = asyncio.Queue()

    async def listen(self):
        server = await asyncio.start_server(self.back, "127.0.0.1", 0)
        self.redirect = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/callback"

    async def back(self, reader, writer):
        target = (await reader.readline()).decode().split(" ")[1]
        if target.startswith("/callback"):
            self.arrived.put_nowait({name: values[0] for name, values in parse_qs(urlsplit(target).query).items()})
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\ndone.")
        await writer.drain()
        writer.close()

    async def open(self, url):
        self.logins += 1
        plan = {**self.plan, "url": url, "redirect": self.redirect, "name": f"{self.plan['name']}-{self.logins}"}
        pipe = asyncio.subprocess.PIPE
        browser = await asyncio.create_subprocess_exec(self.plan["node"], self.plan["browser"], stdin=pipe, stdout=pipe)
        output, _ = await browser.communicate(json.dumps(plan).encode())
        if browser.returncode:
            raise RuntimeError("the browser did not come back")
        asked = parse_qs(urlsplit(url).query).get("scope", [""])[0]
        say(login=self.logins, asked=asked, complaints=json.loads(output)["complaints"])

    async def callback(self):
        arrived = await self.arrived.get()
        return AuthorizationCodeResult(code=arrived["code"], state=arrived.get("state"), iss=arrived.get("iss"))


async def main():
    plan = json.load(sys.stdin)
    person = Person(plan)
    await person.listen()
    metadata = OAuthClientMetadata(
        client_name="Python client",
        redirect_uris=[person.redirect],
        grant_types=["authorization_code", "refresh_token"],
        token_endpoint_auth_method="none",
    )
    auth = OAuthClientProvider(plan["url"], metadata, Kept(), person.open, person.callback)
    async with httpx2.AsyncClient(auth=auth, timeout=60, follow_redirects=True) as http:
        async with Client(streamable_http_client(plan["url"], http_client=http), mode=plan["era"]) as client:
            say(protocol=client.protocol_version)
            for step in plan["steps"]:
                if step.get("list"):
                    say(tools=[tool.name for tool in (await client.list_tools()).tools])
                else:
                    result = await client.call_tool(step["call"], step["arguments"])
                    text = "\n".join(getattr(part, "text", "") for part in result.content)
                    say(called=step["call"], error=result.is_error, text=text)


asyncio.run(asyncio.wait_for(main(), 120))

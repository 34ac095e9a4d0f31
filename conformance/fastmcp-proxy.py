"""FastMCP's proxy in front of one MCP server, with its verifier of JWTs: what `cargo xtask bench` measures the gateway beside.

fastmcp-proxy.py BEHIND PORT PUBLIC_KEY_PEM ISSUER AUDIENCE SCOPE
"""

import sys
from pathlib import Path

from fastmcp.server import create_proxy
from fastmcp.server.auth.providers.jwt import JWTVerifier

behind, port, key, issuer, audience, scope = sys.argv[1:]
auth = JWTVerifier(
    public_key=Path(key).read_text(),
    issuer=issuer,
    audience=audience,
    algorithm="ES256",
    required_scopes=[scope],
)
create_proxy(f"http://{behind}/mcp", name="proxy", auth=auth).run(
    transport="http",
    host="127.0.0.1",
    port=int(port),
    path="/mcp",
    show_banner=False,
    log_level="critical",
    json_response=True,
    stateless_http=True,
    uvicorn_config={"access_log": False},
)

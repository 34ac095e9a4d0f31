"""idpyoidc as the authorization server of a test: its tokens have no `typ`, and their `aud` is not the resource that was asked for.

    python idpyoidc_server.py CONFIG    prints one line, {"url": ISSUER}, when it serves

CONFIG is JSON: {"port", "folder": for its keys, "audience": what it puts into `aud`, a list}. Its client `agent` has the secret
`agent-secret`.
"""

import json
import sys

from flask import Flask, Response, request
from idpyoidc.server import Server
from idpyoidc.server.configure import ASConfiguration
from werkzeug.serving import make_server

CONFIG = json.loads(sys.argv[1])
ISSUER = f"http://127.0.0.1:{CONFIG['port']}"
TOKEN = "idpyoidc.server.oauth2.token"


def crypt():
    keys = [{"type": "OCT", "use": ["enc"], "kid": kid} for kid in ("password", "salt")]
    return {"kwargs": {"keys": {"key_defs": keys}, "iterations": 1}}


server = Server(
    ASConfiguration(
        base_path=CONFIG["folder"],
        conf={
            "issuer": ISSUER,
            "httpc_params": {"verify": False, "timeout": 2},
            "preference": {"grant_types_supported": ["client_credentials"], "scopes_supported": ["crm:read"]},
            "keys": {
                "uri_path": "jwks", "key_defs": [{"type": "EC", "crv": "P-256", "use": ["sig"]}],
                "private_path": "private/jwks.json", "read_only": False,
            },
            "endpoint": {
                "provider_info": {
                    "path": ".well-known/oauth-authorization-server",
                    "class": "idpyoidc.server.oauth2.server_metadata.ServerMetadata", "kwargs": {},
                },
                "token": {
                    "path": "token", "class": f"{TOKEN}.Token",
                    "kwargs": {
                        "client_authn_method": ["client_secret_basic"],
                        "grant_types_helpers": {
                            "client_credentials": {"class": f"{TOKEN}_helper.client_credentials.ClientCredentials"},
                        },
                    },
                },
            },
            "authz": {
                "class": "idpyoidc.server.authz.AuthzHandling",
                "kwargs": {"grant_config": {"usage_rules": {"access_token": {"expires_in": 600}}, "expires_in": 43200}},
            },
            "token_handler_args": {
                "jwks_def": {
                    "private_path": "private/token_jwks.json", "read_only": False,
                    "key_defs": [{"type": "oct", "bytes": 24, "use": ["enc"], "kid": kid} for kid in ("code", "refresh")],
                },
                "code": {"kwargs": {"lifetime": 60, "crypt_conf": crypt()}},
                "token": {
                    "class": "idpyoidc.server.token.jwt_token.JWTToken",
                    "kwargs": {"lifetime": 600, "add_claims_by_scope": True, "aud": CONFIG["audience"]},
                },
                "refresh": {"class": "idpyoidc.server.token.jwt_token.JWTToken", "kwargs": {"lifetime": 600, "aud": [ISSUER]}},
            },
            "session_params": {"encrypter": crypt()},
        },
    ),
    cwd=CONFIG["folder"],
)
server.context.map_supported_to_preferred()
server.context.cdb["agent"] = {
    "client_id": "agent", "client_secret": "agent-secret", "client_salt": "salted",
    "token_endpoint_auth_method": "client_secret_basic", "grant_types_supported": ["client_credentials"],
    "allowed_scopes": ["crm:read"], "redirect_uris": [], "response_types_supported": [],
}
server.keyjar.add_symmetric("agent", "agent-secret")

app = Flask(__name__)


def answered(name, arguments):
    endpoint = server.get_endpoint(name)
    head = {
        "headers": {header.lower(): value for header, value in request.headers.items()},
        "method": request.method, "url": request.base_url, "cookie": [],
    }
    parsed = endpoint.parse_request(arguments, http_info=head)
    made = endpoint.process_request(parsed, http_info=head)
    answer = endpoint.do_response(request=parsed, **made)
    return Response(answer["response"], answer.get("response_code", 200), dict(answer["http_headers"]))


@app.get("/.well-known/oauth-authorization-server")
def metadata():
    return answered("server_metadata", {})


@app.get("/jwks")
def jwks():
    return server.keyjar.export_jwks()


@app.post("/token")
def token():
    return answered("token", request.form.to_dict())


listener = make_server("127.0.0.1", CONFIG["port"], app, threaded=True)
print(json.dumps({"url": ISSUER}), flush=True)
listener.serve_forever()

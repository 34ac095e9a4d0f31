"""Authlib as the authorization server of a test (Flask, in memory).

    python authlib_server.py CONFIG    prints one line, {"url": ISSUER}, when it serves

CONFIG is JSON: {"port", "kid": of its key, "agent": the public JWK of the client `agent`,
"seconds": how long tokens of a resource live; as long as Authlib has it for one that is not named, which is ten days,
"opaque": resources whose tokens are no JWTs}.
"""

import json
import secrets
import sys
import time

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, grants, list_to_scope, scope_to_list
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from flask import Flask, jsonify, request
from joserfc.jwk import ECKey, KeySet
from werkzeug.serving import make_server

CONFIG = json.loads(sys.argv[1])
ISSUER = f"http://127.0.0.1:{CONFIG['port']}"
KEY = ECKey.generate_key("P-256", parameters={"kid": CONFIG["kid"], "alg": "ES256", "use": "sig"})


class Client(dict, ClientMixin):
    client_id = property(lambda self: self["client_id"])

    def get_client_id(self):
        return self["client_id"]

    def get_allowed_scope(self, scope):
        return list_to_scope([one for one in scope_to_list(scope or "") if one in self["scope"].split()])

    def check_client_secret(self, secret):
        return secrets.compare_digest(self["client_secret"], secret)

    def check_endpoint_auth_method(self, method, endpoint):
        named = {"client_assertion_jwt": "private_key_jwt"}.get(method, method)
        return named == self["token_endpoint_auth_method"]

    def check_grant_type(self, grant):
        return grant == "client_credentials"


class Token(dict, TokenMixin):
    def check_client(self, client):
        return self["client_id"] == client.get_client_id()

    def get_scope(self):
        return self["scope"]

    def get_expires_in(self):
        return self["expires_in"]

    def is_expired(self):
        return self["iat"] + self["expires_in"] < time.time()

    def is_revoked(self):
        return self["revoked"]


CLIENTS = {
    "agent": Client(
        client_id="agent", token_endpoint_auth_method="private_key_jwt", scope="crm:read crm:write",
        jwks={"keys": [CONFIG["agent"]]},
    ),
    "gateway": Client(
        client_id="gateway", client_secret="s3cr3t-s3cr3t-s3cr3t-s3cr3t", token_endpoint_auth_method="client_secret_basic", scope="",
    ),
}
TOKENS = {}
ASSERTIONS = set()


def save(token, of):
    TOKENS[token["access_token"]] = Token(
        token, client_id=of.client.get_client_id(), iat=int(time.time()), revoked=False, aud=request.form.get("resource"),
    )


app = Flask(__name__)
server = AuthorizationServer(app, query_client=CLIENTS.get, save_token=save)


def lifetime(client, grant_type):
    usual = BearerTokenGenerator.GRANT_TYPES_EXPIRES_IN[grant_type]
    return CONFIG["seconds"].get(request.form.get("resource"), usual)


class Signed(JWTBearerTokenGenerator):
    def get_jwks(self):
        return KeySet([KEY])

    def get_audiences(self, client, user, scope):
        return request.form.get("resource") or client.get_client_id()


signed = Signed(issuer=ISSUER, alg="ES256", expires_generator=lifetime)
opaque = BearerTokenGenerator(lambda **_: secrets.token_urlsafe(32), expires_generator=lifetime)


def tokens(**of):
    kind = opaque if request.form.get("resource") in CONFIG["opaque"] else signed
    return kind(**of)


class Assertions(JWTBearerClientAssertion):
    def get_audiences(self):
        return [ISSUER]

    def validate_jti(self, claims, jti):
        used = jti in ASSERTIONS
        ASSERTIONS.add(jti)
        return not used

    def resolve_client_public_key(self, client):
        return KeySet.import_key_set(client["jwks"])


class ClientCredentials(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = [Assertions.CLIENT_AUTH_METHOD]


class Introspection(IntrospectionEndpoint):
    CLIENT_AUTH_METHODS = ["client_secret_basic"]

    def query_token(self, token, hint):
        return TOKENS.get(token)

    def check_permission(self, token, client, of):
        return True

    def introspect_token(self, token):
        return {
            "active": not token.is_revoked() and not token.is_expired(), "iss": ISSUER, "aud": token["aud"],
            "sub": token["client_id"], "client_id": token["client_id"], "scope": token["scope"], "token_type": "Bearer",
            "iat": token["iat"], "exp": token["iat"] + token["expires_in"],
        }


class Revocation(RevocationEndpoint):
    CLIENT_AUTH_METHODS = [Assertions.CLIENT_AUTH_METHOD]

    def query_token(self, token, hint):
        return TOKENS.get(token)

    def revoke_token(self, token, of):
        token["revoked"] = True


server.register_token_generator("default", tokens)
server.register_client_auth_method(Assertions.CLIENT_AUTH_METHOD, Assertions())
server.register_grant(ClientCredentials)
server.register_endpoint(Introspection)
server.register_endpoint(Revocation)


# RFC 8414 alone: it has no metadata of OpenID Connect.
@app.get("/.well-known/oauth-authorization-server")
def metadata():
    return jsonify(
        issuer=ISSUER, token_endpoint=f"{ISSUER}/token", jwks_uri=f"{ISSUER}/jwks", introspection_endpoint=f"{ISSUER}/introspect",
        revocation_endpoint=f"{ISSUER}/revoke", grant_types_supported=["client_credentials"], response_types_supported=[],
        token_endpoint_auth_methods_supported=["private_key_jwt"], token_endpoint_auth_signing_alg_values_supported=["ES256"],
    )


@app.get("/jwks")
def jwks():
    return jsonify(KeySet([KEY]).as_dict(private=False))


@app.post("/token")
def token():
    return server.create_token_response()


@app.post("/introspect")
def introspect():
    return server.create_endpoint_response("introspection")


@app.post("/revoke")
def revoke():
    return server.create_endpoint_response("revocation")


listener = make_server("127.0.0.1", CONFIG["port"], app, threaded=True)
print(json.dumps({"url": ISSUER}), flush=True)
listener.serve_forever()

"""PyPI `jwcrypto` as a peer: the same tasks as crosscheck.mjs beside it, one JSON line in, one JSON line out."""

import importlib.metadata
import json
import sys

from jwcrypto import jwe, jws
from jwcrypto.common import base64url_decode, base64url_encode
from jwcrypto.jwa import JWA
from jwcrypto.jwk import JWK

CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


class Lacks(Exception):
    pass


keys = {}


def has(alg):
    if alg not in JWA.algorithms_registry:
        raise Lacks(alg)


def kind(alg, crv):
    if alg.startswith(("RS", "PS")):
        return {"kty": "RSA", "size": 2048}
    if alg == "EdDSA":
        return {"kty": "OKP", "crv": "Ed25519"}
    if alg.startswith("ML-DSA"):
        return {"kty": "AKP", "alg": alg}
    if alg == "dir":
        return {"kty": "oct", "size": 256}
    crv = crv or CURVES.get(alg, "P-256")
    return {"kty": "OKP" if crv == "X25519" else "EC", "crv": crv}


def generate(key, alg, crv=None, **_):
    has(alg)
    keys[key] = JWK.generate(**kind(alg, crv))
    return {"jwk": keys[key].export_public(as_dict=True), "thumbprint": keys[key].thumbprint()}


def imported(key, jwk, **_):
    has(jwk["alg"])
    keys[key] = JWK(**jwk)
    return {"thumbprint": keys[key].thumbprint()}


def private(key, **_):
    return {"jwk": keys[key].export_private(as_dict=True)}


def sign(key, alg, typ, payload, form, **_):
    token = jws.JWS(base64url_decode(payload))
    header = {"alg": alg, "typ": typ, "kid": key}
    token.add_signature(keys[key], protected=json.dumps(header))
    if form == "compact":
        return {"token": token.serialize(compact=True)}
    made = json.loads(token.serialize())
    if form == "general":
        made = {"payload": made["payload"], "signatures": [{"protected": made["protected"], "signature": made["signature"]}]}
    return {"token": made}


def text_of(token):
    return token if isinstance(token, str) else json.dumps(token)


def one(header):
    return header[0] if isinstance(header, list) else header


def verify(key, alg, token, **_):
    read = jws.JWS()
    read.allowed_algs = [alg]
    read.deserialize(text_of(token), keys[key])
    header = one(read.jose_header)
    return {"payload": base64url_encode(read.payload), "typ": header.get("typ")}


def encrypt(key, alg, enc, plaintext, form, cty=None, **_):
    header = {"alg": alg, "enc": enc, "kid": key, **({"cty": cty} if cty else {})}
    token = jwe.JWE(base64url_decode(plaintext), json.dumps(header))
    token.add_recipient(keys[key])
    if form == "compact":
        return {"token": token.serialize(compact=True)}
    made = json.loads(token.serialize())
    if form == "general":
        recipient = {name: made.pop(name) for name in ("encrypted_key", "header") if name in made}
        made["recipients"] = [recipient]
    return {"token": made}


def decrypt(key, alg, token, **_):
    read = jwe.JWE(algs=[alg, "A128GCM", "A256GCM"])
    try:
        read.deserialize(text_of(token), keys[key])
    except jwe.InvalidJWEData:
        # jwcrypto 1.6.1 takes an empty plaintext, which it decrypted, for none at all.
        if read.plaintext != b"":
            raise
    header = one(read.jose_header)
    return {"plaintext": base64url_encode(read.plaintext), "enc": header["enc"], "cty": header.get("cty")}


WORK = {
    "generate": generate,
    "import": imported,
    "private": private,
    "sign": sign,
    "verify": verify,
    "encrypt": encrypt,
    "decrypt": decrypt,
}


def main():
    python = ".".join(map(str, sys.version_info[:3]))
    print(json.dumps({"peer": f"jwcrypto {importlib.metadata.version('jwcrypto')} (PyPI) on Python {python}"}), flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        try:
            said = WORK[task.pop("do")](**task)
        except Lacks as error:
            said = {"lacks": str(error)}
        except Exception as error:  # whatever it refuses with: the other side decides what that means
            said = {"refused": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), flush=True)


main()

"""Encrypts and decrypts the same sizes with PyPI `jwcrypto`, and prints seconds per operation, one JSON line per size."""

import importlib.metadata
import json
import sys
import time

from jwcrypto import jwe, jwk

key = jwk.JWK.generate(kty="EC", crv="P-256")
header = json.dumps({"alg": "ECDH-ES+A256KW", "enc": "A256GCM"})


def median(work):
    """Median seconds of one run, over at least five runs and about a second."""
    times = []
    end = time.perf_counter() + 1
    while len(times) < 5 or (time.perf_counter() < end and len(times) < 2000):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def seal(plaintext):
    token = jwe.JWE(plaintext, protected=header)
    token.add_recipient(key)
    return token.serialize(compact=True)


def open_(sealed):
    token = jwe.JWE()
    token.deserialize(sealed, key)
    return token.payload


# The library bounds what it reads; the bound is for tokens, and these are files.
jwe.default_max_compressed_size = 1 << 30
for size in map(int, sys.argv[1:]):
    plaintext = b"Z" * size
    sealed = seal(plaintext)
    assert open_(sealed) == plaintext
    row = {
        "size": size,
        "seal": median(lambda: seal(plaintext)),
        "open": median(lambda: open_(sealed)),
        "version": importlib.metadata.version("jwcrypto"),
    }
    print(json.dumps(row), flush=True)

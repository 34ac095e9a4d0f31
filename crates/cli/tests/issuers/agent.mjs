// An agent made of published clients: `openid-client` or `oauth4webapi` gets its tokens, `dpop` makes its proofs. One JSON line in,
// one JSON line out; the first line out is {"jwk"}, the public half of the key with which it shows who it is.
//
//   {"do": "metadata", "issuer", "as": "oidc" | "oauth2"}             -> {"metadata"}: what it found at the well-known address
//   {"do": "token", "with": "openid-client" | "oauth4webapi", "issuer", "at"?, "client_id", "resource", "scope", "dpop", "tls"?} -> the answer
//   {"do": "revoke", "issuer", "token", "as"?}                        -> {}
//   {"do": "proof", "htm", "htu", "token", "nonce"?}                  -> {"proof"}
//   {"do": "call", "url", "headers", "body", "token"}                 -> {"status", "text", "proofs": how many were sent}
//
// "tls" is {"ca", "cert"?, "key"?}, files: whom it trusts, and the certificate that it shows. `call` sends a token that is bound to its key the way `openid-client` does: with a proof, and once more where a nonce is asked for.
// What a library refuses is answered {"refused": WHY}.
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { createInterface } from 'node:readline';
import { buffer } from 'node:stream/consumers';
import { load } from '../../../../conformance/tools.mjs';

const oauth = load('oauth4webapi');
const openid = load('openid-client');
const dpop = load('dpop');
const jose = load('jose');

const own = await jose.generateKeyPair('ES256', { extractable: true });
const sender = await oauth.generateKeyPair('ES256');
const signer = { key: own.privateKey, kid: 'agent-1' };
// The servers of a test are at http on loopback.
const insecure = { [oauth.allowInsecureRequests]: true };

/** `fetch`, over TLS with files of the test's own. */
const over = tls => (url, { method, headers, body }) =>
  new Promise((done, failed) => {
    const files = Object.fromEntries(Object.entries(tls).map(([name, file]) => [name, readFileSync(file)]));
    const sent = request(url, { ...files, method, headers: Object.fromEntries(new Headers(headers)) }, async answer => {
      const content = await buffer(answer);
      done(new Response(content.length ? content : null, { status: answer.statusCode, headers: answer.headers }));
    });
    sent.on('error', failed).end(body && String(body));
  });

const configurations = new Map();
async function configuration(issuer, id, algorithm = 'oidc', tls) {
  const name = JSON.stringify([id, algorithm, issuer, tls]);
  if (!configurations.has(name)) {
    const auth = tls?.cert ? openid.TlsClientAuth() : openid.PrivateKeyJwt(signer);
    const options = tls
      ? { algorithm, [openid.customFetch]: over(tls) }
      : { algorithm, execute: [openid.allowInsecureRequests] };
    configurations.set(name, await openid.discovery(new URL(issuer), id, {}, auth, options));
  }
  return configurations.get(name);
}

const tokens = {
  async 'openid-client'({ issuer, client_id, resource, scope, dpop: bound, tls }) {
    const config = await configuration(issuer, client_id, 'oidc', tls);
    const DPoP = bound ? openid.getDPoPHandle(config, sender) : undefined;
    return openid.clientCredentialsGrant(config, { resource, scope }, { DPoP });
  },

  // Also at a server that calls itself what another one is called.
  async oauth4webapi({ issuer, at, client_id, resource, scope }) {
    const as = at
      ? { issuer, token_endpoint: `${at}/token` }
      : await oauth.processDiscoveryResponse(new URL(issuer), await oauth.discoveryRequest(new URL(issuer), { algorithm: 'oauth2', ...insecure }));
    const client = { client_id };
    const parameters = { scope, ...(resource && { resource }) };
    const answer = await oauth.clientCredentialsGrantRequest(as, client, oauth.PrivateKeyJwt(signer), parameters, insecure);
    return oauth.processClientCredentialsResponse(as, client, answer);
  },
};

const work = {
  async metadata({ issuer, as }) {
    return { metadata: (await configuration(issuer, 'agent', as)).serverMetadata() };
  },

  async token(task) {
    return tokens[task.with](task);
  },

  async revoke({ issuer, token, as }) {
    await openid.tokenRevocation(await configuration(issuer, 'agent', as), token);
    return {};
  },

  async proof({ htm, htu, token, nonce }) {
    return { proof: await dpop.generateProof(sender, htu, htm, nonce ?? undefined, token) };
  },

  async call({ url, headers, body, token }) {
    let proofs = 0;
    const config = new openid.Configuration({ issuer: new URL(url).origin }, 'agent');
    openid.allowInsecureRequests(config);
    config[openid.customFetch] = (at, init) => {
      proofs += 1;
      return fetch(at, init);
    };
    const DPoP = openid.getDPoPHandle(config, sender);
    const answer = await openid.fetchProtectedResource(
      config, token, new URL(url), 'POST', JSON.stringify(body), new Headers(headers), { DPoP },
    );
    return { status: answer.status, text: await answer.text(), proofs };
  },
};

console.log(JSON.stringify({ jwk: { ...(await jose.exportJWK(own.publicKey)), kid: signer.kid, alg: 'ES256', use: 'sig' } }));
for await (const line of createInterface({ input: process.stdin })) {
  const task = JSON.parse(line);
  let answer;
  try {
    answer = await work[task.do](task);
  } catch (error) {
    answer = { refused: [error.code, error.message, error.cause && JSON.stringify(error.cause)].filter(Boolean).join(': ') };
  }
  console.log(JSON.stringify(answer));
}

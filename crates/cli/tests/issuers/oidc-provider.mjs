// npm `oidc-provider` as the authorization server of a test.
//
//   node oidc-provider.mjs CONFIG    prints one line, {"url": ISSUER}, when it serves
//
// CONFIG is JSON: {
//   "port", "issuer"?: what it calls itself, where that is not its own address,
//   "keys": the name that its keys begin with, "agent": the public JWK of the client `agent`,
//   "resources": {URL: {"alg": "ES256" | "RS256" | "EdDSA" | null (opaque), "seconds"}},
//   "nonce"?: whether proofs at the token endpoint need one,
//   "openid"?: whether OpenID Connect Discovery is all the metadata it has,
//   "tls"?: {"cert", "key", "ca": of clients}, files }
//
// Then one JSON line in, one JSON line out:
//   {"do": "rotate", "keys": NAME}   -> {}: from now on it signs with new keys of such names, and publishes no others
//   {"do": "count"}                  -> {"jwks": how often its key set was fetched, "asked": how often it was asked about a token}
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createInterface } from 'node:readline';
import { load } from '../../../../conformance/tools.mjs';

// Its notices are for people, and stdout is not.
console.info = console.error;
const { Provider, errors } = load('oidc-provider');
const jose = load('jose');

const config = JSON.parse(process.argv[2]);
const url = `${config.tls ? 'https' : 'http'}://localhost:${config.port}`;
const issuer = config.issuer ?? url;
const ALGORITHMS = ['ES256', 'RS256', 'EdDSA'];

const key = async (name, alg) => {
  const { privateKey } = await jose.generateKeyPair(alg, { extractable: true });
  return { ...(await jose.exportJWK(privateKey)), kid: `${name}-${alg}`, alg, use: 'sig' };
};

const certificate = ctx => {
  const peer = ctx.req.socket.getPeerCertificate?.();
  return peer?.raw && new X509Certificate(peer.raw);
};

const resource = at => {
  const known = config.resources[at];
  if (!known) throw new errors.InvalidTarget();
  const token = known.alg
    ? { accessTokenFormat: 'jwt', jwt: { sign: { alg: known.alg } } }
    : { accessTokenFormat: 'opaque' };
  return { scope: 'crm:read crm:write', audience: at, accessTokenTTL: known.seconds, ...token };
};

const client = { redirect_uris: [], response_types: [], grant_types: ['client_credentials'] };
const clients = [
  {
    ...client, client_id: 'agent', token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_signing_alg: 'ES256', jwks: { keys: [config.agent] },
  },
  {
    ...client, client_id: 'agent-mtls', token_endpoint_auth_method: 'tls_client_auth',
    tls_client_auth_subject_dn: 'CN=agent-mtls', tls_client_certificate_bound_access_tokens: true,
  },
  // How the gateway is known: it asks about tokens and gets none.
  { ...client, client_id: 'gateway', client_secret: 's3cr3t-s3cr3t-s3cr3t-s3cr3t', grant_types: [] },
];

const provider = async name => {
  const made = new Provider(issuer, {
    clients,
    jwks: { keys: await Promise.all(ALGORITHMS.map(alg => key(name, alg))) },
    scopes: ['crm:read', 'crm:write'],
    clientAuthMethods: ['client_secret_basic', 'private_key_jwt', 'tls_client_auth'],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      dPoP: { enabled: true, nonceSecret: Buffer.alloc(32, 7), requireNonce: () => config.nonce === true },
      mTLS: {
        enabled: true, certificateBoundAccessTokens: true, tlsClientAuth: true, getCertificate: certificate,
        certificateAuthorized: ctx => ctx.req.socket.authorized,
        certificateSubjectMatches: (ctx, property, expected) => certificate(ctx).subject === expected,
      },
      resourceIndicators: { enabled: true, useGrantedResource: () => true, getResourceServerInfo: (ctx, at) => resource(at) },
    },
  });
  made.on('server_error', (ctx, error) => console.error(error));
  made.on('grant.error', (ctx, error) => console.error(error.message, error.error_description, error.error_detail));
  made.on('introspection.error', (ctx, error) => console.error(error.message, error.error_description, error.error_detail));
  return made.callback();
};

let answer = await provider(config.keys);
const counted = { '/jwks': 0, '/token/introspection': 0 };
function serve(request, response) {
  if (request.url in counted) counted[request.url] += 1;
  if (config.openid && request.url === '/.well-known/oauth-authorization-server') return response.writeHead(404).end();
  answer(request, response);
}
const server = config.tls
  ? createTlsServer({
      cert: readFileSync(config.tls.cert), key: readFileSync(config.tls.key), ca: readFileSync(config.tls.ca),
      requestCert: true, rejectUnauthorized: false,
    }, serve)
  : createServer(serve);
const say = value => console.log(JSON.stringify(value));
server.listen(config.port, '127.0.0.1', () => say({ url: issuer }));

const work = {
  async rotate({ keys }) {
    answer = await provider(keys);
    return {};
  },
  count: () => ({ jwks: counted['/jwks'], asked: counted['/token/introspection'] }),
};
for await (const line of createInterface({ input: process.stdin })) {
  const task = JSON.parse(line);
  say(await work[task.do](task));
}
process.exit();

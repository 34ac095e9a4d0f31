// A client as its author would write it on @modelcontextprotocol/client: it knows one URL. Everything else it finds out:
// where to log in, how to register, which scope to ask for, and when to ask for more.
//
//   node client.mjs < {"url", "era": "auto" | "legacy", "steps": [{"list": true} | {"call": NAME, "arguments": {}}], ...}
//
// Prints one JSON line for each login and each step. The rest of the plan is the person's: see conformance/browser.mjs.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { approve } from '../../../../conformance/browser.mjs';
import { load } from '../../../../conformance/tools.mjs';

const { Client, StreamableHTTPClientTransport, UnauthorizedError } = load('@modelcontextprotocol/client');

const plan = JSON.parse(await text(process.stdin));
const say = line => console.log(JSON.stringify(line));
setTimeout(() => {
  console.error('the plan took too long');
  process.exit(1);
}, 120_000).unref();

// Where the browser comes back to.
const back = { arrived: null };
const listener = createServer((request, response) => {
  response.end('You can close this window.');
  const url = new URL(request.url, back.uri);
  if (url.pathname === '/callback') back.arrived?.(url.searchParams);
});
listener.listen(0, '127.0.0.1');
await once(listener, 'listening');
back.uri = `http://127.0.0.1:${listener.address().port}/callback`;

let logins = 0;
const kept = {};
const provider = {
  redirectUrl: back.uri,
  clientMetadata: {
    client_name: 'TypeScript client',
    redirect_uris: [back.uri],
    grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'none',
  },
  state: () => crypto.randomUUID(),
  clientInformation: () => kept.client,
  saveClientInformation: client => (kept.client = client),
  tokens: () => kept.tokens,
  saveTokens: tokens => (kept.tokens = tokens),
  codeVerifier: () => kept.verifier,
  saveCodeVerifier: verifier => (kept.verifier = verifier),
  discoveryState: () => kept.discovery,
  saveDiscoveryState: discovery => (kept.discovery = discovery),
  redirectToAuthorization: url => (kept.authorization = url),
};

async function login(transport) {
  const arrived = new Promise(resolve => (back.arrived = resolve));
  const asked = kept.authorization.searchParams.get('scope');
  logins += 1;
  const name = `${plan.name}-${logins}`;
  const complaints = await approve({ ...plan, url: kept.authorization.href, redirect: back.uri, name });
  await transport.finishAuth(await arrived);
  say({ login: logins, asked, granted: kept.tokens.scope, complaints });
}

/** Does `what`; where it needs a login, logs in and does it again. */
async function authorized(transport, what) {
  try {
    return await what();
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error;
    await login(transport());
    return what();
  }
}

const options = plan.era === 'legacy' ? {} : { versionNegotiation: { mode: plan.era } };
let client;
let transport;
await authorized(() => transport, async () => {
  client = new Client({ name: 'typescript', version: '1' }, options);
  transport = new StreamableHTTPClientTransport(new URL(plan.url), { authProvider: provider });
  await client.connect(transport);
});
say({ protocol: client.getNegotiatedProtocolVersion() ?? transport.protocolVersion });
for (const step of plan.steps) {
  await authorized(() => transport, async () => {
    if (step.list) return say({ tools: (await client.listTools()).tools.map(tool => tool.name) });
    const result = await client.callTool({ name: step.call, arguments: step.arguments });
    return say({ called: step.call, error: result.isError ?? false, text: result.content.map(part => part.text).join('\n') });
  });
}
await client.close();
listener.close();
listener.closeAllConnections();

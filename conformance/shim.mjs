// The suite sends no token and has no flag for one. This stands between it and the gateway: it adds the token of a real
// login, renews it before it expires, and otherwise changes nothing: `Host`, `Origin` and every other header arrive as the
// suite wrote them.
//
//   node shim.mjs < {"target": URL of the guarded endpoint, "tokens": what the test kit's login prints}
import { createServer, request as send } from 'node:http';
import { text } from 'node:stream/consumers';

const { target, tokens } = JSON.parse(await text(process.stdin));
const gateway = new URL(target);
const MARGIN = 60_000;

const held = { access: '', refresh: '', until: 0 };
const keep = ({ access_token, refresh_token, expires_in }) => {
  held.access = access_token;
  held.refresh = refresh_token ?? held.refresh;
  held.until = Date.now() + expires_in * 1000 - MARGIN;
};
keep(tokens);

async function renew() {
  const form = {
    grant_type: 'refresh_token', refresh_token: held.refresh, client_id: tokens.client_id, resource: tokens.resource,
  };
  const answer = await fetch(tokens.token_endpoint, { method: 'POST', body: new URLSearchParams(form) });
  if (!answer.ok) throw new Error(`refresh: ${answer.status}`);
  keep(await answer.json());
}

// One renewal at a time: a refresh token is good for one use.
let renewal = null;
async function token() {
  if (Date.now() < held.until) return held.access;
  renewal ??= renew().finally(() => (renewal = null));
  await renewal;
  return held.access;
}

const HOP = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade']);
const pairs = raw => raw.flatMap((name, at) => (at % 2 || HOP.has(name.toLowerCase()) ? [] : [[name, raw[at + 1]]]));

const shim = createServer(async (incoming, outgoing) => {
  const fail = error => {
    console.error(error);
    if (outgoing.headersSent) outgoing.destroy();
    else outgoing.writeHead(502).end();
  };
  try {
    const headers = [...pairs(incoming.rawHeaders), ['Authorization', `Bearer ${await token()}`]].flat();
    const onward = send({
      host: gateway.hostname, port: gateway.port, path: gateway.pathname, method: incoming.method, headers, agent: false,
    });
    onward.on('error', fail);
    onward.on('response', answer => {
      outgoing.writeHead(answer.statusCode, pairs(answer.rawHeaders).flat());
      outgoing.flushHeaders();
      answer.pipe(outgoing);
      answer.on('error', fail);
    });
    // A client that goes away is the gateway's to notice.
    outgoing.on('close', () => onward.destroy());
    incoming.pipe(onward);
  } catch (error) {
    fail(error);
  }
});
shim.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ url: `http://localhost:${shim.address().port}/mcp` })));

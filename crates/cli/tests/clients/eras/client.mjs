// A client that can be asked for a name and for roots: on @modelcontextprotocol/client 2.x, or on the SDK before it.
//
//   node client.mjs < {"sdk": "new" | "old", "url", "token", "calls": [[NAME, ARGUMENTS], ...]}
//
// Prints one JSON line: {"protocol", "server", "tools", "said": {NAME: TEXT}, "progress"}.
import { text } from 'node:stream/consumers';
import { load } from '../../../../../conformance/tools.mjs';

const plan = JSON.parse(await text(process.stdin));
setTimeout(() => {
  console.error('the plan took too long');
  process.exit(1);
}, 90_000).unref();

const old = plan.sdk === 'old';
const from = name => load(old ? `@modelcontextprotocol/sdk/client/${name}.js` : '@modelcontextprotocol/client');
const { Client } = from('index');
const { StreamableHTTPClientTransport } = from('streamableHttp');
const { ElicitRequestSchema, ListRootsRequestSchema } = old ? load('@modelcontextprotocol/sdk/types.js') : {};

const options = {
  capabilities: { elicitation: {}, roots: {} },
  ...(!old && { versionNegotiation: { mode: 'auto' } }),
};
const client = new Client({ name: `${plan.sdk}-client`, version: '1' }, options);
client.setRequestHandler(old ? ElicitRequestSchema : 'elicitation/create', () => ({ action: 'accept', content: { name: 'Ada' } }));
client.setRequestHandler(old ? ListRootsRequestSchema : 'roots/list', () => ({ roots: [{ uri: 'file:///a' }] }));
const headers = { authorization: `Bearer ${plan.token}` };
const transport = new StreamableHTTPClientTransport(new URL(plan.url), { requestInit: { headers } });
await client.connect(transport);

const progress = [];
const said = {};
const { tools } = await client.listTools();
for (const [name, given] of plan.calls) {
  const call = { name, arguments: given };
  const hearing = name === 'count' ? { onprogress: note => progress.push(note.progress) } : {};
  const result = await (old ? client.callTool(call, undefined, hearing) : client.callTool(call, hearing));
  said[name] = result.content.map(part => part.text).join('\n');
}
const protocol = client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion;
const server = client.getServerVersion()?.name;
console.log(JSON.stringify({ protocol, server, tools: tools.map(tool => tool.name), said, progress }));
await client.close();
process.exit(0);

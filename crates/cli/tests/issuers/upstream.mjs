// An MCP server of the TypeScript SDK with one tool, which knows with which credentials it was called.
//
//   node upstream.mjs      prints one line, {"url": URL}, when it serves
//
// Each line on stdin is answered with {"calls": how often a tool was called, "shown": the credentials that came with any request, each once}.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { load } from '../../../../conformance/tools.mjs';

const { McpServer, createMcpHandler } = load('@modelcontextprotocol/server');
const { toNodeHandler } = load('@modelcontextprotocol/node');

const seen = { calls: 0, shown: new Set() };

function server() {
  const mcp = new McpServer({ name: 'whoami', version: '1.0.0' }, { capabilities: { tools: {} } });
  const answer = () => ({ content: [{ type: 'text', text: 'whoami' }] });
  mcp.registerTool('whoami', { description: 'Says who calls.' }, answer);
  return mcp;
}

const answer = toNodeHandler(createMcpHandler(server));
const listener = createServer((request, response) => {
  // What the gateway asks on its own, to learn which revision is spoken here, is nobody's call.
  if (request.headers['mcp-method'] === 'tools/call') seen.calls += 1;
  const credentials = ['authorization', 'dpop', 'cookie', 'x-api-key', 'client-cert'];
  for (const name of credentials) if (request.headers[name]) seen.shown.add(`${name}: ${request.headers[name]}`);
  answer(request, response);
});
listener.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ url: `http://127.0.0.1:${listener.address().port}/mcp` })));
for await (const _ of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify({ calls: seen.calls, shown: [...seen.shown] }));
}
process.exit();

// A server as its author would have written it on @modelcontextprotocol/sdk 1.x: it knows sessions, and nothing of 2026-07-28.
//
//   node old_server.mjs http | sse | stdio      http and sse print one line, {"url"}, when they serve
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { load } from '../../../../../conformance/tools.mjs';

const { McpServer } = load('@modelcontextprotocol/sdk/server/mcp.js');
const { SSEServerTransport } = load('@modelcontextprotocol/sdk/server/sse.js');
const { StdioServerTransport } = load('@modelcontextprotocol/sdk/server/stdio.js');
const { StreamableHTTPServerTransport } = load('@modelcontextprotocol/sdk/server/streamableHttp.js');
const { ElicitResultSchema, ListRootsResultSchema } = load('@modelcontextprotocol/sdk/types.js');

const says = text => ({ content: [{ type: 'text', text }] });
const form = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] };

function notes() {
  const mcp = new McpServer({ name: 'old', version: '1' }, { capabilities: { logging: {}, tools: { listChanged: true } } });
  // Asks on the stream of the call.
  mcp.registerTool('greet', { description: 'Asks for a name' }, async extra => {
    const params = { message: 'What is your name?', requestedSchema: form };
    const { content } = await extra.sendRequest({ method: 'elicitation/create', params }, ElicitResultSchema);
    return says(`Hello, ${content.name}!`);
  });
  // Asks on the session's own stream, as this SDK does unless it is told otherwise.
  mcp.registerTool('look', { description: 'Asks for roots' }, async () => {
    const { roots } = await mcp.server.request({ method: 'roots/list' }, ListRootsResultSchema);
    return says(roots.map(root => root.uri).join(' '));
  });
  mcp.registerTool('count', { description: 'Counts to two' }, async ({ _meta, sendNotification }) => {
    for (const progress of [1, 2]) {
      const params = { progressToken: _meta?.progressToken, progress, total: 2 };
      if (_meta?.progressToken !== undefined) await sendNotification({ method: 'notifications/progress', params });
    }
    return says('counted');
  });
  return mcp;
}

const sessions = new Map();

async function streamable(request, response) {
  const id = request.headers['mcp-session-id'];
  if (id && !sessions.has(id)) return response.writeHead(404).end();
  let transport = sessions.get(id);
  if (!transport) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: given => sessions.set(given, transport),
    });
    await notes().connect(transport);
  }
  return transport.handleRequest(request, response);
}

async function sse(request, response) {
  const url = new URL(request.url, 'http://localhost');
  if (request.method === 'GET' && url.pathname === '/mcp') {
    const transport = new SSEServerTransport('/messages', response);
    sessions.set(transport.sessionId, transport);
    return notes().connect(transport);
  }
  const transport = sessions.get(url.searchParams.get('sessionId'));
  if (request.method !== 'POST' || url.pathname !== '/messages' || !transport) return response.writeHead(404).end();
  return transport.handlePostMessage(request, response);
}

const [, , kind] = process.argv;
if (kind === 'stdio') {
  await notes().connect(new StdioServerTransport());
} else {
  const server = createServer((request, response) => {
    (kind === 'sse' ? sse : streamable)(request, response).catch(error => {
      console.error(error);
      response.destroy();
    });
  });
  server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}/mcp` })));
}

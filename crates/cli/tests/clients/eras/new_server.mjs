// The same server on @modelcontextprotocol/server 2.x, which knows 2026-07-28 and refuses everything before it.
//
//   node new_server.mjs      prints one line, {"url"}, when it serves
import { createServer } from 'node:http';
import { load } from '../../../../../conformance/tools.mjs';

const { McpServer, acceptedContent, createMcpHandler, fromJsonSchema, inputRequired } = load('@modelcontextprotocol/server');
const { toNodeHandler } = load('@modelcontextprotocol/node');

const says = text => ({ content: [{ type: 'text', text }] });
const form = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] };
const none = fromJsonSchema({ type: 'object', properties: {} });

function notes() {
  const mcp = new McpServer({ name: 'new', version: '2' }, { capabilities: { logging: {}, tools: { listChanged: true } } });
  mcp.registerTool('greet', { description: 'Asks for a name', inputSchema: none }, (_, { mcpReq }) => {
    const name = acceptedContent(mcpReq.inputResponses, 'name')?.name;
    if (name) return says(`Hello, ${name}!`);
    return inputRequired({ inputRequests: { name: inputRequired.elicit({ message: 'What is your name?', requestedSchema: form }) } });
  });
  mcp.registerTool('look', { description: 'Asks for roots', inputSchema: none }, (_, { mcpReq }) => {
    const roots = mcpReq.inputResponses?.where?.roots;
    return roots ? says(roots.map(root => root.uri).join(' ')) : inputRequired({ inputRequests: { where: inputRequired.listRoots() } });
  });
  mcp.registerTool('count', { description: 'Counts to two', inputSchema: none }, async (_, { mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken;
    for (const progress of [1, 2]) {
      if (progressToken !== undefined) {
        await mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total: 2 } });
      }
    }
    return says('counted');
  });
  // What a header has to repeat.
  const region = { type: 'object', properties: { region: { type: 'string', 'x-mcp-header': 'Region' } } };
  mcp.registerTool('where', { description: 'Says where', inputSchema: fromJsonSchema(region) }, ({ region }) => says(region));
  return mcp;
}

const answer = toNodeHandler(createMcpHandler(notes, { legacy: 'reject' }));
const server = createServer((request, response) => answer(request, response));
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}/mcp` })));

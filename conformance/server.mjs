// The server under test of the official conformance suite: one endpoint, both protocol eras, everything the
// scored server scenarios ask for. It runs twice, once bare and once behind Portcullis; the two verdicts must agree.
//
//   node server.mjs [--port N] [--era modern | legacy]
//       prints one line, {"url":"http://localhost:PORT/mcp"}, when it serves; with --era it refuses the other one
//
// Modern requests (2026-07-28) are answered one by one by the SDK's handler; legacy ones (2025-11-25) live in
// sessions. The names of tools, prompts and resources are the suite's.
import { randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { load } from './tools.mjs';

const {
  CLIENT_CAPABILITIES_META_KEY, McpServer, ResourceTemplate, acceptedContent, classifyInboundRequest,
  createMcpHandler, createRequestStateCodec, fromJsonSchema, inputRequired, isInitializeRequest,
} = load('@modelcontextprotocol/server');
const { NodeStreamableHTTPServerTransport, localhostHostValidation, localhostOriginValidation, toNodeHandler } =
  load('@modelcontextprotocol/node');
const { z } = load('zod');

const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const SILENCE = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQAAAAA=';
const MAX_BODY = 4 << 20;

const text = value => ({ type: 'text', text: value });
const says = value => ({ content: [text(value)] });
const embedded = (uri, mimeType, body) => ({ type: 'resource', resource: { uri, mimeType, text: body } });
const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds));
const object = (properties, required = Object.keys(properties)) => ({ type: 'object', properties, required });

// What a multi-round call remembers between rounds is sealed, because it travels through the client.
const states = createRequestStateCodec({ key: randomBytes(32) });
const seal = payload => states.mint({ ...payload, nonce: randomUUID() });

const elicit = (message, requestedSchema) => inputRequired.elicit({ message, requestedSchema });
const sample = (prompt, maxTokens) =>
  inputRequired.createMessage({ messages: [{ role: 'user', content: text(prompt) }], maxTokens });
const askName = () => elicit('What is your name?', object({ name: { type: 'string' } }));
const askConfirmation = () => elicit('Please confirm', object({ ok: { type: 'boolean' } }));

// ---- tools: name -> { description, input?, run(arguments, context) } ----

const content = {
  test_simple_text: () => says('This is a simple text response for testing.'),
  test_image_content: () => ({ content: [{ type: 'image', data: PIXEL, mimeType: 'image/png' }] }),
  test_audio_content: () => ({ content: [{ type: 'audio', data: SILENCE, mimeType: 'audio/wav' }] }),
  test_embedded_resource: () => ({
    content: [embedded('test://embedded-resource', 'text/plain', 'This is an embedded resource content.')],
  }),
  test_multiple_content_types: () => ({
    content: [
      text('Multiple content types test:'),
      { type: 'image', data: PIXEL, mimeType: 'image/png' },
      embedded('test://mixed-content-resource', 'application/json', JSON.stringify({ test: 'data', value: 123 })),
    ],
  }),
  test_error_handling: () => {
    throw new Error('This tool intentionally returns an error for testing');
  },
};

const streaming = {
  test_tool_with_logging: async (_, { mcpReq }) => {
    for (const data of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
      await mcpReq.notify({ method: 'notifications/message', params: { level: 'info', data } });
      await pause(50);
    }
    return says('Tool with logging executed successfully');
  },
  test_tool_with_progress: async (_, { mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken;
    if (progressToken === undefined) return says('no progress token');
    for (const progress of [0, 50, 100]) {
      const message = `Completed step ${progress} of 100`;
      await mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total: 100, message } });
      await pause(50);
    }
    return says(String(progressToken));
  },
  test_streaming_elicitation: () => says('only result frames on this stream'),
  test_logging_tool: async (_, { mcpReq }) => {
    await mcpReq.log('info', 'sent only to a request that asked for a log level');
    return says('logged');
  },
  test_reconnection: async (_, { mcpReq, sessionId }) => {
    sessions.get(sessionId)?.transport.closeSSEStream(mcpReq.id);
    await pause(100);
    return says('the result waited for the client to come back');
  },
};

// Legacy: the server asks the client in the middle of a call. Where this server is modern alone, the call is made again.
const option = name => process.argv[process.argv.indexOf(name) + 1 || Infinity];
const only = option('--era');
const asks = (params, report) => async (args, { mcpReq }) => {
  const answer = only === 'modern'
    ? mcpReq.inputResponses?.answer
    : await mcpReq.send({ method: 'elicitation/create', params: params(args) });
  if (!answer) return inputRequired({ inputRequests: { answer: inputRequired.elicit(params(args)) } });
  return says(`${report}: action=${answer.action}, content=${JSON.stringify(answer.content ?? {})}`);
};
const options = prefix => ['First', 'Second', 'Third'].map((title, at) => ({ const: `value${at + 1}`, title: `${title} ${prefix}` }));
const plain = prefix => [1, 2, 3].map(number => `${prefix}${number}`);

const questions = {
  test_sampling: {
    input: z.object({ prompt: z.string() }),
    run: async ({ prompt }, { mcpReq }) => {
      const params = { messages: [{ role: 'user', content: text(prompt) }], maxTokens: 100 };
      const answer = only === 'modern'
        ? mcpReq.inputResponses?.answer
        : await mcpReq.send({ method: 'sampling/createMessage', params });
      if (!answer) return inputRequired({ inputRequests: { answer: inputRequired.createMessage(params) } });
      return says(`LLM response: ${answer.content?.text ?? 'none'}`);
    },
  },
  test_elicitation: {
    input: z.object({ message: z.string() }),
    run: asks(({ message }) => ({ message, requestedSchema: object({ response: { type: 'string' } }) }), 'User response'),
  },
  test_elicitation_sep1034_defaults: {
    run: asks(() => ({
      message: 'Review the defaults',
      requestedSchema: object({
        name: { type: 'string', default: 'John Doe' },
        age: { type: 'integer', default: 30 },
        score: { type: 'number', default: 95.5 },
        status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
        verified: { type: 'boolean', default: true },
      }, []),
    }), 'Elicitation completed'),
  },
  test_elicitation_sep1330_enums: {
    run: asks(() => ({
      message: 'Choose',
      requestedSchema: object({
        untitledSingle: { type: 'string', enum: plain('option') },
        titledSingle: { type: 'string', oneOf: options('Option') },
        legacyEnum: { type: 'string', enum: plain('opt'), enumNames: ['Option One', 'Option Two', 'Option Three'] },
        untitledMulti: { type: 'array', minItems: 1, maxItems: 3, items: { type: 'string', enum: plain('option') } },
        titledMulti: { type: 'array', minItems: 1, maxItems: 3, items: { anyOf: options('Choice') } },
      }, []),
    }), 'Elicitation completed'),
  },
};

// Modern: the call answers "input required", and the client calls again with the answers.
const rounds = {
  test_missing_capability: (_, { mcpReq }) =>
    mcpReq.inputResponses?.answer ? says('sampled') : inputRequired({ inputRequests: { answer: sample('Say pong', 16) } }),
  test_input_required_result_elicitation: (_, { mcpReq }) => {
    const name = acceptedContent(mcpReq.inputResponses, 'user_name')?.name;
    return typeof name === 'string' ? says(`Hello, ${name}!`) : inputRequired({ inputRequests: { user_name: askName() } });
  },
  test_input_required_result_sampling: (_, { mcpReq }) => {
    const answer = mcpReq.inputResponses?.capital_question;
    return answer
      ? says(`Sampling response: ${answer.content?.text ?? JSON.stringify(answer)}`)
      : inputRequired({ inputRequests: { capital_question: sample('What is the capital of France?', 100) } });
  },
  test_input_required_result_list_roots: (_, { mcpReq }) => {
    const roots = mcpReq.inputResponses?.client_roots?.roots;
    return Array.isArray(roots)
      ? says(`Roots: ${roots.map(root => root.uri).join(', ')}`)
      : inputRequired({ inputRequests: { client_roots: inputRequired.listRoots() } });
  },
  test_input_required_result_request_state: async (_, { mcpReq }) =>
    mcpReq.requestState() && acceptedContent(mcpReq.inputResponses, 'confirm')
      ? says('state-ok')
      : inputRequired({ inputRequests: { confirm: askConfirmation() }, requestState: await seal({ tool: 'request_state' }) }),
  test_input_required_result_tampered_state: async (_, { mcpReq }) =>
    mcpReq.requestState() && acceptedContent(mcpReq.inputResponses, 'confirm')
      ? says('integrity-ok')
      : inputRequired({ inputRequests: { confirm: askConfirmation() }, requestState: await seal({ tool: 'tampered_state' }) }),
  test_input_required_result_multiple_inputs: async (_, { mcpReq: { inputResponses } }) => {
    const name = acceptedContent(inputResponses, 'user_name')?.name;
    const greeting = inputResponses?.greeting?.content?.text;
    const roots = inputResponses?.client_roots?.roots;
    if (name && greeting && roots) return says(`${greeting} ${name}, ${roots.length} root(s)`);
    const inputRequests = { user_name: askName(), greeting: sample('Generate a greeting', 50), client_roots: inputRequired.listRoots() };
    return inputRequired({ inputRequests, requestState: await seal({ tool: 'multiple_inputs' }) });
  },
  test_input_required_result_multi_round: async (_, { mcpReq }) => {
    const state = mcpReq.requestState();
    if (state?.round === 2) {
      const color = acceptedContent(mcpReq.inputResponses, 'step2')?.color;
      return says(`${state.name} likes ${color}`);
    }
    if (state?.round === 1) {
      const name = acceptedContent(mcpReq.inputResponses, 'step1')?.name;
      const step2 = elicit('Step 2: What is your favorite color?', object({ color: { type: 'string' } }));
      return inputRequired({ inputRequests: { step2 }, requestState: await seal({ round: 2, name }) });
    }
    const step1 = elicit('Step 1: What is your name?', object({ name: { type: 'string' } }));
    return inputRequired({ inputRequests: { step1 }, requestState: await seal({ round: 1 }) });
  },
  test_input_required_result_capabilities: (_, { mcpReq }) => {
    if (mcpReq.inputResponses) return says('answered');
    const declared = mcpReq.envelope?.[CLIENT_CAPABILITIES_META_KEY] ?? {};
    const inputRequests = {};
    if (declared.elicitation) inputRequests.user_name = askName();
    if (declared.sampling) inputRequests.greeting = sample('Generate a short greeting', 50);
    if (declared.roots) inputRequests.client_roots = inputRequired.listRoots();
    return Object.keys(inputRequests).length ? inputRequired({ inputRequests }) : says('nothing that this client can answer');
  },
};

const changes = {
  test_trigger_tool_change: () => {
    modern.notify.toolsChanged();
    for (const { mcp } of sessions.values()) mcp.sendToolListChanged();
    return says('tools changed');
  },
  test_trigger_prompt_change: () => {
    modern.notify.promptsChanged();
    for (const { mcp } of sessions.values()) mcp.sendPromptListChanged();
    return says('prompts changed');
  },
};

const schemas = {
  test_x_mcp_header: {
    input: fromJsonSchema(object({ region: { type: 'string', 'x-mcp-header': 'Region' }, level: { type: 'integer' } }, [])),
    run: ({ region }) => says(`region=${region ?? 'none'}`),
  },
  json_schema_2020_12_tool: {
    input: fromJsonSchema({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      $defs: {
        address: { $anchor: 'addressDef', type: 'object', properties: { street: { type: 'string' }, city: { type: 'string' } } },
      },
      type: 'object',
      properties: {
        name: { type: 'string' },
        address: { $ref: '#/$defs/address' },
        contactMethod: { type: 'string', enum: ['phone', 'email'] },
        phone: { type: 'string' },
        email: { type: 'string' },
      },
      allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
      if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
      then: { required: ['phone'] },
      else: { required: ['email'] },
      additionalProperties: false,
    }),
    run: args => says(JSON.stringify(args)),
  },
};

const bare = table => Object.fromEntries(Object.entries(table).map(([name, run]) => [name, { run }]));
const TOOLS = { ...bare(content), ...bare(streaming), ...questions, ...bare(rounds), ...bare(changes), ...schemas };

// ---- resources and prompts ----

const RESOURCES = {
  'test://static-text': { mimeType: 'text/plain', text: 'This is the content of the static text resource.' },
  'test://static-binary': { mimeType: 'image/png', blob: PIXEL },
  'test://watched-resource': { mimeType: 'text/plain', text: 'Watched resource content' },
};

const user = part => ({ role: 'user', content: part });
const PROMPTS = {
  test_simple_prompt: { run: () => [user(text('This is a simple prompt for testing.'))] },
  test_prompt_with_arguments: {
    args: z.object({ arg1: z.string(), arg2: z.string() }),
    run: ({ arg1, arg2 }) => [user(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`))],
  },
  test_prompt_with_embedded_resource: {
    args: z.object({ resourceUri: z.string() }),
    run: ({ resourceUri }) => [
      user(embedded(resourceUri, 'text/plain', 'Embedded resource content for testing.')),
      user(text('Please process the embedded resource above.')),
    ],
  },
  test_prompt_with_image: {
    run: () => [user({ type: 'image', data: PIXEL, mimeType: 'image/png' }), user(text('Please analyze the image above.'))],
  },
};

function everything() {
  const capabilities = {
    tools: { listChanged: true },
    prompts: { listChanged: true },
    resources: { subscribe: true, listChanged: true },
    logging: {},
    completions: {},
  };
  const mcp = new McpServer(
    { name: 'portcullis-conformance-server', version: '1.0.0' },
    { capabilities, requestState: { verify: states.verify } },
  );
  for (const [name, { input, run }] of Object.entries(TOOLS)) {
    mcp.registerTool(name, { description: `The suite's ${name}`, inputSchema: input ?? z.object({}) }, run);
  }
  for (const [uri, body] of Object.entries(RESOURCES)) {
    const about = { title: uri, description: `The suite's ${uri}`, mimeType: body.mimeType };
    mcp.registerResource(uri.replace('test://', ''), uri, about, () => ({ contents: [{ uri, ...body }] }));
  }
  mcp.registerResource(
    'template', new ResourceTemplate('test://template/{id}/data', { list: undefined }),
    { title: 'Template', description: 'One value of the path in the answer', mimeType: 'application/json' },
    (uri, { id }) => ({
      contents: [{ uri: uri.href, mimeType: 'application/json', text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) }],
    }),
  );
  for (const [name, { args, run }] of Object.entries(PROMPTS)) {
    const about = { title: name, description: `The suite's ${name}`, ...(args && { argsSchema: args }) };
    mcp.registerPrompt(name, about, given => ({ messages: run(given) }));
  }
  mcp.registerPrompt('test_input_required_result_prompt', { description: 'Asks before it renders' }, ({ mcpReq }) => {
    const context = acceptedContent(mcpReq.inputResponses, 'user_context')?.context;
    return typeof context === 'string'
      ? { messages: [user(text(`Use the following context: ${context}`))] }
      : inputRequired({ inputRequests: { user_context: elicit('Which context?', object({ context: { type: 'string' } })) } });
  });
  mcp.server.setRequestHandler('resources/subscribe', () => ({}));
  mcp.server.setRequestHandler('resources/unsubscribe', () => ({}));
  mcp.server.setRequestHandler('logging/setLevel', () => ({}));
  mcp.server.setRequestHandler('completion/complete', () => ({ completion: { values: [], total: 0, hasMore: false } }));
  return mcp;
}

// ---- the two eras on one endpoint ----

const modern = createMcpHandler(everything, only === 'modern' ? { legacy: 'reject' } : {});
const answerModern = toNodeHandler(modern);
const sessions = new Map();

/** Events of one session, kept so that a client which reconnects with Last-Event-ID gets what it missed. */
function eventLog() {
  const events = [];
  return {
    async storeEvent(stream, message) {
      events.push({ id: `${stream}/${events.length}`, stream, message });
      return events.at(-1).id;
    },
    async replayEventsAfter(lastId, { send }) {
      const from = events.findIndex(event => event.id === lastId);
      const stream = events[from]?.stream ?? lastId;
      for (const event of events.slice(from + 1)) {
        const empty = !event.message || Object.keys(event.message).length === 0;
        if (event.stream === stream && !empty) await send(event.id, event.message);
      }
      return stream;
    },
  };
}

async function open() {
  const mcp = everything();
  const transport = new NodeStreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    eventStore: eventLog(),
    retryInterval: 1000,
    onsessioninitialized: id => sessions.set(id, { mcp, transport }),
  });
  transport.onclose = () => sessions.delete(transport.sessionId);
  await mcp.connect(transport);
  return transport;
}

const refuse = (response, status, message) => {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: -32000, message } }));
};

async function body(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > MAX_BODY) throw new Error('body too large');
    chunks.push(chunk);
  }
  return JSON.parse(Buffer.concat(chunks).toString('utf8'));
}

async function serve(request, response) {
  if (!validHost(request, response) || !validOrigin(request, response)) return;
  if (request.url !== '/mcp') return refuse(response, 404, 'not found');
  const id = request.headers['mcp-session-id'];
  if (request.method !== 'POST') {
    if (only === 'modern') return refuse(response, 405, 'there are no sessions');
    const session = sessions.get(id);
    return session ? session.transport.handleRequest(request, response) : refuse(response, id ? 404 : 400, 'no such session');
  }
  let message;
  try {
    message = await body(request);
  } catch {
    return refuse(response, 400, 'not a JSON body');
  }
  const inbound = classifyInboundRequest({
    httpMethod: request.method,
    protocolVersionHeader: request.headers['mcp-protocol-version'],
    mcpMethodHeader: request.headers['mcp-method'],
    body: message,
  });
  const isModern = only ? only === 'modern' : inbound.kind !== 'legacy';
  if (isModern) return answerModern(request, response, message);
  if (id && !sessions.has(id)) return refuse(response, 404, 'no such session');
  if (!id && !isInitializeRequest(message)) return refuse(response, 400, 'session id required');
  const transport = sessions.get(id)?.transport ?? (await open());
  return transport.handleRequest(request, response, message);
}

const validHost = localhostHostValidation();
const validOrigin = localhostOriginValidation();
const server = createServer((request, response) => {
  serve(request, response).catch(error => {
    console.error(error);
    if (!response.headersSent) refuse(response, 500, 'internal error');
  });
});
server.listen(Number(option('--port') ?? 0), '127.0.0.1', () => {
  console.log(JSON.stringify({ url: `http://localhost:${server.address().port}/mcp` }));
});

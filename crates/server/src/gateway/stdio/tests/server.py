"""A small MCP server over stdio, of both eras, that misbehaves on request."""
import json, os, sys, time

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
held, listening, cancelled, asking = [], [], [], []
stubborn = False


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def reply(id, **result):
    send({"id": id, "result": result})


def progress(token, count):
    send({"method": "notifications/progress", "params": {"progressToken": token, "progress": count}})


def listen(id):
    listening.append(id)
    send({"method": "notifications/subscriptions/acknowledged", "params": {"_meta": {SUBSCRIPTION: id}}})


def call(id, name, arguments, token, line):
    global stubborn
    if name == "pid":
        reply(id, pid=os.getpid())
    elif name == "environment":
        reply(id, environment=dict(os.environ), arguments=sys.argv[1:])
    elif name == "line":
        reply(id, line=line)
    elif name == "progress":
        for count in range(arguments["count"]):
            progress(token, count)
        reply(id, done=True)
    elif name == "hold":
        held.append((id, token))
    elif name == "release":
        for other, its_token in held:
            progress(its_token, 1)
            reply(other, released=True)
        held.clear()
        reply(id)
    elif name == "cancelled":
        reply(id, held=[other for other, _ in held], cancelled=cancelled)
    elif name == "die":
        sys.stderr.write("dying \x1b[31mnow\n")
        sys.stderr.flush()
        os._exit(3)
    elif name == "die-after-progress":
        progress(token, 1)
        os._exit(3)
    elif name == "garbage":
        sys.stdout.buffer.write(b"starting...\n\n[]\n{\"id\":1}\n\xff\xfe\n{\"jsonrpc\":\"2.0\",\"id\":999,\"result\":{}}\n")
        sys.stdout.flush()
        reply(id, first=True)
        reply(id, second=True)
    elif name == "long":
        head, tail = '{"jsonrpc":"2.0","id":%s,"result":{"x":"' % json.dumps(id), '"}}'
        sys.stdout.write(head + "x" * (arguments["bytes"] - len(head) - len(tail)) + tail + "\n")
        sys.stdout.flush()
    elif name == "log":
        send({"method": "notifications/message", "params": {"level": "info", "data": "hello"}})
        reply(id, logged=True)
    elif name == "announce":
        send({"method": "notifications/tools/list_changed"})
        reply(id)
    elif name == "end-listening":
        for other in listening:
            send({"method": "notifications/tools/list_changed", "params": {"_meta": {SUBSCRIPTION: other}}})
            reply(other, _meta={SUBSCRIPTION: other})
        listening.clear()
        reply(id)
    elif name == "ask":
        asking.append(id)
        send({"id": "srv-1", "method": "roots/list"})
    elif name == "announce-later":
        reply(id)
        send({"method": "notifications/tools/list_changed", "params": {"number": arguments["number"]}})
    elif name == "stubborn":
        stubborn = True
        reply(id, pid=os.getpid())
    else:
        send({"id": id, "error": {"code": -32602, "message": "unknown tool"}})


if sys.argv[1:] == ["stillborn"]:
    sys.exit(1)
for line in sys.stdin:
    message = json.loads(line)
    id, method, params = message.get("id"), message.get("method"), message.get("params", {})
    if method == "tools/call":
        call(id, params["name"], params.get("arguments", {}), params.get("_meta", {}).get("progressToken"), line)
    elif method == "initialize" and params["protocolVersion"] == "refuse":
        send({"id": id, "error": {"code": -32602, "message": "unsupported"}})
    elif method == "initialize":
        reply(id, protocolVersion="2025-11-25", capabilities={}, serverInfo={"name": "test", "version": "1"})
    elif method == "subscriptions/listen":
        listen(id)
    elif method == "notifications/cancelled":
        cancelled.append(params["requestId"])
    elif method is None:
        for asked in asking:
            reply(asked, heard=message)
        asking.clear()
    elif id is not None:
        send({"id": id, "error": {"code": -32601, "message": "no such method"}})
while stubborn:
    time.sleep(1)

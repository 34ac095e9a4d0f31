//! Section F: HTTP at the resource server.

use portcullis_testkit::{Outcome, Request, Site, mcp};
use serde_json::{Value, json};

use super::expect::{HOST, METADATA, RESOURCE, ir, ir_malformed, is, it, no, refused, unavailable, unjudged};
use super::forge::{Key, with};
use super::framing;
use super::range::{Issuer, Range};

const QUERY: &str = "the query has an `access_token`; send it in the `Authorization` header";
const TWO: &str = "there is more than one `Authorization` header";

#[tokio::test(flavor = "multi_thread")]
async fn http_at_the_resource_server() -> Outcome {
    let gone = Key::p256()?;
    let broken = Site::start(|_| portcullis_testkit::site::Page::status(500)).await?;
    let issuers = vec![
        // Nobody listens there.
        Issuer::at("gone", "http://127.0.0.1:9/jwks"),
        Issuer::at("broken", &format!("{}/jwks", broken.origin())),
        Issuer::of("desk", &json!([gone.published("es", "ES256")])).and(
            "introspection = { url = \"http://127.0.0.1:9/introspect\", client_id = \"gateway\", client_secret_file = \"secret\" }",
        ),
    ];
    let mut range = Range::start("F", issuers, "").await?;
    credentials(&mut range).await?;
    identities(&mut range).await?;
    framing::shown(&mut range).await?;
    paths(&mut range).await?;
    names(&mut range).await?;
    outages(&mut range, &gone).await?;
    documents(&mut range).await?;
    range.finish().await
}

async fn credentials(range: &mut Range) -> Outcome {
    let good = range.good();
    let sent = |range: &Range, value: &str| range.bare().header("authorization", value);

    range.row("RS-03").await?;
    for value in [
        format!("Bearer {good}, Bearer evil"),
        format!("Bearer evil, Bearer {good}"),
        format!("Bearer {good},"),
        format!("Bearer {good}, Basic dTpw"),
    ] {
        range
            .refuses("joined by a comma", sent(range, &value), ir_malformed())
            .await?;
    }
    for (first, second) in [(good.as_str(), "evil"), ("evil", &good), (&good, &good)] {
        let two = range.call(first).bearer(second);
        range
            .refuses("two headers", two, ir("request.two-authorization-headers", TWO))
            .await?;
    }

    range.row("RS-04").await?;
    for scheme in ["bearer", "BEARER", "BeArEr"] {
        range
            .passes(scheme, sent(range, &format!("{scheme} {good}")))
            .await?;
    }
    range
        .passes("more spaces", sent(range, &format!("Bearer   {good}")))
        .await?;
    for value in [
        "Bearer".to_owned(),
        format!("Bearer:{good}"),
        format!("Bearer\t{good}"),
        format!("Bearer \"{good}\""),
        format!("Bearer {good} {good}"),
        format!("Bearer token={good}"),
    ] {
        range.refuses(&value, sent(range, &value), ir_malformed()).await?;
    }
    for value in [
        format!("Token {good}"),
        good.clone(),
        format!("Basic {good}"),
        format!("Bearers {good}"),
        "Negotiate".to_owned(),
        format!("Digest username=\"{good}\""),
    ] {
        range.refuses(&value, sent(range, &value), no()).await?;
    }

    // RFC 6750 §2.3 describes it, MCP forbids it: whoever does it is told so, with and without a header.
    range.row("RS-05").await?;
    for query in [
        format!("access_token={good}"),
        format!("a=b&access_token={good}"),
        format!("access%5Ftoken={good}"),
        format!("ACCESS_TOKEN={good}"),
        format!("a=b;access_token={good}"),
        "access_token=".to_owned(),
    ] {
        let url = format!("{}/mcp?{query}", range.origin);
        let request = mcp::call(&url, "find", &json!({})).header("host", HOST);
        range
            .refuses("alone", request.clone(), ir("request.token-in-query", QUERY))
            .await?;
        range
            .refuses(
                "and a header",
                request.bearer(&good),
                ir("request.token-in-query", QUERY),
            )
            .await?;
    }

    range.row("RS-06").await?;
    let url = format!("{}/mcp", range.origin);
    let form = || {
        Request::post(&url)
            .form([("access_token", &good)])
            .header("host", HOST)
    };
    range.refuses("a form", form(), no()).await?;
    range
        .refuses(
            "a form and a header",
            form().bearer(&good),
            refused(415, "request.content-type"),
        )
        .await?;
    let json = range.bare().body(json!({"access_token": good}).to_string());
    range.refuses("in JSON", json, no()).await.map(drop)
}

async fn identities(range: &mut Range) -> Outcome {
    let good = range.good();
    let elsewhere = [
        ("proxy-authorization", format!("Bearer {good}")),
        ("x-forwarded-access-token", good.clone()),
        ("x-auth-request-access-token", good.clone()),
        ("x-auth-request-user", "root".to_owned()),
        ("x-authorization", format!("Bearer {good}")),
        ("cookie", format!("access_token={good}")),
        ("x-amzn-oidc-data", good.clone()),
    ];

    range.row("RS-08").await?;
    for (name, value) in &elsewhere {
        range
            .refuses(name, range.bare().header(*name, value), no())
            .await?;
        range.passes(name, range.call(&good).header(*name, value)).await?;
        let heard = range.behind.last().map(|asked| asked.headers).unwrap_or_default();
        range.same("what went on of it", heard.contains_key(*name), false);
    }

    range.row("RS-09").await?;
    for name in [
        "X-MCP-Subject",
        "x-mcp-subject",
        "X_MCP_Subject",
        "X-Forwarded-User",
        "X_Forwarded_User",
        "x-forwarded-email",
        "Remote-User",
        "REMOTE_USER",
        "X-Remote-User",
        "X-Client-Cert",
        "Forwarded",
        "baggage",
    ] {
        let twice = range.call(&good).header(name, "root").header(name, "admin");
        range.passes(name, twice).await?;
        let heard = range.behind.last().map(|asked| asked.headers).unwrap_or_default();
        range.same(name, heard.contains_key(name), false);
        range
            .refuses(name, range.bare().header(name, "root"), no())
            .await?;
    }

    range.row("RS-10").await?;
    for listed in [
        "close, authorization, X-MCP-Subject",
        "Authorization, Content-Type, Mcp-Name",
        "mcp-method",
    ] {
        range
            .passes(listed, range.call(&good).header("connection", listed))
            .await?;
        let heard = range.behind.last().map(|asked| asked.headers).unwrap_or_default();
        let ours = heard.get("authorization").and_then(|value| value.to_str().ok());
        range.same(
            "the gateway's own credential",
            ours,
            Some("Bearer the-gateways-own-credential"),
        );
        for name in ["content-type", "mcp-method", "mcp-name"] {
            range.same(name, heard.contains_key(name), true);
        }
        range.same("connection", heard.contains_key("connection"), false);
    }
    Ok(())
}

async fn paths(range: &mut Range) -> Outcome {
    let good = range.good();
    let authorization = format!("Authorization: Bearer {good}\r\n");

    // No path but those that are served is anything, with a token or without; of those that are, every spelling asks for one.
    range.row("RS-17").await?;
    for path in [
        "/mcp/..;/admin",
        "//mcp",
        "/mcp%2f..",
        "/MCP",
        "/mcp/.",
        "/mcp/",
        "/./mcp",
        "/x/../mcp",
        "/.well-known/oauth-protected-resource/../mcp",
        "/.well-known/oauth-protected-resource/..%2fmcp",
        "/.well-known/jwks.json/../../mcp",
        "/%6dcp",
        "/mcp;x=1",
        "/mcp%00",
        "/mcp%3f",
        "/s/crm/mcp/..",
        "/s/../mcp",
        "/s//mcp",
        "/sse",
        "/message",
        "/messages",
        "/ws",
        "/api",
        "/healthz",
        "/metrics",
        "/admin",
        "/",
    ] {
        for lines in ["", &authorization] {
            let bytes = Range::bytes(path, &format!("Host: {HOST}\r\n{lines}"));
            range
                .refuses_as_bytes(path, &bytes, unjudged(404, "http.not-found"))
                .await?;
        }
    }
    for path in ["/mcp?", "/mcp?x=/.well-known/jwks.json", "/mcp?/../../"] {
        let bytes = Range::bytes(path, &format!("Host: {HOST}\r\n"));
        range.refuses_as_bytes(path, &bytes, no()).await?;
    }
    for method in ["PUT", "OPTIONS", "HEAD", "TRACE", "PATCH", "FOO"] {
        let request = Request::new(method, format!("{}/mcp", range.origin))
            .header("host", HOST)
            .bearer(&good);
        let answer = request.send().await?;
        range.same(
            method,
            (answer.status, answer.header("allow")),
            (405, "GET, POST, DELETE"),
        );
    }
    let connect = format!("CONNECT /mcp HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    range
        .refuses_unread("CONNECT", connect.as_bytes(), &[400, 404, 405])
        .await
}

async fn names(range: &mut Range) -> Outcome {
    let good = range.good();
    let authorization = format!("Authorization: Bearer {good}\r\n");
    let with_host = |lines: &str| Range::bytes("/mcp", &format!("{lines}{authorization}"));
    let malformed = || refused(400, "http.host-malformed");
    let misdirected = || refused(403, "http.host-refused");

    range.row("RS-18").await?;
    for (what, lines) in [
        ("none", ""),
        ("two", "Host: gw.example\r\nHost: evil.example\r\n"),
        ("the same twice", "Host: gw.example\r\nHost: gw.example\r\n"),
        ("empty", "Host: \r\n"),
        ("a user", "Host: gw@evil.example\r\n"),
        ("our name as the user", "Host: gw.example@evil.example\r\n"),
        ("a port that is none", "Host: gw.example:x\r\n"),
        ("a path", "Host: gw.example/mcp\r\n"),
        ("a list", "Host: gw.example, evil.example\r\n"),
    ] {
        range
            .refuses_as_bytes(what, &with_host(lines), malformed())
            .await?;
    }
    for target in [
        "http://internal/mcp",
        "https://evil.example/mcp",
        "http://gw.example:81/mcp",
    ] {
        let bytes = Range::bytes(target, &format!("Host: {HOST}\r\n{authorization}"));
        range.refuses_as_bytes(target, &bytes, misdirected()).await?;
    }

    range.row("RS-22").await?;
    for host in [
        "evil.example",
        "gw.example.evil",
        "127.0.0.1",
        "localhost",
        "gw.example:8443",
    ] {
        range
            .refuses(
                host,
                range.bare().without("host").header("host", host),
                misdirected(),
            )
            .await?;
    }
    // Whatever the spelling of ours, the challenge has the configured one.
    for host in ["GW.EXAMPLE", "gw.example:443"] {
        range
            .refuses(host, range.bare().without("host").header("host", host), no())
            .await?;
    }

    range.row("RS-20").await?;
    for origin in [
        "https://evil.example",
        "null",
        "https://gw.example.evil",
        "http://gw.example",
        "",
    ] {
        let request = range.call(&good).header("origin", origin);
        let answer = range
            .refuses(origin, request, refused(403, "http.origin-refused"))
            .await?;
        range.same("may it read?", answer.header("access-control-allow-origin"), "");
        let ask = Request::new("OPTIONS", format!("{}/mcp", range.origin))
            .header("host", HOST)
            .header("origin", origin)
            .header("access-control-request-method", "POST");
        let answer = ask.send().await?;
        range.same(
            "may it ask?",
            (answer.status, answer.header("access-control-allow-origin")),
            (405, ""),
        );
    }
    range
        .passes(
            "its own",
            range.call(&good).header("origin", "https://gw.example"),
        )
        .await?;

    range.row("RS-21").await?;
    let reads = range.with_claims(&[("scope", json!("other:read"))]);
    for tool in ["a\"b", "\", error=\"x", "a\\\"", "\u{1f600}", "=?base64?IiA=?="] {
        let body =
            json!({"jsonrpc": "2.0", "id": "a\"b\r\nx: y", "method": "tools/call", "params": {"name": tool}});
        let request = mcp::post(&format!("{}/mcp", range.origin), &body)
            .header("host", HOST)
            .bearer(&reads);
        let answer = range.refuses(tool, request, is("crm:irreversible")).await?;
        range.same("a header more", answer.header("set-cookie"), "");
    }

    let broken = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "a\r\nSet-Cookie: x=y"}});
    let request = mcp::post(&format!("{}/mcp", range.origin), &broken)
        .header("host", HOST)
        .bearer(&reads);
    range
        .refuses(
            "a line end",
            request,
            refused(400, "request.invalid-params").with_code(-32_602),
        )
        .await?;

    range.row("RS-23").await?;
    for (name, value) in [
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-port", "1"),
        ("forwarded", "host=evil.example;proto=http"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x-host", "evil.example"),
    ] {
        range
            .refuses(name, range.bare().header(name, value), no())
            .await?;
        let page = Request::get(METADATA.replace("https://gw.example", &range.origin));
        let page = page
            .header("host", HOST)
            .header(name, value)
            .send()
            .await?
            .json()?;
        range.same(name, crate::text(&page, "/resource"), RESOURCE.to_owned());
    }
    Ok(())
}

async fn outages(range: &mut Range, key: &Key) -> Outcome {
    range.row("RS-32").await?;
    for issuer in ["gone", "broken"] {
        for kid in ["es", "none"] {
            let claims = with(
                Range::claims(),
                &[("iss", json!(format!("https://{issuer}.example")))],
            );
            let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": kid}).to_string();
            let token = key.token(header, claims.to_string());
            let refusal = range.refuses(
                issuer,
                range.call(&token),
                unavailable(503, "issuer.keys-unavailable", "peer"),
            );
            let refusal = refusal.await?;
            range.same("when to come again", refusal.header("retry-after"), "5");
        }
    }
    for opaque in ["opaque", "0123456789abcdef0123456789abcdef"] {
        let expected = unavailable(503, "issuer.introspection-unavailable", "peer");
        range.refuses_token("an opaque token", opaque, expected).await?;
    }
    // Nobody else is asked.
    let unknown = range.with_claims(&[("iss", json!("https://unknown.example"))]);
    range
        .refuses_token("another issuer", &unknown, it("token.issuer-unknown"))
        .await?;

    range.row("RS-25").await?;
    stream_ends(range).await
}

async fn stream_ends(range: &mut Range) -> Outcome {
    let until = portcullis_testkit::proofs::now() + 2;
    let token = range.with_claims(&[("exp", json!(until))]);
    let url = format!("{}/mcp", range.origin);
    let listen = mcp::modern(&url, "subscriptions/listen", json!({"notifications": {}}));
    let mut stream = listen.header("host", HOST).bearer(&token).stream().await?;
    range.same("it is open", stream.status, 200);
    range.same("and says something", stream.next().await?.is_some(), true);
    // The server behind says nothing more, and never ends it.
    range.same("until it ends", stream.next().await?, None);
    let early = portcullis_testkit::proofs::now() < until;
    range.same("before the token does", early, false);
    Ok(())
}

async fn documents(range: &mut Range) -> Outcome {
    let origin = range.origin.clone();
    let get = |path: &str| Request::get(format!("{origin}{path}")).header("host", HOST);
    let well_known = "/.well-known/oauth-protected-resource";

    range.row("RS-33").await?;
    for (path, resource) in [
        (well_known.to_owned(), RESOURCE),
        (format!("{well_known}/mcp"), RESOURCE),
        (format!("{well_known}/s/crm/mcp"), "https://gw.example/s/crm/mcp"),
    ] {
        let page: Value = get(&path).send().await?.json()?;
        range.same(&path, crate::text(&page, "/resource"), resource.to_owned());
    }
    for other in [
        "/other",
        "/mcp/",
        "/mcp2",
        "/s/other/mcp",
        "/mcp/../other",
        "/https://evil.example/mcp",
        "/%6dcp",
    ] {
        let line = format!("GET {well_known}{other} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        range
            .refuses_as_bytes(other, line.as_bytes(), unjudged(404, "http.not-found"))
            .await?;
    }
    range.row("RS-28").await
}

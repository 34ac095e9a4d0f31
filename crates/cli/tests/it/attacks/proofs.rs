//! Section G: proofs (RFC 9449).

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::SHA256;
use portcullis_testkit::proofs::now;
use portcullis_testkit::{Outcome, Request, mcp};
use serde_json::{Value, json};

use super::expect::{HOST, RESOURCE, dip, dit, dn, it_of_peer, refused};
use super::forge::{Key, hash, hs256, text, thumbprint, with, without};
use super::range::Range;

const HTU: &str = "the proof's `htu` is not this endpoint's public URL";
const ATH: &str = "the proof's `ath` is not the hash of the access token";
/// The members that a thumbprint is of, in order (RFC 7638 §3.2).
const MEMBERS: [&str; 4] = ["crv", "kty", "x", "y"];

/// An agent with a key.
struct Agent {
    key: Key,
    jkt: String,
}

impl Agent {
    fn new() -> Outcome<Self> {
        let key = Key::p256()?;
        let jkt = thumbprint(&key.jwk(), &MEMBERS);
        Ok(Self { key, jkt })
    }

    fn token(&self, range: &Range) -> String {
        range.with_claims(&[("cnf", json!({"jkt": self.jkt}))])
    }

    fn header(&self) -> Value {
        json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.key.jwk()})
    }

    fn claims(token: &str) -> Value {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let jti = format!("p-{}-{}", now(), NEXT.fetch_add(1, Ordering::Relaxed));
        json!({"jti": jti, "htm": "POST", "htu": RESOURCE, "iat": now(), "ath": text(hash(&SHA256, token.as_bytes()))})
    }

    /// A proof for this token, with these claims in place of its own.
    fn proof(&self, token: &str, claims: &[(&str, Value)]) -> String {
        let claims = with(Self::claims(token), claims).to_string();
        self.key.token(self.header().to_string(), claims)
    }
}

fn malformed(claim: &str) -> super::expect::Expect {
    dip(
        "dpop.claim-malformed",
        &format!("the proof's `{claim}` is malformed"),
    )
}

fn missing(claim: &str) -> super::expect::Expect {
    dip("dpop.claim-missing", &format!("the proof has no `{claim}`"))
}

/// A call with a token and a proof.
fn proven(range: &Range, token: &str, proof: &str) -> Request {
    range.bare().dpop(token, proof)
}

/// A gateway that takes proofs made now: those made before it knew what was used need its nonce (RFC 9449 §8).
async fn ready(range: &mut Range, agent: &Agent) -> Outcome {
    let token = agent.token(range);
    loop {
        let answer = proven(range, &token, &agent.proof(&token, &[])).send().await?;
        if answer.header("dpop-nonce").is_empty() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_of_a_key() -> Outcome {
    let mut range = Range::start("G", Vec::new(), "").await?;
    let agent = Agent::new()?;
    ready(&mut range, &agent).await?;
    senders(&mut range, &agent).await?;
    headers(&mut range, &agent).await?;
    requests(&mut range, &agent).await?;
    replays(&mut range, &agent).await?;
    range.finish().await
}

async fn senders(range: &mut Range, agent: &Agent) -> Outcome {
    let (token, other) = (agent.token(range), Agent::new()?);
    let constrained = || {
        dit(
            "token.sender-constrained",
            "the token is bound to a key and was sent without proof of it",
        )
    };
    let other_key = || {
        dit(
            "token.other-key",
            "the token is bound to another key than that of the proof",
        )
    };

    range.row("DPOP-01").await?;
    range
        .refuses("as a bearer token", range.call(&token), constrained())
        .await?;
    let with_proof = range.call(&token).header("dpop", agent.proof(&token, &[]));
    range
        .refuses("as a bearer token, with a proof", with_proof, constrained())
        .await?;
    let plain = range.good();
    let not_bound = dit(
        "token.not-bound",
        "the token is not bound to a key and was sent with proof of one",
    );
    range
        .refuses(
            "a bearer token as a bound one",
            proven(range, &plain, &agent.proof(&plain, &[])),
            not_bound,
        )
        .await?;
    range
        .passes(
            "as it should be",
            proven(range, &token, &agent.proof(&token, &[])),
        )
        .await?;

    range.row("DPOP-03").await?;
    let none = range.bare().header("authorization", format!("DPoP {token}"));
    range
        .refuses(
            "no proof",
            none,
            dip("dpop.missing", "the `DPoP` header is missing"),
        )
        .await?;

    range.row("DPOP-04").await?;
    let (good, bad) = (agent.proof(&token, &[]), other.proof(&token, &[]));
    for (first, second) in [(&good, &bad), (&bad, &good), (&good, &good)] {
        let two = proven(range, &token, first).header("dpop", second);
        range
            .refuses(
                "two headers",
                two,
                dip("dpop.two", "there is more than one `DPoP` header"),
            )
            .await?;
        let list = proven(range, &token, &format!("{first}, {second}"));
        range
            .refuses(
                "a list",
                list,
                dip("dpop.malformed", "the `DPoP` header is malformed"),
            )
            .await?;
    }
    range.passes("one of them", proven(range, &token, &good)).await?;

    range.row("DPOP-05").await?;
    let stolen = proven(range, &token, &other.proof(&token, &[]));
    range
        .refuses("the proof of another key", stolen, other_key())
        .await?;
    let crossed = other
        .key
        .token(agent.header().to_string(), Agent::claims(&token).to_string());
    let signature = dip("dpop.signature", "the proof's signature does not hold");
    range
        .refuses(
            "the key of the token, the signature of another",
            proven(range, &token, &crossed),
            signature,
        )
        .await?;

    // The token of one client, and the key of another.
    range.row("CLM-15").await?;
    let theirs = range.with_claims(&[("client_id", json!("other")), ("cnf", json!({"jkt": other.jkt}))]);
    range
        .refuses(
            "another client's token",
            proven(range, &theirs, &agent.proof(&theirs, &[])),
            other_key(),
        )
        .await?;

    range.row("DPOP-30").await?;
    let jwk = agent.key.jwk();
    for wrong in [
        json!(format!("{}=", agent.jkt)),
        json!(agent.jkt.get(..42)),
        json!(
            hash(&SHA256, b"x")
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        ),
        json!([agent.jkt]),
        json!(null),
    ] {
        let token = range.with_claims(&[("cnf", json!({"jkt": wrong}))]);
        let what = format!("{wrong}");
        let refusal = it_of_peer("token.claim-malformed").in_dpop();
        range
            .refuses(&what, proven(range, &token, &agent.proof(&token, &[])), refusal)
            .await?;
    }
    for members in [["kty", "crv", "x", "y"], ["y", "x", "kty", "crv"]] {
        let token = range.with_claims(&[("cnf", json!({"jkt": thumbprint(&jwk, &members)}))]);
        range
            .refuses(
                "another order",
                proven(range, &token, &agent.proof(&token, &[])),
                other_key(),
            )
            .await?;
    }
    let more = with(jwk, &[("alg", json!("ES256"))]);
    let token = range.with_claims(&[(
        "cnf",
        json!({"jkt": thumbprint(&more, &["alg", "crv", "kty", "x", "y"])}),
    )]);
    range
        .refuses(
            "a member more",
            proven(range, &token, &agent.proof(&token, &[])),
            other_key(),
        )
        .await
        .map(drop)
}

async fn headers(range: &mut Range, agent: &Agent) -> Outcome {
    let token = agent.token(range);
    let sent = |range: &Range, header: Value| {
        let claims = Agent::claims(&token).to_string();
        proven(range, &token, &agent.key.token(header.to_string(), claims))
    };
    let private = || dip("dpop.key-private", "the proof's `jwk` holds a private key");

    range.row("DPOP-07").await?;
    for member in ["d", "p", "priv"] {
        let jwk = with(agent.key.jwk(), &[(member, json!(text([1; 32])))]);
        let header = with(agent.header(), &[("jwk", jwk)]);
        range.refuses(member, sent(range, header), private()).await?;
    }
    for (what, header, reason, told) in [
        (
            "no key",
            without(agent.header(), "jwk"),
            "dpop.key-missing",
            "the proof's header has no `jwk`",
        ),
        (
            "another `typ`",
            with(agent.header(), &[("typ", json!("JWT"))]),
            "dpop.type",
            "the proof's `typ` is not `dpop+jwt`",
        ),
        (
            "an access token's `typ`",
            with(agent.header(), &[("typ", json!("at+jwt"))]),
            "dpop.type",
            "the proof's `typ` is not `dpop+jwt`",
        ),
        (
            "none",
            with(agent.header(), &[("alg", json!("none"))]),
            "dpop.algorithm",
            "the proof's algorithm is not accepted",
        ),
        (
            "RS1",
            with(agent.header(), &[("alg", json!("RS1"))]),
            "dpop.algorithm",
            "the proof's algorithm is not accepted",
        ),
        (
            "jku",
            with(agent.header(), &[("jku", json!("https://evil.example"))]),
            "dpop.header-refused",
            "the proof's header parameter `jku` is refused",
        ),
        (
            "crit",
            with(agent.header(), &[("crit", json!(["exp"]))]),
            "dpop.header-refused",
            "the proof's header parameter `crit` is refused",
        ),
    ] {
        range
            .refuses(what, sent(range, header), dip(reason, told))
            .await?;
    }
    let header = with(agent.header(), &[("alg", json!("HS256"))]).to_string();
    let hmac = super::forge::compact(header, Agent::claims(&token).to_string(), |input| {
        hs256(b"", input)
    });
    let algorithm = dip("dpop.algorithm", "the proof's algorithm is not accepted");
    range
        .refuses("HS256", proven(range, &token, &hmac), algorithm)
        .await?;
    // JWS-45: an access token for a proof.
    let compact = dip("dpop.key-missing", "the proof's header has no `jwk`");
    range
        .refuses("an access token", proven(range, &token, &token), compact)
        .await
        .map(drop)
}

async fn requests(range: &mut Range, agent: &Agent) -> Outcome {
    let token = agent.token(range);
    let sent = |range: &Range, claims: &[(&str, Value)]| proven(range, &token, &agent.proof(&token, claims));

    range.row("DPOP-09").await?;
    for htm in ["GET", "post", "Post", "PUT", ""] {
        let other = dip(
            "dpop.htm-mismatch",
            "the proof's `htm` is not the request's method",
        );
        range
            .refuses(htm, sent(range, &[("htm", json!(htm))]), other)
            .await?;
    }
    range
        .refuses(
            "a list",
            sent(range, &[("htm", json!(["POST"]))]),
            malformed("htm"),
        )
        .await?;

    range.row("DPOP-10").await?;
    for htu in [
        "https://evil.example/mcp",
        "https://gw.example.evil/mcp",
        "https://gw.example/s/crm/mcp",
        "https://gw.example/mcp/",
        "https://gw.example/MCP",
        "https://gw.example/mcp/..",
        "https://gw.example:8443/mcp",
        "http://gw.example/mcp",
        "https://user@gw.example/mcp",
        "https://gw.example/mcp%2f",
        "//gw.example/mcp",
        "/mcp",
        "",
    ] {
        range
            .refuses(
                htu,
                sent(range, &[("htu", json!(htu))]),
                dip("dpop.htu-mismatch", HTU),
            )
            .await?;
    }
    // RFC 9449 §4.3 (9): in the normal form of RFC 3986 §6.2.2 and §6.2.3, without query and fragment.
    for htu in [
        "HTTPS://GW.Example/mcp",
        "https://gw.example:443/mcp",
        "https://gw.example/%6dcp",
        "https://gw.example/./x/../mcp",
        "https://gw.example/mcp?a=b",
        "https://gw.example/mcp#c",
    ] {
        range.passes(htu, sent(range, &[("htu", json!(htu))])).await?;
    }

    range.row("DPOP-11").await?;
    let inner = format!("{}/mcp", range.origin);
    range
        .refuses(
            "the inner URL",
            sent(range, &[("htu", json!(inner))]),
            dip("dpop.htu-mismatch", HTU),
        )
        .await?;
    for (name, value) in [
        ("x-forwarded-host", "mcp.example"),
        ("forwarded", "host=mcp.example;proto=https"),
    ] {
        let lying = sent(range, &[("htu", json!("https://mcp.example/mcp"))]).header(name, value);
        range.refuses(name, lying, dip("dpop.htu-mismatch", HTU)).await?;
    }

    // What an authorization server would take.
    range.row("DPOP-29").await?;
    let claims = [("htu", json!("https://home.example/token"))];
    range
        .refuses(
            "a proof for the issuer",
            sent(range, &claims),
            dip("dpop.htu-mismatch", HTU),
        )
        .await?;

    range.row("DPOP-12").await?;
    for past in [61, 600, 86_400] {
        let old = sent(range, &[("iat", json!(now() - past))]);
        range
            .refuses(
                &format!("{past} seconds ago"),
                old,
                dip("dpop.stale", "the proof's `iat` is too old"),
            )
            .await?;
    }
    for ahead in [30, 600] {
        let early = sent(range, &[("iat", json!(now() + ahead))]);
        let future = dip("dpop.future", "the proof's `iat` is in the future");
        range
            .refuses(&format!("in {ahead} seconds"), early, future)
            .await?;
    }
    for iat in [
        json!(now().to_string()),
        json!(1.5),
        json!(null),
        json!(-1),
        json!([now()]),
    ] {
        range
            .refuses(
                &iat.to_string(),
                sent(range, &[("iat", iat.clone())]),
                malformed("iat"),
            )
            .await?;
    }

    range.row("DPOP-17").await?;
    for (what, jti) in [
        ("257 bytes", "j".repeat(257)),
        ("3,000 bytes", "j".repeat(3000)),
        ("empty", String::new()),
    ] {
        range
            .refuses(what, sent(range, &[("jti", json!(jti))]), malformed("jti"))
            .await?;
    }
    let longest = format!("{}{}", now(), "j".repeat(240));
    range
        .passes("as long as may be", sent(range, &[("jti", json!(longest))]))
        .await?;
    let huge = sent(range, &[("jti", json!("j".repeat(20_000)))]);
    range
        .refuses("more than a header may have", huge, refused(431, "dpop.too-long"))
        .await?;

    range.row("DPOP-18").await?;
    let digest = hash(&SHA256, token.as_bytes());
    let hexadecimal: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    for (what, ath) in [
        ("of another token", text(hash(&SHA256, range.good().as_bytes()))),
        ("in hexadecimal", hexadecimal),
        ("padded", format!("{}=", text(&digest))),
        (
            "in the other alphabet",
            format!("{}+", text(&digest).get(..42).unwrap_or_default()),
        ),
        ("empty", String::new()),
    ] {
        range
            .refuses(
                what,
                sent(range, &[("ath", json!(ath))]),
                dip("dpop.ath-mismatch", ATH),
            )
            .await?;
    }
    for claim in ["jti", "htm", "htu", "iat", "ath"] {
        let claims = without(Agent::claims(&token), claim).to_string();
        let proof = agent.key.token(agent.header().to_string(), claims);
        range
            .refuses(claim, proven(range, &token, &proof), missing(claim))
            .await?;
    }
    Ok(())
}

async fn replays(range: &mut Range, agent: &Agent) -> Outcome {
    let token = agent.token(range);
    let again = || dip("dpop.replayed", "the proof was used before");

    range.row("DPOP-13").await?;
    let proof = agent.proof(&token, &[]);
    range.passes("once", proven(range, &token, &proof)).await?;
    for _ in 0..3 {
        range
            .refuses("again", proven(range, &token, &proof), again())
            .await?;
    }
    // For another call as well.
    let other = range.tool("wipe").dpop(&token, &proof);
    range.refuses("for another call", other, again()).await?;

    // What is remembered is the key, the name and the endpoint, and not the text.
    range.row("DPOP-14").await?;
    let jti = json!(format!("same-{}", now()));
    let spelled = |htu: &str| agent.proof(&token, &[("jti", jti.clone()), ("htu", json!(htu))]);
    range
        .passes("once", proven(range, &token, &spelled(RESOURCE)))
        .await?;
    for htu in [
        "https://gw.example/mcp?x=1",
        "https://GW.example/mcp",
        "https://gw.example:443/mcp",
        RESOURCE,
    ] {
        range
            .refuses(htu, proven(range, &token, &spelled(htu)), again())
            .await?;
    }
    // Somebody else's of the same name is another.
    let other = Agent::new()?;
    let theirs = other.token(range);
    range
        .passes(
            "another key",
            proven(range, &theirs, &other.proof(&theirs, &[("jti", jti)])),
        )
        .await?;

    // As long as it is accepted: with the latest `iat`, too.
    range.row("DPOP-15").await?;
    let early = agent.proof(&token, &[("iat", json!(now() + 4))]);
    range.passes("once", proven(range, &token, &early)).await?;
    range
        .refuses("again", proven(range, &token, &early), again())
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_with_a_nonce() -> Outcome {
    let mut range = Range::start("G, nonce", Vec::new(), "[dpop]\nnonce = \"always\"\n").await?;
    let agent = Agent::new()?;
    let token = agent.token(&range);
    let sent = |range: &Range, claims: &[(&str, Value)]| proven(range, &token, &agent.proof(&token, claims));

    range.row("DPOP-19").await?;
    let answer = range.refuses("none", sent(&range, &[]), dn()).await?;
    let nonce = answer.header("dpop-nonce").to_owned();
    range.same("its length", nonce.len(), 32);
    for wrong in [
        "",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        &format!("{nonce}A"),
        &nonce.to_uppercase(),
    ] {
        let answer = range
            .refuses(wrong, sent(&range, &[("nonce", json!(wrong))]), dn())
            .await?;
        range.same("a new one", answer.header("dpop-nonce").is_empty(), false);
    }
    let malformed = malformed("nonce");
    range
        .refuses("a number", sent(&range, &[("nonce", json!(1))]), malformed)
        .await?;
    let answer = range
        .arrives("with it", sent(&range, &[("nonce", json!(nonce))]))
        .await?;
    range.same("the next", answer.header("dpop-nonce").is_empty(), false);

    // Made ahead of time: for want of a nonce that nobody could know, it is worth nothing.
    range.row("DPOP-21").await?;
    range
        .refuses("made ahead", sent(&range, &[("iat", json!(now() + 4))]), dn())
        .await?;
    let future = dip("dpop.future", "the proof's `iat` is in the future");
    range
        .refuses(
            "made far ahead",
            sent(&range, &[("iat", json!(now() + 60))]),
            future,
        )
        .await?;
    // A nonce is for proofs: a bearer token needs none, and gets the next one with its answer.
    let bearer = mcp::call(&format!("{}/mcp", range.origin), "find", &json!({})).header("host", HOST);
    let good = range.good();
    range.passes("a bearer token", bearer.bearer(&good)).await?;
    range.finish().await
}

//! What a call costs at a gateway with few and with many servers, tools and issuers.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::fixture::{Folder, Grant, Issuer, PUBLIC_URL, issuer_toml, server_toml};
use crate::load::{Failure, Pace, Requests, Shown, run_each, tools_call};
use crate::process::{Running, cpu, free_address, ourselves, resident};
use crate::subjects::{CONNECTIONS, gateway};
use crate::{mebibytes, micros};

/// Rounds of each size.
const ROUNDS: usize = 3;

/// How large a gateway is.
#[derive(Clone, Copy)]
struct Size {
    servers: usize,
    /// Of each server.
    tools: usize,
    issuers: usize,
}

const SMALL: Size = Size {
    servers: 1,
    tools: 10,
    issuers: 1,
};

/// The section of the page.
pub(crate) fn section(
    runtime: &tokio::runtime::Runtime,
    portcullis: &Path,
    time: Duration,
) -> Result<String, Failure> {
    runtime.block_on(measure(portcullis, time))
}

async fn measure(portcullis: &Path, time: Duration) -> Result<String, Failure> {
    let (_backend, behind) = ourselves(&["backend"])?;
    let mut page = format!(
        "## Growth\n\nCPU of the gateway for one `tools/call`, warm, all connections busy; of the last server, its last tool, and a token of the last issuer. Small and large in turn, \
         median of {ROUNDS} rounds. Goal: within 1.2 x.\n\n| | small | large | ratio | resident memory, large |\n|---|---|---|---|---|\n"
    );
    let rows = [
        (
            "servers: 1 and 1,000",
            Size {
                servers: 1_000,
                ..SMALL
            },
        ),
        (
            "tools: 10 and 10,000",
            Size {
                tools: 10_000,
                ..SMALL
            },
        ),
        (
            "issuers: 1 and 100",
            Size {
                issuers: 100,
                ..SMALL
            },
        ),
    ];
    for (name, large) in rows {
        let (small, large) = (
            Grown::start(portcullis, &behind, SMALL).await?,
            Grown::start(portcullis, &behind, large).await?,
        );
        let mut costs = [Vec::new(), Vec::new()];
        for round in 0..=ROUNDS {
            for (grown, costs) in [&small, &large].into_iter().zip(&mut costs) {
                let cost = grown.cost(time).await?;
                // The first round warms up.
                if round > 0 {
                    costs.push(cost);
                }
            }
        }
        let [a, b] = costs.map(|mut costs| {
            costs.sort_unstable();
            costs.get(costs.len() / 2).copied().unwrap_or_default()
        });
        writeln!(
            page,
            "| {name} | {} | {} | {:.2} | {} |",
            micros(a),
            micros(b),
            b.as_secs_f64() / a.as_secs_f64(),
            mebibytes(resident(large.running.id())?)
        )?;
    }
    page.push('\n');
    Ok(page)
}

/// A gateway of some size.
struct Grown {
    running: Running,
    listen: String,
    requests: Vec<Requests>,
    _folder: Folder,
}

impl Grown {
    async fn start(portcullis: &Path, behind: &str, size: Size) -> Result<Self, Failure> {
        let folder = Folder::new(&format!(
            "growth-{}-{}-{}",
            size.servers, size.tools, size.issuers
        ))?;
        let issuer = Issuer::new()?;
        folder.write("jwks.json", &issuer.jwks()?)?;
        let listen = free_address()?;
        let name = |number: usize| format!("https://as{number}.example.com");
        let issuers: String = (0..size.issuers)
            .map(|number| issuer_toml(&name(number)))
            .collect();
        let mut servers = String::new();
        for server in 0..size.servers {
            servers.push_str(&server_toml(&format!("s{server}"), behind));
            for tool in 0..size.tools {
                writeln!(servers, "[servers.tools.t{tool}]\neffect = \"read\"")?;
            }
        }
        let path = format!("/s/s{}/mcp", size.servers - 1);
        let (audience, scope) = (
            format!("{PUBLIC_URL}{path}"),
            format!("s{}:read", size.servers - 1),
        );
        let last = name(size.issuers - 1);
        let grant = Grant {
            issuer: &last,
            audience: &audience,
            scope: &scope,
            bound_to: None,
        };
        let tool = format!("t{}", size.tools - 1);
        let call = |client: usize| -> Result<Requests, Failure> {
            let token = issuer.token(&issuer.es256, &grant, client)?;
            Ok(Requests::Same(tools_call(
                &listen,
                &path,
                &tool,
                Shown::Bearer(&token),
            )))
        };
        let requests = (0..CONNECTIONS).map(call).collect::<Result<_, _>>()?;
        let running = gateway(portcullis, &folder, &listen, &issuers, &servers).await?;
        Ok(Self {
            running,
            listen,
            requests,
            _folder: folder,
        })
    }

    async fn cost(&self, time: Duration) -> Result<Duration, Failure> {
        let before = cpu(self.running.id())?;
        let run = run_each(&self.listen, self.requests.clone(), time, Pace::Closed).await?;
        let spent = cpu(self.running.id())?.saturating_sub(before);
        Ok(spent / u32::try_from(run.answers.max(1))?)
    }
}

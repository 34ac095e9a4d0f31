//! Logins that succeed, in both eras, and what they leave behind.

use portcullis_agent::{LoggedOut, Login, Preregistered};
use portcullis_core::ids::{ClientId, ScopeSet};
use portcullis_core::secret::Secret;
use portcullis_testkit::Request;
use serde_json::{Map, json};

use crate::parties::look;
use crate::stage::Stage;

async fn lists_calls_and_steps_up(stage: &Stage) {
    let (agent, url) = (stage.agent().await, stage.parties.url());
    let status = agent.login(&url, &Login::default()).await.unwrap();
    assert_eq!(
        (status.scope.as_deref(), status.renewable),
        (Some("notes:read"), true)
    );
    assert!(stage.page(0).await.contains("You are logged in"));

    let names: Vec<String> = agent
        .tools(&url)
        .await
        .unwrap()
        .into_iter()
        .map(|tool| tool.name)
        .collect();
    assert_eq!(names, ["list_notes", "add_note"]);

    // The call needs more: asked for together with what was asked for before, and then it succeeds.
    let called = agent.call(&url, "add_note", Map::new()).await.unwrap();
    assert_eq!(
        (called.failed, called.content),
        (false, vec![json!({"type": "text", "text": "done"})])
    );
    let seen = look(&stage.parties.authority).seen.clone();
    let port = seen[0]
        .strip_prefix("register http://127.0.0.1:")
        .unwrap()
        .to_owned();
    assert_eq!(
        seen,
        [
            &format!("register http://127.0.0.1:{port}"),
            "authorize notes:read",
            "token authorization_code",
            "authorize notes:read notes:write",
            "token authorization_code",
        ],
        "one registration serves both logins"
    );
    // The next process finds it all.
    assert_eq!(
        stage.agent().await.status().await.unwrap()[0].scope.as_deref(),
        Some("notes:read notes:write")
    );
}

#[tokio::test]
async fn a_login_lists_calls_and_steps_up_in_the_modern_era() {
    let stage = Stage::set().await;
    lists_calls_and_steps_up(&stage).await;
    assert!(
        !look(&stage.parties.resource)
            .seen
            .iter()
            .any(|line| line.starts_with("initialize"))
    );
}

#[tokio::test]
async fn a_login_lists_calls_and_steps_up_in_the_legacy_era() {
    let stage = Stage::set().await;
    look(&stage.parties.resource).legacy = true;
    lists_calls_and_steps_up(&stage).await;
    assert!(
        look(&stage.parties.resource)
            .seen
            .iter()
            .any(|line| line.starts_with("initialize at-"))
    );
}

#[tokio::test]
async fn a_call_logs_in_by_itself() {
    let stage = Stage::set().await;
    let (agent, url) = (stage.agent().await, stage.parties.url());
    assert_eq!(agent.tools(&url).await.unwrap().len(), 2);
    assert_eq!(stage.parties.count("authorize"), 1);
}

#[tokio::test]
async fn the_scopes_and_the_client_of_the_person_win() {
    let stage = Stage::set().await;
    look(&stage.parties.authority)
        .clients
        .insert("by-hand".to_owned(), String::new());
    let login = Login {
        scope: Some(ScopeSet::parse("notes:read notes:irreversible").unwrap()),
        client: Some(Preregistered {
            id: ClientId::parse("by-hand").unwrap(),
            secret: Some(Secret::new("s3cret")),
        }),
    };
    let status = stage
        .agent()
        .await
        .login(&stage.parties.url(), &login)
        .await
        .unwrap();
    assert_eq!(status.scope.as_deref(), Some("notes:irreversible notes:read"));
    assert_eq!(stage.parties.count("register"), 0);
}

#[tokio::test]
async fn a_redirect_uri_that_is_refused_by_address_is_tried_by_name() {
    let stage = Stage::set().await;
    look(&stage.parties.authority).refuses_redirect = Some("http://127.0.0.1");
    stage
        .agent()
        .await
        .login(&stage.parties.url(), &Login::default())
        .await
        .unwrap();
    assert_eq!(stage.parties.count("register http://localhost:"), 1);
}

#[tokio::test]
async fn a_logout_revokes_and_forgets() {
    let stage = Stage::set().await;
    let (agent, url) = (stage.agent().await, stage.parties.url());
    agent.login(&url, &Login::default()).await.unwrap();
    assert_eq!(agent.logout(&url).await.unwrap(), LoggedOut::Revoked);
    assert_eq!(stage.parties.count("revoke"), 1);
    assert!(agent.status().await.unwrap().is_empty());
    assert_eq!(agent.logout(&url).await.unwrap(), LoggedOut::NotLoggedIn);
    assert_eq!(agent.token(&url).await.unwrap_err().code(), "agent.not-logged-in");
}

#[tokio::test]
async fn whatever_else_comes_to_the_callback_address_does_not_end_the_login() {
    /// Knocks on every wrong door before the right one.
    struct Knocking(std::sync::Mutex<Option<tokio::task::JoinHandle<Vec<u16>>>>);
    impl portcullis_agent::Presenter for Knocking {
        fn authorize(&self, url: &str) {
            let url = url::Url::parse(url).unwrap();
            let redirect = url
                .query_pairs()
                .find(|(name, _)| name == "redirect_uri")
                .unwrap()
                .1
                .into_owned();
            let knocks = tokio::spawn(async move {
                let mut statuses = Vec::new();
                for door in [
                    Request::get(redirect.replace("/callback", "/")),
                    Request::get(redirect.replace("/callback", "/callback/")),
                    Request::post(format!("{redirect}?code=c&state=x")),
                    Request::get(redirect.clone()),
                    Request::get(format!("{redirect}?code=c&state=x")),
                    Request::get(format!("{redirect}?error=access_denied")),
                    Request::get(url.as_str()),
                ] {
                    let mut answer = door.send().await.unwrap();
                    if answer.status == 302 {
                        answer = Request::get(answer.header("location")).send().await.unwrap();
                    }
                    statuses.push(answer.status);
                }
                statuses
            });
            *self.0.lock().unwrap() = Some(knocks);
        }
    }
    let stage = Stage::set().await;
    let knocking = std::sync::Arc::new(Knocking(std::sync::Mutex::default()));
    let mut settings = stage.settings();
    settings.presenter = knocking.clone();
    let agent = portcullis_agent::Agent::open(settings).await.unwrap();
    agent
        .login(&stage.parties.url(), &Login::default())
        .await
        .unwrap();
    let knocks = knocking.0.lock().unwrap().take().unwrap();
    assert_eq!(knocks.await.unwrap(), [404, 404, 404, 400, 400, 400, 200]);
}

#[tokio::test]
async fn operations_can_be_spawned() {
    let stage = Stage::set().await;
    let (agent, url) = (stage.agent().await, stage.parties.url());
    let tools = tokio::spawn(async move { agent.tools(&url).await });
    assert_eq!(tools.await.unwrap().unwrap().len(), 2);
}

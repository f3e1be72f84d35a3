//! Vercel's deployments as events.

use serde_json::{Value, json};

use super::type_of;
use crate::{
    event_type::TypeKey,
    instant,
    json::{at, id, text},
    source_event::{Actor, Context, Draft, ReferenceKind, References, SourceEvent},
};

/// The event of a deployment, whatever happened to it.
pub(super) fn normalise(context: Context<'_>, webhook: &Value) -> Option<SourceEvent> {
    let key = type_of(context.event, webhook);
    if key.entity != "deployment" {
        return None;
    }
    let payload = at(webhook, "payload");
    let git = Git::read(at(payload, "deployment.meta"));
    let happened = happened(&key);
    let name = ["project.name", "deployment.name", "project.id"].into_iter().find_map(|path| id(payload, path));
    let name = name.or_else(|| deployment_id(payload)).unwrap_or_else(|| "unknown project".to_owned());
    let from = git.branch.map(|branch| format!(" from {branch}")).unwrap_or_default();
    let draft = Draft {
        source_type: key.source_type(),
        source_id: source_id(context, &key, webhook),
        title: format!("[{happened}] {name}{from}"),
        body: format!("{} {happened}\n{}", mark(&key), git.message.unwrap_or_default()),
        actor: git.author.and_then(|author| Actor::new(Some(author.to_owned()), Some(author), None, None)),
        occurred_at: instant::of_json(at(webhook, "createdAt")),
        references: references(payload, &git),
        metadata: metadata(webhook, &key, &git),
    };
    Some(draft.finish(context))
}

/// What happened, in words: `Deployment Succeeded`.
fn happened(key: &TypeKey) -> String {
    let words = match key.action.as_deref() {
        Some("created") => "Started".to_owned(),
        Some("error") => "Failed".to_owned(),
        Some("check-rerequested") => "Check Re-requested".to_owned(),
        Some(action) => action.split(['.', '-']).map(capitalised).collect::<Vec<_>>().join(" "),
        None => String::new(),
    };
    format!("Deployment {words}").trim_end().to_owned()
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn mark(key: &TypeKey) -> char {
    match key.action.as_deref() {
        Some("succeeded" | "ready" | "promoted") => '+',
        Some("error") => 'x',
        Some("canceled") => '!',
        _ => '>',
    }
}

/// The deployment and what happened to it. What can happen to one deployment again is told apart by its time.
fn source_id(context: Context<'_>, key: &TypeKey, webhook: &Value) -> String {
    let Some(deployment) = deployment_id(at(webhook, "payload")) else {
        let delivery = id(webhook, "id").unwrap_or_else(|| context.delivery.to_owned());
        return format!("deployment:{delivery}:{}", key.source_type());
    };
    let once = ["created", "succeeded", "ready", "error", "canceled"];
    let mut parts = vec!["deployment".to_owned(), deployment, key.source_type()];
    if !key.action.as_deref().is_some_and(|action| once.contains(&action)) {
        parts.extend(id(webhook, "payload.check.id"));
        let when = instant::of_json(at(webhook, "createdAt")).map(|millis| millis.to_string());
        parts.push(when.unwrap_or_else(|| context.delivery.to_owned()));
    }
    parts.join(":")
}

/// The deployment's id; a rollback names the deployment it goes back to.
fn deployment_id(payload: &Value) -> Option<String> {
    ["deployment.id", "deploymentId", "toDeploymentId"].into_iter().find_map(|path| id(payload, path))
}

/// The commit that was deployed, as far as the deployment's metadata tells.
struct Git<'a> {
    sha: Option<&'a str>,
    branch: Option<&'a str>,
    message: Option<&'a str>,
    author: Option<&'a str>,
    org: Option<&'a str>,
    repo: Option<&'a str>,
    pull_request: Option<String>,
}

impl<'a> Git<'a> {
    fn read(meta: &'a Value) -> Self {
        // The command line writes `git…` where it finds a repository.
        let hosts = ["github", "gitlab", "bitbucket", "git"];
        let read = |name: &str| hosts.iter().find_map(|host| text(meta, &format!("{host}{name}")));
        Self {
            sha: read("CommitSha"),
            branch: read("CommitRef"),
            message: read("CommitMessage"),
            author: read("CommitAuthorName"),
            org: text(meta, "githubOrg"),
            repo: text(meta, "githubRepo"),
            pull_request: id(meta, "githubPrId"),
        }
    }

    fn url(&self, folder: &str, name: &str) -> Option<String> {
        let name = name.replace('%', "%25").replace('#', "%23");
        Some(format!("https://github.com/{}/{}/{folder}/{name}", self.org?, self.repo?))
    }
}

fn references(payload: &Value, git: &Git<'_>) -> References {
    let mut references = References::new();
    let commit = git.sha.and_then(|sha| git.url("commit", sha));
    references.add(ReferenceKind::Commit, git.sha, commit.as_deref(), None);
    let branch = git.branch.and_then(|branch| git.url("tree", branch));
    references.add(ReferenceKind::Branch, git.branch, branch.as_deref(), None);
    if let Some(number) = &git.pull_request
        && let Some(url) = git.url("pull", number)
    {
        references.add(ReferenceKind::Pr, Some(format!("#{number}")), Some(&url), None);
    }
    let url = text(payload, "deployment.url").map(|url| match url.contains("://") {
        true => url.to_owned(),
        false => format!("https://{url}"),
    });
    references.add(ReferenceKind::Deployment, deployment_id(payload), url.as_deref(), None);
    let project = project_id(payload);
    references.add(ReferenceKind::Project, project, text(payload, "links.project"), text(payload, "project.name"));
    references
}

fn project_id(payload: &Value) -> Option<String> {
    ["project.id", "projectId", "deployment.projectId"].into_iter().find_map(|path| id(payload, path))
}

fn metadata(webhook: &Value, key: &TypeKey, git: &Git<'_>) -> Value {
    let payload = at(webhook, "payload");
    let environment = match text(payload, "target") {
        Some(target @ ("production" | "staging")) => target,
        // It names no target: only production can be rolled back.
        None if key.action.as_deref() == Some("rollback") => "production",
        _ => "preview",
    };
    json!({
        "webhookId": id(webhook, "id"),
        "deploymentId": deployment_id(payload),
        "deploymentUrl": text(payload, "deployment.url"),
        "projectId": project_id(payload),
        "projectName": text(payload, "project.name").or_else(|| text(payload, "deployment.name")),
        "teamId": id(payload, "team.id"),
        "environment": environment,
        "branch": git.branch,
        "region": text(webhook, "region").or_else(|| text(payload, "regions.0")),
        "gitCommitSha": git.sha,
        "gitCommitRef": git.branch,
        "gitCommitMessage": git.message,
        "gitCommitAuthor": git.author,
        "gitRepo": git.repo,
        "gitOrg": git.org,
    })
}

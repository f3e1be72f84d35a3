//! Projects, cycles and project updates.

use serde_json::{Value, json};

use super::{
    super::wording::{Lines, excerpt, facts, title},
    item::cycle_name,
    normalise::{Parts, first_id},
};
use crate::{
    json,
    source_event::{ReferenceKind, References, first_line},
};

const TITLE_PART: usize = 80;
const EXCERPT: usize = 60;

pub(super) fn project(data: &Value, label: &str) -> Parts {
    let name = json::text(data, "name").map(|name| first_line(name, TITLE_PART));
    let mut facts = facts(data, PROJECT_FACTS);
    facts.insert("teamIds".into(), json!(ids(data, "teamIds", "teams")));
    facts.insert("memberIds".into(), json!(ids(data, "memberIds", "members")));
    facts.insert("scope".into(), json!(scope(data)));
    Parts {
        place: first_id(data, &["slugId", "id"]),
        title: title(label, &[Some("Project".to_owned()), name]),
        body: project_body(data),
        references: project_references(data),
        facts,
    }
}

const PROJECT_FACTS: &[(&str, &str)] = &[
    ("projectId", "id"),
    ("projectName", "name"),
    ("slugId", "slugId"),
    ("state", "state"),
    ("state", "status.type"),
    ("progress", "progress"),
    ("targetDate", "targetDate"),
    ("startDate", "startDate"),
    ("startedAt", "startedAt"),
    ("completedAt", "completedAt"),
    ("canceledAt", "canceledAt"),
    ("leadId", "leadId"),
    ("leadId", "lead.id"),
    ("leadName", "lead.name"),
];

fn project_body(data: &Value) -> Lines {
    let teams: Vec<&str> = json::items(data, "teams").filter_map(|team| json::text(team, "name")).collect();
    let state = ["status.name", "state", "status.type"].iter().find_map(|place| json::text(data, place));
    let mut body = Lines::default();
    body.text(json::text(data, "name"));
    body.text(json::text(data, "description"));
    body.field("State", state);
    body.field("Progress", percent(data));
    body.field("Target", json::text(data, "targetDate"));
    body.field("Lead", json::text(data, "lead.name"));
    body.field("Teams", Some(teams.join(", ")));
    body
}

fn project_references(data: &Value) -> References {
    let mut references = References::new();
    references.add(ReferenceKind::Project, json::text(data, "name"), json::text(data, "url"), None);
    let lead = json::text(data, "lead.email").or_else(|| json::text(data, "lead.name"));
    references.add(ReferenceKind::Assignee, lead, None, Some("lead"));
    let teams: Vec<&Value> = json::items(data, "teams").collect();
    for team in &teams {
        let id = json::id(team, "key").or_else(|| json::id(team, "id"));
        references.add(ReferenceKind::Team, id, None, json::text(team, "name"));
    }
    if teams.is_empty() {
        for id in json::items(data, "teamIds").filter_map(json::as_id) {
            references.add(ReferenceKind::Team, Some(id), None, None);
        }
    }
    references
}

pub(super) fn cycle(data: &Value, label: &str) -> Parts {
    let name = cycle_name(data).map(|name| first_line(&name, TITLE_PART));
    let team = json::text(data, "team.name").map(|team| format!("({team})"));
    let name_and_team = [name, team].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let mut facts = facts(data, CYCLE_FACTS);
    facts.insert("scope".into(), json!(scope(data)));
    let mut references = References::new();
    references.add(ReferenceKind::Cycle, cycle_name(data), json::text(data, "url"), None);
    let key = json::id(data, "team.key").or_else(|| json::id(data, "teamId"));
    references.add(ReferenceKind::Team, key, None, json::text(data, "team.name"));
    Parts {
        place: format!("{}:{}", first_id(data, &["team.key", "teamId"]), first_id(data, &["number", "id"])),
        title: title(label, &[Some(name_and_team)]),
        body: cycle_body(data),
        references,
        facts,
    }
}

const CYCLE_FACTS: &[(&str, &str)] = &[
    ("cycleId", "id"),
    ("cycleNumber", "number"),
    ("cycleName", "name"),
    ("teamId", "teamId"),
    ("teamId", "team.id"),
    ("teamKey", "team.key"),
    ("teamName", "team.name"),
    ("startsAt", "startsAt"),
    ("endsAt", "endsAt"),
    ("completedAt", "completedAt"),
    ("progress", "progress"),
];

fn cycle_body(data: &Value) -> Lines {
    let mut body = Lines::default();
    body.text(cycle_name(data));
    body.text(json::text(data, "description"));
    body.field("Team", json::text(data, "team.name"));
    body.field("Starts", json::text(data, "startsAt"));
    body.field("Ends", json::text(data, "endsAt"));
    body.field("Progress", percent(data));
    body.field("Scope", scope(data).map(|points| format!("{points} points")));
    body
}

pub(super) fn update(data: &Value, label: &str) -> Parts {
    let said = json::text(data, "body").map(|text| excerpt(text, EXCERPT));
    let project = json::text(data, "project.name");
    let mut body = Lines::default();
    body.text(json::text(data, "body"));
    body.field("Project", project);
    body.field("Health", json::text(data, "health").map(health));
    let mut references = References::new();
    references.add(ReferenceKind::Project, project, json::text(data, "project.url"), None);
    Parts {
        place: format!("{}:{}", first_id(data, &["project.id", "projectId"]), first_id(data, &["id"])),
        title: title(label, &[project.map(str::to_owned), said]),
        body,
        references,
        facts: facts(data, UPDATE_FACTS),
    }
}

const UPDATE_FACTS: &[(&str, &str)] = &[
    ("updateId", "id"),
    ("projectId", "projectId"),
    ("projectId", "project.id"),
    ("projectName", "project.name"),
    ("health", "health"),
    ("editedAt", "editedAt"),
];

fn health(health: &str) -> String {
    match health {
        "onTrack" => format!("+ {health}"),
        "atRisk" => format!("! {health}"),
        "offTrack" => format!("x {health}"),
        other => other.to_owned(),
    }
}

/// The ids of a list, or of the objects of another.
fn ids(data: &Value, list: &str, objects: &str) -> Vec<String> {
    let own: Vec<String> = json::items(data, list).filter_map(json::as_id).collect();
    if own.is_empty() { json::items(data, objects).filter_map(|object| json::id(object, "id")).collect() } else { own }
}

/// The scope in points: as told, or the latest of its history.
fn scope(data: &Value) -> Option<&Value> {
    let told = Some(json::at(data, "scope")).filter(|scope| scope.is_number());
    told.or_else(|| json::items(data, "scopeHistory").last().filter(|scope| scope.is_number()))
}

/// The progress, a share of one, in percent.
fn percent(data: &Value) -> Option<String> {
    let share = json::at(data, "progress").as_f64()?;
    Some(format!("{}%", (share * 100.0).round()))
}

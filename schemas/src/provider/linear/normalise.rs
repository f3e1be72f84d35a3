//! Linear's data-change webhooks as events. The parts each kind of object has of its own are in [`item`] (issues,
//! comments) and [`plan`] (projects, cycles, project updates).

use serde_json::{Map, Value, json};

use super::{
    super::wording::{Lines, facts, label, plain},
    PROVIDER, action, entity, item, plan, type_of,
};
use crate::{
    instant, json,
    source_event::{Actor, Context, Draft, References, SourceEvent, cut},
};

/// What differs from one kind of object to the next.
pub(super) struct Parts {
    /// The object's own part of the source id, `ENG:ENG-42`.
    pub(super) place: String,
    pub(super) title: String,
    pub(super) body: Lines,
    pub(super) references: References,
    pub(super) facts: Map<String, Value>,
}

pub(super) fn normalise(context: Context<'_>, payload: &Value) -> Option<SourceEvent> {
    let parts_of = match entity(context.event, payload) {
        "Issue" => item::issue,
        "Comment" => item::comment,
        "Project" => plan::project,
        "Cycle" => plan::cycle,
        "ProjectUpdate" => plan::update,
        _ => return None,
    };
    let key = type_of(context.event, payload);
    let data = json::at(payload, "data");
    let parts = parts_of(data, &label(&PROVIDER, &key));
    let version = version(context, payload, key.action.as_deref() == Some("created"));
    let mut metadata = parts.facts;
    metadata.append(&mut facts(payload, &[("organizationId", "organizationId"), ("webhookId", "webhookId")]));
    metadata.insert("action".into(), json!(action(context.event, payload)));
    metadata.extend(updated_from(payload).map(|before| ("updatedFrom".to_owned(), before)));
    let action = key.action.as_deref().unwrap_or("changed");
    let draft = Draft {
        source_id: format!("linear-{}:{}:{action}:{version}", key.entity, parts.place),
        source_type: key.source_type(),
        title: parts.title,
        body: parts.body.join(),
        actor: actor(payload),
        occurred_at: occurred_at(payload),
        references: parts.references,
        metadata: Value::Object(metadata),
    };
    Some(draft.finish(context))
}

/// Tells one change of an object from the next. An object is created once: its creation keeps its version however
/// late it is seen, also in the history.
fn version(context: Context<'_>, payload: &Value, created: bool) -> String {
    let places: &[&str] = match created {
        true => &["data.createdAt", "data.updatedAt", "createdAt"],
        false => &["data.updatedAt", "createdAt"],
    };
    let known = places.iter().find_map(|place| {
        let moment = instant::of_json(json::at(payload, place)).map(|millis| millis.to_string());
        moment.or_else(|| json::id(payload, place))
    });
    known.unwrap_or_else(|| context.delivery.to_owned())
}

fn occurred_at(payload: &Value) -> Option<i64> {
    ["createdAt", "data.updatedAt"].iter().find_map(|place| instant::of_json(json::at(payload, place)))
}

/// Who acted, or where the payload does not say, who made the object.
fn actor(payload: &Value) -> Option<Actor> {
    ["actor", "data.user", "data.creator", "data.botActor"].iter().find_map(|place| {
        let who = json::at(payload, place);
        // An integration has a service and no name.
        let name = ["name", "displayName", "service", "email"].iter().find_map(|name| json::text(who, name));
        Actor::new(json::id(who, "id"), name, json::text(who, "email"), json::text(who, "avatarUrl"))
    })
}

/// What the changed fields held before, long texts cut: the whole is in the payload.
fn updated_from(payload: &Value) -> Option<Value> {
    const TEXT_MAX: usize = 500;
    let before = json::at(payload, "updatedFrom").as_object()?;
    let fields = before.iter().filter(|(name, _)| name.as_str() != "descriptionData").map(|(name, value)| {
        let value = match value {
            Value::String(text) => Value::String(cut(text, TEXT_MAX)),
            other => other.clone(),
        };
        (name.clone(), value)
    });
    Some(Value::Object(fields.collect()))
}

/// The first of some places that holds an id, for the source id; `unknown` where none does.
pub(super) fn first_id(data: &Value, places: &[&str]) -> String {
    places.iter().find_map(|place| plain(data, place)).unwrap_or_else(|| "unknown".to_owned())
}

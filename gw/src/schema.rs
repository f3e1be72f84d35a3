//! `gw schema`: the shapes of what the broker holds, for programs that read it.

use std::collections::BTreeMap;

use schemas::{attempt::Attempt, connection, event::Event, outcome::Outcome, provider, replay};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    config::{SchemaArgs, SchemaOf},
    error::Error,
    output,
};

mod asyncapi;
mod channels;

/// Where the description of the API keeps its schemas.
const COMPONENTS: &str = "#/components/schemas/";

/// Prints what was asked for.
pub(crate) fn run(args: &SchemaArgs) -> Result<(), Error> {
    let document = match args.what {
        SchemaOf::Events => events(),
        SchemaOf::Asyncapi => asyncapi::document(),
    };
    output::line(format!("{document:#}"))
}

/// The JSON Schema (2020-12) of an event, with those of all other messages, and all types that are known.
fn events() -> Value {
    let text = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:gangway:event",
        "$ref": format!("{COMPONENTS}Event"),
        "$defs": messages(),
        "x-event-types": types(),
    })
    .to_string();
    // A schema that stands alone keeps its parts elsewhere.
    text.replace(COMPONENTS, "#/$defs/").parse().unwrap_or_default()
}

/// The schemas of all messages, and of what they are made of, by name.
fn messages() -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    collect::<Event>(&mut found);
    collect::<Attempt>(&mut found);
    collect::<Outcome>(&mut found);
    collect::<connection::Change>(&mut found);
    collect::<replay::Request>(&mut found);
    found
}

fn collect<T: ToSchema>(found: &mut BTreeMap<String, Value>) {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    found.extend(schemas.into_iter().map(|(name, schema)| (name, json!(schema))));
}

/// Every type of the registry, with what people call it and its weight.
fn types() -> Vec<Value> {
    let known = provider::ALL.iter().flat_map(|provider| {
        provider.event_types.iter().map(|known| {
            let action = known.action.map(|action| format!(".{action}")).unwrap_or_default();
            json!({
                "type": format!("{}:{}{action}", provider.id, known.entity),
                "label": known.label,
                "weight": known.weight,
                "category": known.category,
            })
        })
    });
    known.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_of_a_document_leads_somewhere() {
        for document in [events(), asyncapi::document()] {
            let mut open = vec![&document];
            let mut seen = 0;
            while let Some(value) = open.pop() {
                match value {
                    Value::Array(list) => open.extend(list),
                    Value::Object(members) => {
                        open.extend(members.values());
                        if let Some(target) = members.get("$ref").and_then(Value::as_str) {
                            let pointer = target.strip_prefix('#').expect("a reference within the document");
                            assert!(document.pointer(pointer).is_some(), "{target}");
                            seen += 1;
                        }
                    }
                    _ => {}
                }
            }
            assert!(seen > 5);
        }
    }

    #[test]
    fn the_document_of_subjects_names_every_stream_that_others_read() {
        let document = asyncapi::document().to_string();
        for stream in ["WEBHOOK", "EVENT", "REPLAY", "PARKED", "OUTCOME", "ATTEMPT", "CONNECTION", "DLQ", "COMMAND"] {
            assert!(document.contains(&format!("\"GW_{stream}\"")), "{stream}");
        }
    }
}

//! Realistic Linear payloads: the fixtures that show each type best.

use super::super::Sample;

macro_rules! sample {
    ($entity:literal, $action:literal, $name:literal) => {
        Sample {
            event: concat!($entity, ":", $action),
            name: $name,
            body: include_str!(concat!("../../../fixtures/linear/", $entity, "/", $name, ".json")),
        }
    };
}

/// The first is what is sent when none is named.
pub(super) static SAMPLES: &[Sample] = &[
    sample!("Issue", "create", "created-full"),
    sample!("Issue", "create", "created-most-null"),
    sample!("Issue", "update", "updated-state"),
    sample!("Issue", "remove", "removed"),
    sample!("Comment", "create", "created"),
    sample!("Comment", "create", "created-by-integration"),
    sample!("Comment", "update", "updated"),
    sample!("Comment", "remove", "removed"),
    sample!("Project", "create", "created-without-lead"),
    sample!("Project", "update", "updated-with-lead"),
    sample!("Project", "remove", "removed"),
    sample!("Cycle", "create", "created-without-name"),
    sample!("Cycle", "update", "updated"),
    sample!("Cycle", "remove", "removed-without-team"),
    sample!("ProjectUpdate", "create", "created-on-track"),
    sample!("ProjectUpdate", "update", "updated-off-track"),
    sample!("ProjectUpdate", "remove", "removed"),
    sample!("IssueLabel", "create", "created"),
];

//! Makes a sample happen now, to another commit, pull request, issue, release or discussion.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    instant,
    json::{at, text, truth},
};

/// Gives the payload new times and new ids, so that nobody takes it for the sample it was.
pub(super) fn refresh(payload: &mut Value, now: i64, nonce: &str) {
    let digest = Sha256::digest(nonce.as_bytes());
    let number = 1_000 + u32::from_be_bytes([0, digest[0], digest[1], digest[2]]);
    if payload.get("after").is_some() {
        refresh_push(payload, now, &HEXLOWER.encode(&digest[..20]));
    }
    let is_new = matches!(text(payload, "action"), Some("opened" | "created" | "published"));
    if payload.get("number").is_some() {
        payload["number"] = json!(number);
    }
    for name in ["pull_request", "issue", "release", "discussion"] {
        if let Some(item) = payload.get_mut(name).filter(|item| item.is_object()) {
            refresh_item(item, now, number, is_new);
        }
    }
}

fn refresh_push(payload: &mut Value, now: i64, sha: &str) {
    let end = if truth(payload, "deleted") { "before" } else { "after" };
    payload[end] = json!(sha);
    for path in ["/head_commit", "/commits/0"] {
        if let Some(commit) = payload.pointer_mut(path).filter(|commit| commit.is_object()) {
            commit["id"] = json!(sha);
            commit["timestamp"] = json!(instant::rfc3339(now));
        }
    }
    if let Some(pushed_at) = payload.pointer_mut("/repository/pushed_at") {
        *pushed_at = json!(now / 1000);
    }
}

fn refresh_item(item: &mut Value, now: i64, number: u32, is_new: bool) {
    let times = ["updated_at", "closed_at", "merged_at", "published_at", "answer_chosen_at"];
    let created = is_new.then_some("created_at");
    for name in times.into_iter().chain(created) {
        if text(item, name).is_some() {
            item[name] = json!(instant::rfc3339(now));
        }
    }
    if at(item, "number").is_null() {
        item["id"] = json!(number);
        return;
    }
    if let Some((folder, _)) = text(item, "html_url").and_then(|url| url.rsplit_once('/')) {
        item["html_url"] = json!(format!("{folder}/{number}"));
    }
    item["number"] = json!(number);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{provider::github::PROVIDER, source_event::Context};

    #[test]
    fn a_refreshed_sample_is_another_event_of_the_same_type_at_the_time() {
        for sample in PROVIDER.samples {
            let old: Value = serde_json::from_str(sample.body).expect("a sample is JSON");
            let mut new = old.clone();
            refresh(&mut new, 1_900_000_000_123, "a nonce");
            let context = Context { provider: "github", delivery: "d", event: sample.event, received_at: 0 };
            let Some(old) = (PROVIDER.normalise)(context, &old) else { continue };
            let new = (PROVIDER.normalise)(context, &new).expect("still an event");
            assert_eq!(old.source_type, new.source_type);
            assert_ne!(old.source_id, new.source_id, "{}", sample.name);
            assert_eq!(new.occurred_at, "2030-03-17T17:46:40.123Z", "{}", sample.name);
        }
    }

    #[test]
    fn whatever_is_no_sample_stays_whole() {
        for mut payload in
            [json!(null), json!([1]), json!({"after": 1, "commits": {}, "issue": []}), json!({"number": 1})]
        {
            refresh(&mut payload, 0, "");
        }
    }
}

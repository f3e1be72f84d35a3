//! Reads what somebody wants replayed, with everything that is wrong with it.

use schemas::{
    caller::Caller,
    endpoint,
    fields::{self, Fault, Faults, Fields},
    provider,
    replay::{Mode, RATE_MAX, Rate, Request, Target},
};
use serde_json::Value;

use crate::{Endpoints, error::Error};

const KNOWN: [&str; 16] = [
    "mode",
    "to",
    "orgId",
    "provider",
    "type",
    "endpointIds",
    "all",
    "since",
    "until",
    "fromSequence",
    "toSequence",
    "onlyFailed",
    "onlyUndelivered",
    "dryRun",
    "ratePerSecond",
    "id",
];
/// Endpoints that may be named.
const ENDPOINTS: usize = 200;
/// What is said where nothing narrows what is pushed.
const UNCHOSEN: &str = "must be true to push all there is to every endpoint; else give orgId, provider, type, endpointIds, \
                        since, until, fromSequence or toSequence";
const MODES: [(&str, Mode); 2] = [("redeliver", Mode::Redeliver), ("reroute", Mode::Reroute)];
const TARGETS: [(&str, Target); 2] = [("endpoints", Target::Endpoints), ("subject", Target::Subject)];

/// The request of a body. Without an id of its own it gets this one.
pub(super) fn read(body: &Value, caller: &Caller, id: String, now: i64) -> Result<Request, Error> {
    let mut fields = Fields::of(body).map_err(Error::Invalid)?;
    fields.only(&KNOWN);
    let mode = fields.required("mode").and_then(|mode| one_of(&mut fields, "mode", mode, &MODES));
    let to = fields.optional("to").and_then(|to| one_of(&mut fields, "to", to, &TARGETS)).unwrap_or_default();
    let all = fields.flag("all").unwrap_or_default();
    let text = |fields: &mut Fields<'_>, name| fields.optional(name).map(str::to_owned);
    let request = Request {
        id: text(&mut fields, "id").unwrap_or(id),
        mode: mode.unwrap_or(Mode::Redeliver),
        to,
        org_id: text(&mut fields, "orgId"),
        provider: text(&mut fields, "provider"),
        kind: text(&mut fields, "type"),
        endpoint_ids: list(&mut fields, "endpointIds"),
        since: fields.moment("since", now),
        until: fields.moment("until", now),
        from_sequence: sequence(&mut fields, "fromSequence"),
        to_sequence: sequence(&mut fields, "toSequence"),
        only_failed: fields.flag("onlyFailed").unwrap_or_default(),
        only_undelivered: fields.flag("onlyUndelivered").unwrap_or_default(),
        dry_run: fields.flag("dryRun").unwrap_or_default(),
        rate_per_second: rate(&mut fields),
        requested_at: now,
    };
    let mut faults = std::mem::take(&mut fields.faults);
    check(&request, &mut faults);
    // Where something is wrong already, it may be what was to narrow it.
    if faults.is_empty() && !all && caller.org.is_none() && floods(&request) {
        faults.add("all", Fault::Says(UNCHOSEN.into()));
    }
    let request = faults.none_or(mode.map(|_| request)).map_err(Error::Invalid)?;
    narrowed(request, caller)
}

/// Whether it pushes all there is to every endpoint of every organisation.
fn floods(request: &Request) -> bool {
    let Request { org_id, provider, kind, endpoint_ids, since, until, from_sequence, to_sequence, .. } = request;
    let texts = [org_id, provider, kind].into_iter().any(Option::is_some);
    let range = since.or(*until).is_some() || from_sequence.or(*to_sequence).is_some();
    let pushes = request.mode == Mode::Redeliver && request.to == Target::Endpoints && !request.dry_run;
    pushes && !texts && !range && endpoint_ids.is_empty()
}

/// What is wrong with a request, whoever made it.
pub(super) fn check(request: &Request, faults: &mut Faults) {
    let says = |text: &'static str| Fault::Says(text.into());
    if !is_id(&request.id) {
        faults.add("id", says("must have 1 to 64 letters, digits or _"));
    }
    if request.provider.as_deref().is_some_and(|id| provider::find(id).is_none()) {
        faults.add("provider", Fault::OneOf(provider::ALL.iter().map(|known| known.id).collect::<Vec<_>>().join(", ")));
    }
    if request.kind.as_deref().is_some_and(|kind| !endpoint::is_pattern(kind)) {
        faults.add("type", says("must be a type, provider:entity.action, or a pattern, provider:entity.*"));
    }
    if request.endpoint_ids.len() > ENDPOINTS {
        faults.add("endpointIds", Fault::TooMany(ENDPOINTS));
    }
    let pushes = request.mode == Mode::Redeliver && request.to == Target::Endpoints;
    if !pushes && !request.endpoint_ids.is_empty() {
        faults.add("endpointIds", says("are for a redelivery to endpoints"));
    }
    if !pushes && request.only_failed {
        faults.add("onlyFailed", says("is for a redelivery to endpoints"));
    }
    if request.mode == Mode::Redeliver && request.only_undelivered {
        faults.add("onlyUndelivered", says("is for a reroute"));
    }
    if request.mode == Mode::Reroute && request.to == Target::Subject {
        faults.add("to", says("is for a redelivery: rerouted events are on their organisation's own subjects"));
    }
    if matches!((request.since, request.until), (Some(since), Some(until)) if since >= until) {
        faults.add("until", says("must be later than since"));
    }
    if matches!((request.from_sequence, request.to_sequence), (Some(from), Some(to)) if from > to) {
        faults.add("toSequence", says("must not be before fromSequence"));
    }
}

/// The endpoints that are named are there, and of the organisation that is asked for.
pub(super) async fn endpoints(request: &Request, endpoints: &Endpoints) -> Result<(), Error> {
    let mut faults = Faults::default();
    for id in &request.endpoint_ids {
        let known = endpoints.organisation_of(id).await?;
        if known.is_none_or(|org| request.org_id.as_ref().is_some_and(|only| *only != org)) {
            let shown: String = id.chars().filter(|letter| !letter.is_control()).take(60).collect();
            faults.add("endpointIds", Fault::Says(format!("names no endpoint: {shown}").into()));
        }
    }
    faults.none_or(Some(())).map_err(Error::NoSuch)
}

/// A caller of one organisation replays that one's events only.
fn narrowed(mut request: Request, caller: &Caller) -> Result<Request, Error> {
    match (&caller.org, &request.org_id) {
        (Some(own), Some(asked)) if own != asked => Err(Error::OtherOrganisation),
        (Some(own), _) => {
            request.org_id = Some(own.clone());
            Ok(request)
        }
        (None, _) => Ok(request),
    }
}

fn one_of<T: Copy>(fields: &mut Fields<'_>, name: &'static str, text: &str, known: &[(&str, T)]) -> Option<T> {
    match known.iter().find(|(word, _)| *word == text) {
        Some((_, value)) => Some(*value),
        None => {
            let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
            fields.fault(name, Fault::OneOf(words.join(", ")))
        }
    }
}

fn list(fields: &mut Fields<'_>, name: &'static str) -> Vec<String> {
    let Some(value) = fields.get(name) else { return Vec::new() };
    let texts = value.as_array().map(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    match texts {
        Some(Some(texts)) if texts.is_empty() => fields
            .fault::<Vec<String>>(name, Fault::Says("must name at least one, or be left out".into()))
            .unwrap_or_default(),
        Some(Some(texts)) if texts.iter().all(|text| fields::check(text).is_ok()) => {
            texts.into_iter().map(str::to_owned).collect()
        }
        _ => fields.fault::<Vec<String>>(name, Fault::MustBe("a list of texts")).unwrap_or_default(),
    }
}

fn sequence(fields: &mut Fields<'_>, name: &'static str) -> Option<u64> {
    fields.number(name, 1, i64::MAX).map(i64::cast_unsigned)
}

fn rate(fields: &mut Fields<'_>) -> Rate {
    match fields.get("ratePerSecond") {
        None => Rate::default(),
        Some(Value::String(word)) if word == "max" => Rate::MAX,
        Some(Value::Number(number)) => match number.as_u64() {
            Some(rate) if (1..=u64::from(RATE_MAX)).contains(&rate) => Rate::PerSecond(rate as u32),
            _ => fields.fault("ratePerSecond", Fault::Range(1, i64::from(RATE_MAX))).unwrap_or_default(),
        },
        Some(_) => fields.fault("ratePerSecond", Fault::MustBe("a whole number or max")).unwrap_or_default(),
    }
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn request(body: Value) -> Result<Request, Error> {
        read(&body, &Caller::admin(None), "rpl_x".to_owned(), NOW)
    }

    #[test]
    fn a_request_is_read_with_its_defaults() {
        let read = request(json!({ "mode": "reroute", "since": "2h", "provider": provider::ALL[0].id })).expect("good");
        assert_eq!((read.since, read.id.as_str()), (Some(NOW - 7_200_000), "rpl_x"));
        assert_eq!(read.rate_per_second.cap(), Some(1_000));
        let fast = request(json!({ "mode": "redeliver", "to": "subject", "ratePerSecond": "max" })).expect("good");
        assert_eq!((fast.to, fast.rate_per_second.cap()), (Target::Subject, None));
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let wrong = json!({
            "mode": "again", "to": "mars", "provider": "nobody", "type": "x", "since": "yesterday", "ratePerSecond": 0,
            "fromSequence": 5, "toSequence": 4, "endpointIds": [1], "onlyUndelivered": true, "colour": "red",
        });
        let Err(Error::Invalid(faults)) = request(wrong) else { panic!("it is wrong") };
        let said = faults.to_string();
        for field in
            ["mode", "to must", "provider", "type", "since", "ratePerSecond", "toSequence", "endpointIds", "colour"]
        {
            assert!(said.contains(field), "{field}: {said}");
        }
        let Err(Error::Invalid(faults)) = request(json!({ "mode": "reroute", "onlyFailed": true })) else {
            panic!("it is wrong")
        };
        assert!(faults.to_string().contains("onlyFailed"));
    }

    #[test]
    fn all_there_is_goes_to_every_endpoint_only_where_that_is_said() {
        for wrong in [json!({ "mode": "redeliver" }), json!({ "mode": "redeliver", "onlyFailed": true, "all": false })]
        {
            let Err(Error::Invalid(faults)) = request(wrong.clone()) else { panic!("{wrong} is taken") };
            assert!(faults.to_string().starts_with("all must be true"), "{faults}");
        }
        for good in [
            json!({ "mode": "redeliver", "all": true }),
            json!({ "mode": "redeliver", "dryRun": true }),
            json!({ "mode": "redeliver", "to": "subject" }),
            json!({ "mode": "redeliver", "orgId": "one" }),
            json!({ "mode": "redeliver", "provider": provider::ALL[0].id }),
            json!({ "mode": "redeliver", "type": "github:*" }),
            json!({ "mode": "redeliver", "endpointIds": ["ep_1"] }),
            json!({ "mode": "redeliver", "since": "1h" }),
            json!({ "mode": "redeliver", "until": "1h" }),
            json!({ "mode": "redeliver", "fromSequence": 1 }),
            json!({ "mode": "redeliver", "toSequence": 1 }),
            json!({ "mode": "reroute" }),
        ] {
            assert!(request(good.clone()).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_list_of_no_endpoints_is_not_all_of_them() {
        let Err(Error::Invalid(faults)) = request(json!({ "mode": "redeliver", "orgId": "one", "endpointIds": [] }))
        else {
            panic!("it is wrong")
        };
        assert_eq!(faults.to_string(), "endpointIds must name at least one, or be left out");
    }

    #[test]
    fn a_narrowed_caller_replays_its_own_organisation() {
        let caller = Caller::admin(Some("one"));
        let read = |body: Value| read(&body, &caller, "rpl_x".to_owned(), NOW);
        assert_eq!(read(json!({ "mode": "redeliver" })).expect("good").org_id.as_deref(), Some("one"));
        assert!(matches!(read(json!({ "mode": "redeliver", "orgId": "two" })), Err(Error::OtherOrganisation)));
    }
}

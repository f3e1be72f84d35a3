//! `gw topology`: the streams, buckets and consumers as they should be, compared, and applied.

use nats::{
    Broker,
    topology::{self, Plan, Settings},
};
use serde_json::{Value, json};

use crate::{
    broker,
    config::{TopologyAction, TopologyArgs},
    error::Error,
    output,
};

pub(crate) async fn run(args: TopologyArgs) -> Result<(), Error> {
    let settings = args.streams.settings();
    if matches!(args.action, TopologyAction::Show) {
        return output::line(show(&settings)?);
    }
    let broker = broker::connect(&args.broker, &args.data.data_dir, "gw topology").await?;
    let done = match args.action {
        TopologyAction::Apply { force } => apply(&broker, &settings, force).await,
        TopologyAction::Diff | TopologyAction::Show => diff(&broker, &settings).await,
    };
    broker.close().await;
    done
}

async fn apply(broker: &Broker, settings: &Settings, force: bool) -> Result<(), Error> {
    let plans = topology::apply(broker, settings, force).await?;
    report(&plans).map(|_same| ())
}

async fn diff(broker: &Broker, settings: &Settings) -> Result<(), Error> {
    let plans = topology::diff(broker, settings).await?;
    if report(&plans)? { Ok(()) } else { Err(Error::Differs) }
}

fn show(settings: &Settings) -> Result<String, Error> {
    let unreadable = |error: serde_json::Error| Error::Usage(format!("the streams cannot be written as JSON: {error}"));
    let mut all = Vec::new();
    for spec in topology::specs(settings) {
        let config = serde_json::to_value(&spec.config).map_err(unreadable)?;
        let consumers: Result<Vec<Value>, _> = spec.consumers.iter().map(serde_json::to_value).collect();
        all.push(json!({ "stream": config, "consumers": consumers.map_err(unreadable)? }));
    }
    serde_json::to_string_pretty(&all).map_err(unreadable)
}

/// Prints what differs, and tells whether nothing does.
fn report(plans: &[Plan]) -> Result<bool, Error> {
    let mut same = true;
    for plan in plans.iter().filter(|plan| !plan.is_empty()) {
        same = false;
        output::line(plan)?;
        for difference in plan.differences.iter().filter(|difference| difference.shrinks) {
            output::line(format!(
                "    {} shrinks, which drops stored messages: only --force does it",
                difference.what
            ))?;
        }
    }
    if same {
        output::line("nothing to do: the streams are as wanted")?;
    }
    Ok(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_json_that_names_every_stream_and_consumer() {
        let shown: Vec<Value> = serde_json::from_str(&show(&Settings::default()).expect("JSON")).expect("a list");
        assert_eq!(shown.len(), topology::specs(&Settings::default()).len());
        assert_eq!(shown[0]["stream"]["name"], topology::GW_WEBHOOK);
        assert_eq!(shown[0]["consumers"][0]["durable_name"], topology::ROUTER);
    }
}

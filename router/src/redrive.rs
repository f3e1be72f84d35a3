//! Takes dead letters of the router back: they are routed as if they had just come, and the letter is gone once their
//! events are stored. What still cannot be read stays a letter.

use std::{sync::Arc, time::Duration};

use nats::{
    Message, Verdict,
    consume::{self, Handler},
    topology::{GW_DLQ, GW_WEBHOOK, MAX_DELIVER},
};
use schemas::{
    cause::Chain,
    header,
    letter::{self, Redrive},
    replay::REDRIVE,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    Inner,
    translate::{Occasion, Read, Unread},
};

/// Letters held at once.
const SLOTS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(500);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Does the tasks of letters that were sent back.
struct Redrives(Arc<Inner>);

pub(crate) async fn run(inner: Arc<Inner>, stop: CancellationToken) {
    let consumer = inner.worker(REDRIVE, SLOTS);
    consume::run(consumer, Arc::new(Redrives(inner)), stop).await;
}

impl Handler for Redrives {
    /// Letters have no order among themselves.
    fn lane(&self, message: &Message) -> u64 {
        message.sequence
    }

    fn ready(&self) -> bool {
        self.0.routes.unready().is_none()
    }

    async fn handle(&self, messages: Arc<[Message]>, _attempt: u32) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(messages.len());
        for message in messages.iter() {
            if self.0.routes.unready().is_some() {
                verdicts.push(Verdict::Retry { after: PAUSE });
                break;
            }
            // The letter is still there: its task need not become one too.
            if message.delivered + 1 >= MAX_DELIVER.unsigned_abs() {
                warn!(subject = message.subject, "redrive.given_up");
                verdicts.push(Verdict::Done);
                continue;
            }
            verdicts.push(match self.0.redrive(message).await {
                Ok(()) => Verdict::Done,
                Err(error) => {
                    warn!(error = %Chain(&*error), subject = message.subject, "redrive.retry");
                    Verdict::Retry { after: PAUSE }
                }
            });
        }
        verdicts
    }
}

impl Inner {
    async fn redrive(&self, task: &Message) -> Result<(), Failure> {
        let Ok(Redrive { sequence }) = serde_json::from_slice(&task.payload) else { return Ok(()) };
        let Some(message) = nats::get(&self.deps.broker, GW_DLQ, sequence).await? else { return Ok(()) };
        let message = revived(message);
        let read = match Read::of(&message, &self.payloads).await {
            Ok(read) => read,
            Err(Unread::Never(detail)) => {
                warn!(letter = sequence, detail, "redrive.unreadable");
                return Ok(());
            }
            Err(Unread::Later(error @ nats::Error::Payload { .. })) => {
                warn!(error = %Chain(&error), letter = sequence, "redrive.payload");
                return Ok(());
            }
            Err(Unread::Later(error)) => return Err(error.into()),
        };
        let resolution = self.resolve(&read);
        if resolution.is_empty() {
            self.park(&[(message, read)]).await?;
        } else {
            let occasion = Occasion::First { traceparent: message.header(header::TRACEPARENT) };
            let events = self.events(&read, &resolution, occasion).await?;
            let deliveries = [(read.shed(), resolution)];
            self.publish(&deliveries, events).await?;
            let [(read, resolution)] = &deliveries;
            self.record_redriven(read, resolution, Instant::now() + PATIENCE).await?;
        }
        nats::delete(&self.deps.broker, GW_DLQ, sequence).await?;
        info!(letter = sequence, "redrive.done");
        Ok(())
    }
}

/// The delivery that died, in its place.
fn revived(mut letter: Message) -> Message {
    let text = |name| letter.header(name).map(header::decode);
    let place = text(header::DLQ_SEQUENCE).and_then(|sequence| sequence.parse().ok());
    if let (Some(GW_WEBHOOK), Some(sequence)) = (text(header::DLQ_STREAM).as_deref(), place) {
        letter.sequence = sequence;
    }
    let mut headers = letter.header_list();
    letter::revive(&mut headers);
    letter.with_headers(&headers)
}

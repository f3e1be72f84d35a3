//! Settling one message that a consumer handed out.

use std::{future::Future, time::Duration};

use async_nats::Request;
use tracing::debug;

use crate::{connect::Broker, error::Error, message::Message, topology::ACK_WAIT};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Tells the broker that a message is dealt with, and waits until it knows.
pub async fn acknowledge(broker: &Broker, message: &Message) -> Result<(), Error> {
    let request = Request::new().payload("+ACK".into()).timeout(Some(TIMEOUT));
    broker.request("an acknowledgement", message.reply.clone(), request).await.map(drop)
}

/// Gives a message back: the broker hands it out again at once.
pub async fn give_back(broker: &Broker, message: &Message) {
    if let Err(error) = broker.client.publish(message.reply.clone(), "-NAK".into()).await {
        debug!(%error, sequence = message.sequence, "message.give_back");
    }
}

/// Works on a message for as long as it takes, and keeps the broker from handing it out to another.
pub async fn keep_alive<F: Future>(broker: &Broker, message: &Message, work: F) -> F::Output {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(ACK_WAIT / 3) => {
                if let Err(error) = broker.client.publish(message.reply.clone(), "+WPI".into()).await {
                    debug!(%error, sequence = message.sequence, "message.progress");
                }
            }
        }
    }
}

//! The way to a reader: one piece at a time, for as long as it may last.
//!
//! A piece is waited for until it is in the reader's socket. So of a reader that reads nothing one piece is held, and
//! its connection can be cut: behind a connection's full buffer no end would be looked for.

use std::{sync::Arc, time::Duration};

use axum::body::{Body, Bytes};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// The most that is given to the connection at a time. It looks for more, and for the end, while it holds less than
/// several of these.
const PIECE: usize = 64 << 10;
/// How long the last piece may take when the line is over.
const MOMENT: Duration = Duration::from_secs(1);

/// What a reader is told through.
#[derive(Debug)]
pub(super) struct Line {
    pieces: mpsc::Sender<Result<Bytes, Cut>>,
    /// Taken while a piece is on its way.
    way: Arc<Semaphore>,
    stop: CancellationToken,
    end: Instant,
    /// When the reader was last told something.
    told: Instant,
}

/// Ends a connection at once.
#[derive(Debug, thiserror::Error)]
#[error("the reader does not read")]
pub(super) struct Cut;

/// Bytes on their way; it is free again when the connection has written them.
struct Piece {
    bytes: Bytes,
    _way: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Line {
    /// A line that is over after so long, or at a stop, and what comes out of it.
    pub(super) fn open(lasts: Duration, stop: CancellationToken) -> (Self, mpsc::Receiver<Result<Bytes, Cut>>) {
        // A piece and the cut behind it.
        let (pieces, taken) = mpsc::channel(2);
        let told = Instant::now();
        (Self { pieces, way: Arc::new(Semaphore::new(1)), stop, end: told + lasts, told }, taken)
    }

    /// The body of an answer.
    pub(super) fn body(mut taken: mpsc::Receiver<Result<Bytes, Cut>>) -> Body {
        Body::from_stream(futures_util::stream::poll_fn(move |context| taken.poll_recv(context)))
    }

    /// Gives a frame to the connection when that has written the one before, and tells whether it could. A reader that
    /// reads nothing is waited for until the line is over, and no longer.
    pub(super) async fn give(&mut self, mut frame: Bytes) -> bool {
        while !frame.is_empty() {
            let piece = frame.split_to(PIECE.min(frame.len()));
            let given = tokio::select! {
                given = self.pass(piece) => given,
                () = self.over() => false,
            };
            if !given {
                return false;
            }
        }
        self.told = Instant::now();
        true
    }

    /// Waits until the connection has written what it was given, or the line is over.
    pub(super) async fn through(&self) {
        tokio::select! {
            _through = self.way.acquire() => {}
            () = self.over() => {}
        }
    }

    async fn pass(&self, bytes: Bytes) -> bool {
        let Ok(way) = self.way.clone().acquire_owned().await else { return false };
        self.pieces.send(Ok(Bytes::from_owner(Piece { bytes, _way: way }))).await.is_ok()
    }

    /// That the reader was told nothing for so long.
    pub(super) async fn quiet(&self, long: Duration) {
        sleep_until(self.told + long).await;
    }

    /// That the reader left, the gateway stops, or it has lasted.
    pub(super) async fn over(&self) {
        tokio::select! {
            () = self.pieces.closed() => {}
            () = self.stop.cancelled() => {}
            () = sleep_until(self.end) => {}
        }
    }

    /// Ends the answer, and the connection too where the last piece does not get through.
    pub(super) async fn close(self) {
        if timeout(MOMENT, self.way.acquire()).await.is_err() {
            let _left = self.pieces.try_send(Err(Cut)).is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);
    const FRAME: Bytes = Bytes::from_static(b"id: 1\n\n");

    type Taken = mpsc::Receiver<Result<Bytes, Cut>>;

    /// A line whose reader reads nothing.
    async fn stalled(lasts: Duration, stop: &CancellationToken) -> (Line, Taken) {
        let (mut line, taken) = Line::open(lasts, stop.clone());
        assert!(line.give(FRAME).await);
        (line, taken)
    }

    async fn take(taken: &mut Taken) -> Bytes {
        taken.recv().await.expect("a piece").expect("no cut")
    }

    #[tokio::test]
    async fn a_reader_that_reads_nothing_is_waited_for_until_its_time_is_over_and_then_cut_off() {
        let (mut line, mut taken) = stalled(Duration::from_millis(50), &CancellationToken::new()).await;
        let held = take(&mut taken).await;
        assert!(!line.give(FRAME).await);
        line.close().await;
        assert!(matches!(taken.recv().await, Some(Err(Cut))));
        assert!(taken.recv().await.is_none());
        assert_eq!(held, FRAME);
    }

    #[tokio::test]
    async fn a_reader_that_reads_nothing_holds_up_no_stop() {
        let stop = CancellationToken::new();
        let (mut line, mut taken) = stalled(LONG, &stop).await;
        let (given, ()) = tokio::join!(line.give(FRAME), async { stop.cancel() });
        assert!(!given);
        line.close().await;
        assert_eq!(take(&mut taken).await, FRAME);
        assert!(matches!(taken.recv().await, Some(Err(Cut))));
    }

    #[tokio::test]
    async fn a_slow_reader_gets_everything_and_an_end_that_is_clean() {
        let (mut line, mut taken) = Line::open(LONG, CancellationToken::new());
        let frame = Bytes::from(vec![b'x'; 3 * PIECE + 1]);
        let telling = async {
            assert!(line.give(frame.clone()).await);
            line.close().await;
        };
        let reading = async {
            let mut read = Vec::new();
            while let Some(piece) = taken.recv().await {
                read.extend_from_slice(&piece.expect("no cut"));
            }
            read
        };
        let ((), read) = tokio::join!(telling, reading);
        assert!(read == frame);
    }

    #[tokio::test]
    async fn what_was_given_last_may_take_as_long_as_the_line_lasts() {
        let (line, mut taken) = stalled(LONG, &CancellationToken::new()).await;
        let telling = async {
            line.through().await;
            line.close().await;
        };
        let reading = async {
            let held = take(&mut taken).await;
            tokio::time::sleep(MOMENT + Duration::from_millis(200)).await;
            drop(held);
            assert!(taken.recv().await.is_none(), "it is cut off");
        };
        tokio::join!(telling, reading);
    }

    #[tokio::test]
    async fn a_reader_that_left_is_not_waited_for() {
        let (mut line, taken) = stalled(LONG, &CancellationToken::new()).await;
        drop(taken);
        assert!(!line.give(FRAME).await);
        line.close().await;
    }
}

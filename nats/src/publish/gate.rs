//! Which messages go by themselves and which join a batch. A batch has a fixed price, its staging: while few messages
//! are in flight, to sync each of them is cheaper.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Mode;

/// Counts what is on its way.
#[derive(Debug)]
pub(super) struct Gate {
    /// So many may go by themselves at once.
    most: usize,
    single: AtomicUsize,
    /// Callers whose messages wait for others or are on their way with them.
    grouped: AtomicUsize,
}

impl Gate {
    pub(super) fn new(mode: Mode) -> Self {
        let most = match mode {
            Mode::Pipeline => usize::MAX,
            Mode::Batch { single } => single,
        };
        Self { most, single: AtomicUsize::new(0), grouped: AtomicUsize::new(0) }
    }

    /// So many may go by themselves at once.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Whether all may: batches do not pay on this broker.
    pub(super) fn is_open(&self) -> bool {
        self.most == usize::MAX
    }

    /// Lets messages go by themselves while few do. Where batches are gathered at all, nothing passes those that wait:
    /// they would take the broker's time from the batch.
    pub(super) fn pass(&self, count: usize) -> Option<Held<'_>> {
        if self.is_open() {
            return Some(Held { counter: None, count: 0 });
        }
        if self.grouped.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let held = Held::new(&self.single, count);
        (self.single.load(Ordering::Relaxed) <= self.most).then_some(held)
    }

    /// Counts a caller that waits for a batch.
    pub(super) fn queue(&self) -> Held<'_> {
        Held::new(&self.grouped, 1)
    }
}

/// Counted until it is dropped.
#[derive(Debug)]
pub(super) struct Held<'a> {
    counter: Option<&'a AtomicUsize>,
    count: usize,
}

impl<'a> Held<'a> {
    fn new(counter: &'a AtomicUsize, count: usize) -> Self {
        counter.fetch_add(count, Ordering::Relaxed);
        Self { counter: Some(counter), count }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(counter) = self.counter {
            counter.fetch_sub(self.count, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_go_by_themselves_and_none_passes_those_that_wait() {
        let gate = Gate::new(Mode::Batch { single: 3 });
        let two = gate.pass(2);
        assert!(two.is_some() && gate.pass(2).is_none());
        let one = gate.pass(1);
        assert!(one.is_some() && gate.pass(1).is_none());
        drop((one, two));
        let queued = gate.queue();
        assert!(gate.pass(1).is_none());
        drop(queued);
        assert!(gate.pass(3).is_some());
    }

    #[test]
    fn where_batches_are_forced_none_goes_by_itself_and_where_they_do_not_pay_all_do() {
        assert!(Gate::new(Mode::Batch { single: 0 }).pass(1).is_none());
        let open = Gate::new(Mode::Pipeline);
        let _queued = open.queue();
        assert!(open.pass(10_000).is_some());
    }
}

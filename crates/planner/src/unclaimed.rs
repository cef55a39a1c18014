//! Slots that nobody claims: a job's code may ask for fewer executors than its configuration says.
//!
//! A job of fixed size creates all its executors one batch after another, and again those that it loses. Once none has
//! come for long, and none is on its way, the rest is not coming, and other gangs may have its room. What the job has had
//! at once is kept, so that it may lose executors and get them again. One that comes all the same is beyond the minimum:
//! it runs where there is unreserved room.

use crate::decide::Turn;
use crate::gang::{Gang, GangId};
use crate::planner::Planner;

/// So many pauses of Spark's between two batches without a new executor: there is no other batch.
const BATCHES: i64 = 10;
/// So many times as long while no executor has come at all.
const NONE_YET: i64 = 10;

impl Planner {
    /// Gives up the slots for which their job has not created executors for long.
    pub(crate) fn give_up_unclaimed(&mut self, turn: &mut Turn) {
        self.attend();
        let ids = self.attention.reserving.union(&self.attention.short);
        let ids: Vec<GangId> = ids.copied().filter(|&id| spare(&self.gangs[id]) > 0).collect();
        for id in ids {
            let Some((since_ms, after_ms)) = self.quiet(id) else {
                continue;
            };
            if turn.is_due(since_ms, after_ms) && !self.is_doomed(id) && !self.awaits_executors(id) {
                self.give_up(id, spare(&self.gangs[id]));
            }
        }
    }

    /// Since when the job has created no executor, and for how long it must not.
    fn quiet(&self, id: GangId) -> Option<(i64, i64)> {
        let gang = &self.gangs[id];
        let shape = gang.shape.as_ref()?;
        let after_ms = shape
            .batch_delay_ms
            .saturating_mul(BATCHES)
            .max(self.config.unclaimed_after_ms);
        let started_ms = gang.times.started_ms?;
        let (since_ms, after_ms) = match gang.times.last_executor_ms {
            Some(last_ms) => (last_ms.max(started_ms), after_ms),
            None => (started_ms, after_ms.saturating_mul(NONE_YET)),
        };
        // Who has just taken over may not know of executors that were lost a moment ago.
        Some((since_ms.max(self.lead?), after_ms))
    }

    /// An executor is created and does not run yet: until Spark 3.0 the next batch waits for it.
    fn awaits_executors(&self, id: GangId) -> bool {
        self.gangs[id].executors.iter().any(|&executor| {
            let pod = &self.pods.all[executor];
            let started = pod.executor().is_some_and(|executor| executor.started);
            !started && !pod.terminal && !pod.deleting
        })
    }

    fn give_up(&mut self, id: GangId, count: u64) {
        let gang = &mut self.gangs[id];
        let missing = count.min(gang.slots.missing);
        gang.slots.missing -= missing;
        let mut left = count - missing;
        // The last ones first, as they are filled from the first on.
        for group in gang.slots.groups.clone().into_iter().rev() {
            left -= gang.slots.cut(&mut self.nodes, group.node, left);
        }
        gang.unclaimed += count - left;
        if self.unplaced(id) == 0 {
            let waiting = &mut self.gangs[id].waiting;
            (waiting.verdict, waiting.lacking_ms, waiting.overtaken) = (None, None, 0);
        }
    }
}

/// Slots of a running job of fixed size beyond what it has had at once.
fn spare(gang: &Gang) -> u64 {
    let fixed = gang.shape.as_ref().is_some_and(|shape| !shape.dynamic);
    if !fixed || !gang.is_bound() {
        return 0;
    }
    let taken: u64 = gang.slots.groups.iter().map(|group| group.taken).sum();
    gang.slots.total().saturating_sub(gang.sums.peak.max(taken))
}

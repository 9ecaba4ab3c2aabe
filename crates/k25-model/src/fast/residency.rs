//! Which experts' weights stay in memory, where a limit on resident memory is set.
//!
//! Weights are mapped files: a page is resident from its first reading until it is given back. Before
//! experts are read, room is made for them: the resident memory of the process is asked of the system,
//! and what is beyond the limit is given back, experts that were used longest ago first. Those that
//! come are asked for ahead, so that the disk reads while others are computed.
//!
//! Who leaves is a choice behind [`ExpertCache`]; the order of use is the first of its answers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::tensor::Advice;
use crate::weights::{FeedForward, Mlp, Model};

/// One expert of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExpertId {
    /// The layer.
    pub layer: usize,
    /// Its number in the layer.
    pub expert: usize,
}

/// Knows which experts are resident and decides who leaves.
pub trait ExpertCache: Send + fmt::Debug {
    /// Experts are about to be read, with their bytes. Counts them as resident, and returns those
    /// that leave so that all resident ones fit into `room`; never one of `wanted`.
    fn visit(&mut self, wanted: &[(ExpertId, usize)], room: usize) -> Vec<ExpertId>;

    /// Bytes of all that are resident.
    fn resident_bytes(&self) -> usize;

    /// Everything was given back.
    fn clear(&mut self);
}

/// Whoever was used longest ago leaves first.
#[derive(Debug, Default)]
pub struct LeastRecentlyUsed {
    /// By expert: bytes, and when it was used last.
    resident: BTreeMap<ExpertId, (usize, u64)>,
    /// By time of use.
    order: BTreeMap<u64, ExpertId>,
    bytes: usize,
    clock: u64,
}

impl ExpertCache for LeastRecentlyUsed {
    fn visit(&mut self, wanted: &[(ExpertId, usize)], room: usize) -> Vec<ExpertId> {
        let before = self.clock;
        for &(id, bytes) in wanted {
            self.clock += 1;
            match self.resident.insert(id, (bytes, self.clock)) {
                Some((_, last_used)) => {
                    self.order.remove(&last_used);
                }
                None => self.bytes += bytes,
            }
            self.order.insert(self.clock, id);
        }
        let mut leaving = Vec::new();
        while self.bytes > room {
            let Some((&used, &id)) = self.order.first_key_value() else {
                break;
            };
            if used > before {
                break;
            }
            self.order.remove(&used);
            if let Some((bytes, _)) = self.resident.remove(&id) {
                self.bytes -= bytes;
            }
            leaving.push(id);
        }
        leaving
    }

    fn resident_bytes(&self) -> usize {
        self.bytes
    }

    fn clear(&mut self) {
        self.resident.clear();
        self.order.clear();
        self.bytes = 0;
    }
}

/// Keeps the process below a limit of resident bytes, as far as experts can.
#[derive(Debug)]
pub(super) struct Residency {
    limit: usize,
    cache: Mutex<Box<dyn ExpertCache>>,
}

impl Residency {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            cache: Mutex::new(Box::<LeastRecentlyUsed>::default()),
        }
    }

    /// How many of these experts, from the first, are read together: as many as take half of what
    /// there is for experts, but at least one.
    pub(super) fn group_len(&self, experts: &[Mlp], visited: impl Iterator<Item = usize>) -> usize {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let share = self.room(cache.resident_bytes()) / 2;
        let mut bytes = 0;
        let fits = visited.take_while(|&expert| {
            bytes += byte_len(&experts[expert]);
            bytes <= share
        });
        fits.count().max(1)
    }

    /// Makes room for experts of a layer and asks for their pages.
    pub(super) fn admit(&self, model: &Model, layer: usize, visited: &[usize]) {
        let experts = experts(model, layer);
        let wanted: Vec<(ExpertId, usize)> = visited
            .iter()
            .map(|&expert| (ExpertId { layer, expert }, byte_len(&experts[expert])))
            .collect();
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let mut room = self.room(cache.resident_bytes());
        if room < self.limit / 8 {
            // Something else has grown, pages beside those that were asked for among it.
            model.advise(Advice::Release);
            model.text.embed.advise(Advice::Release);
            cache.clear();
            room = self.room(0);
        }
        for ExpertId { layer, expert } in cache.visit(&wanted, room) {
            advise(&self::experts(model, layer)[expert], Advice::Release);
        }
        for &expert in visited {
            advise(&experts[expert], Advice::WillNeed);
        }
    }

    /// What experts may take: the limit, less what is resident beside them, less a reserve for the rows
    /// of a step and what the system maps around a page.
    fn room(&self, expert_bytes: usize) -> usize {
        let resident = resident_bytes().unwrap_or(expert_bytes);
        let others = resident.saturating_sub(expert_bytes);
        let reserve = self.limit / 8;
        self.limit.saturating_sub(others + reserve)
    }
}

/// Resident bytes of this process, files among them; `None` where the system does not tell.
pub fn resident_bytes() -> Option<usize> {
    status("VmRSS:")
}

/// Resident bytes of this process's own, files left out; `None` where the system does not tell.
pub fn own_bytes() -> Option<usize> {
    status("RssAnon:")
}

fn status(name: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kibibytes: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn experts(model: &Model, layer: usize) -> &[Mlp] {
    match &model.text.layers[layer].feed_forward {
        FeedForward::Moe(moe) => &moe.experts,
        FeedForward::Dense(_) => &[],
    }
}

fn byte_len(expert: &Mlp) -> usize {
    expert
        .matrices()
        .map(|matrix| matrix.byte_len())
        .iter()
        .sum()
}

fn advise(expert: &Mlp, advice: Advice) {
    for matrix in expert.matrices() {
        matrix.advise(advice);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(expert: usize) -> ExpertId {
        ExpertId { layer: 0, expert }
    }

    #[test]
    fn the_longest_unused_leave_and_the_wanted_stay() {
        let mut cache = LeastRecentlyUsed::default();
        let want = |experts: &[usize]| -> Vec<_> {
            experts.iter().map(|&expert| (id(expert), 10)).collect()
        };
        assert_eq!(cache.visit(&want(&[1, 2, 3]), 40), []);
        assert_eq!(cache.visit(&want(&[1, 4]), 40), []);
        assert_eq!(cache.visit(&want(&[5]), 40), [id(2)]);
        assert_eq!(cache.visit(&want(&[2]), 20), [id(3), id(1), id(4)]);
        assert_eq!(cache.resident_bytes(), 20);
        // More is wanted than fits: everyone else leaves, and they come nevertheless.
        assert_eq!(cache.visit(&want(&[7, 8, 9]), 20), [id(5), id(2)]);
        assert_eq!(cache.resident_bytes(), 30);
        cache.clear();
        assert_eq!(cache.visit(&want(&[1]), 10), []);
    }
}

//! Byte-pair encoding of one piece: the adjacent pair whose joined bytes have the lowest rank merges
//! first, the leftmost of equals, until no adjacent pair is a token.
//!
//! Two ways to the same result: a scan for short pieces, where `n²` is small and memory is near, and
//! a heap for long ones, which stays `n log n` for a piece of a hundred thousand bytes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::vocabulary::Vocabulary;

/// Longest piece, in bytes, that is merged by scanning. Either way gives the same ids; the figure is
/// where the heap begins to win.
const MAX_SCANNED_BYTES: usize = 96;

/// No adjacent pair here, or none that is a token.
const NO_RANK: u32 = u32::MAX;

/// Merges pieces; keeps its buffers from piece to piece.
#[derive(Default)]
pub(super) struct Merger {
    parts: Vec<Part>,
    links: Vec<Link>,
    heap: BinaryHeap<Reverse<(u32, u32)>>,
}

/// A token of the piece so far, for the scan.
#[derive(Clone, Copy)]
struct Part {
    start: u32,
    id: u32,
    /// Rank of this part joined with the next.
    pair_rank: u32,
}

/// A token of the piece so far, for the heap; stored at the offset of its first byte.
#[derive(Clone, Copy)]
struct Link {
    id: u32,
    previous: u32,
    end: u32,
    /// Rank of this token joined with the next; a heap entry that disagrees is out of date.
    pair_rank: u32,
}

impl Merger {
    /// Appends the ids of `piece`, which must not be empty.
    pub(super) fn encode_piece(
        &mut self,
        vocabulary: &Vocabulary,
        piece: &[u8],
        ids: &mut Vec<u32>,
    ) {
        if let Some(id) = vocabulary.rank(piece) {
            ids.push(id);
        } else if piece.len() <= MAX_SCANNED_BYTES {
            self.merge_by_scan(vocabulary, piece, ids);
        } else {
            self.merge_by_heap(vocabulary, piece, ids);
        }
    }

    fn merge_by_scan(&mut self, vocabulary: &Vocabulary, piece: &[u8], ids: &mut Vec<u32>) {
        let parts = &mut self.parts;
        parts.clear();
        parts.extend(piece.iter().enumerate().map(|(at, &byte)| Part {
            start: at as u32,
            id: vocabulary.byte_rank(byte),
            pair_rank: pair_rank(vocabulary, piece, at, at + 2),
        }));
        while let Some(at) = lowest(parts) {
            parts[at].id = parts[at].pair_rank;
            parts.remove(at + 1);
            for changed in [at.checked_sub(1), Some(at)].into_iter().flatten() {
                parts[changed].pair_rank = match parts.get(changed + 1) {
                    None => NO_RANK,
                    Some(_) => {
                        let start = parts[changed].start as usize;
                        let end = parts
                            .get(changed + 2)
                            .map_or(piece.len(), |p| p.start as usize);
                        pair_rank(vocabulary, piece, start, end)
                    }
                };
            }
        }
        ids.extend(parts.iter().map(|part| part.id));
    }

    fn merge_by_heap(&mut self, vocabulary: &Vocabulary, piece: &[u8], ids: &mut Vec<u32>) {
        self.links.clear();
        self.links
            .extend(piece.iter().enumerate().map(|(at, &byte)| Link {
                id: vocabulary.byte_rank(byte),
                previous: (at as u32).wrapping_sub(1),
                end: at as u32 + 1,
                pair_rank: pair_rank(vocabulary, piece, at, at + 2),
            }));
        let links = &mut self.links;
        self.heap.clear();
        let starts = links.iter().enumerate();
        self.heap.extend(
            starts
                .filter(|(_, link)| link.pair_rank != NO_RANK)
                .map(|(start, link)| Reverse((link.pair_rank, start as u32))),
        );
        while let Some(Reverse((rank, start))) = self.heap.pop() {
            let left = links[start as usize];
            if left.pair_rank != rank {
                continue;
            }
            let right = links[left.end as usize];
            links[left.end as usize].pair_rank = NO_RANK;
            links[start as usize].id = rank;
            links[start as usize].end = right.end;
            if let Some(next) = links.get_mut(right.end as usize) {
                next.previous = start;
            }
            for changed in [left.previous, start] {
                if changed == u32::MAX {
                    continue;
                }
                let middle = links[changed as usize].end as usize;
                let joined = links.get(middle).map_or(NO_RANK, |next| {
                    pair_rank(vocabulary, piece, changed as usize, next.end as usize)
                });
                links[changed as usize].pair_rank = joined;
                if joined != NO_RANK {
                    self.heap.push(Reverse((joined, changed)));
                }
            }
        }
        let mut at = 0;
        while let Some(link) = links.get(at) {
            ids.push(link.id);
            at = link.end as usize;
        }
    }
}

/// Index of the part with the lowest pair rank, the leftmost of equals.
fn lowest(parts: &[Part]) -> Option<usize> {
    let mut best = (NO_RANK, 0);
    for (at, part) in parts.iter().enumerate() {
        if part.pair_rank < best.0 {
            best = (part.pair_rank, at);
        }
    }
    (best.0 != NO_RANK).then_some(best.1)
}

fn pair_rank(vocabulary: &Vocabulary, piece: &[u8], start: usize, end: usize) -> u32 {
    piece
        .get(start..end)
        .and_then(|bytes| vocabulary.rank(bytes))
        .unwrap_or(NO_RANK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, read aloud: look at every adjacent pair, merge the lowest, begin again.
    fn merge_by_definition(vocabulary: &Vocabulary, piece: &[u8]) -> Vec<u32> {
        let mut parts: Vec<Vec<u8>> = piece.iter().map(|&byte| vec![byte]).collect();
        loop {
            let ranks = parts.windows(2).map(|pair| vocabulary.rank(&pair.concat()));
            let lowest = ranks
                .enumerate()
                .filter_map(|(at, rank)| rank.map(|rank| (rank, at)))
                .min();
            let Some((_, at)) = lowest else { break };
            let right = parts.remove(at + 1);
            parts[at].extend(right);
        }
        let rank = |part: &Vec<u8>| vocabulary.rank(part).expect("parts are tokens");
        parts.iter().map(rank).collect()
    }

    /// The single bytes and random strings over three letters, in random order: many ties, overlaps
    /// and tokens that no merge reaches.
    fn vocabularies() -> impl Strategy<Value = Vocabulary> {
        let token = prop::collection::vec(b'a'..=b'c', 2..7);
        prop::collection::hash_set(token, 0..60)
            .prop_map(|longer| (0..=255).map(|byte| vec![byte]).chain(longer).collect())
            .prop_flat_map(|tokens: Vec<Vec<u8>>| Just(tokens).prop_shuffle())
            .prop_map(|tokens| Vocabulary::from_tokens(&tokens).expect("distinct tokens"))
    }

    proptest! {
        #[test]
        fn scan_and_heap_both_merge_by_the_definition(
            vocabulary in vocabularies(),
            piece in prop::collection::vec(b'a'..=b'd', 1..160),
        ) {
            let expected = merge_by_definition(&vocabulary, &piece);
            let (mut scanned, mut heaped) = (Vec::new(), Vec::new());
            let mut merger = Merger::default();
            merger.merge_by_scan(&vocabulary, &piece, &mut scanned);
            merger.merge_by_heap(&vocabulary, &piece, &mut heaped);
            prop_assert_eq!(&scanned, &expected);
            prop_assert_eq!(&heaped, &expected);
        }
    }
}

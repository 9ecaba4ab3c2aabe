//! What a run trains on: documents of several sources, mixed by weight, packed into batches.
//!
//! The order of documents depends on the seed alone, and a position is a few numbers, so a run that was killed goes on with the
//! very next batch.

mod document;
mod sight;
mod source;

use crate::error::TrainError;
use crate::exec::{Batch, Pictures};
use crate::random::Random;
use crate::tape::{Prefix, Segment};

pub use document::{Document, conversation_document, text_documents};
pub use source::{DataKind, Source};

/// How far a source was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct SourcePosition {
    /// Items that were read to their end, over all epochs.
    pub items: u64,
    /// Documents of the next item that were read.
    pub documents: u64,
    /// Tokens that were drawn.
    pub tokens: u64,
}

/// Several sources as one stream of batches.
pub struct Mixture {
    sources: Vec<Source>,
    weights: Vec<f64>,
    positions: Vec<SourcePosition>,
    seed: u64,
    orders: Vec<Order>,
    /// Documents of the item that each source is in.
    open: Vec<Option<Vec<Document>>>,
}

/// The order of a source's items in one epoch.
#[derive(Default)]
struct Order {
    epoch: Option<u64>,
    items: Vec<u32>,
}

impl Mixture {
    /// A mixture in which each source makes up its `weight`'s part of all tokens.
    pub fn new(sources: Vec<(Source, f64)>, seed: u64) -> Self {
        let (sources, weights): (Vec<_>, Vec<_>) = sources.into_iter().unzip();
        Self {
            positions: vec![SourcePosition::default(); sources.len()],
            orders: sources.iter().map(|_| Order::default()).collect(),
            open: sources.iter().map(|_| None).collect(),
            sources,
            weights,
            seed,
        }
    }

    /// How far each source was read.
    pub fn positions(&self) -> &[SourcePosition] {
        &self.positions
    }

    /// Goes to where another run was; false where it had another number of sources.
    pub fn seek(&mut self, positions: &[SourcePosition]) -> bool {
        if positions.len() != self.positions.len() {
            return false;
        }
        self.positions = positions.to_vec();
        self.open.iter_mut().for_each(|open| *open = None);
        true
    }

    /// The next batch: documents until the next does not fit into `tokens` rows. Documents of more rows than `context` are cut by
    /// their source; none is longer than a batch.
    ///
    /// # Errors
    /// Where an item cannot be read, or a source has no document.
    pub fn next_batch(&mut self, tokens: usize) -> Result<Batch, TrainError> {
        let mut packing = Packing::default();
        loop {
            let source = self.most_behind();
            let document = self.peek(source)?;
            if packing.rows_with(document) > tokens && packing.rows() > 0 {
                return Ok(packing.finish());
            }
            packing.add(document);
            let rows = document.rows();
            self.advance(source, rows);
        }
    }

    /// The source whose part of the tokens is furthest behind its weight.
    fn most_behind(&self) -> usize {
        let part = |index: usize| self.positions[index].tokens as f64 / self.weights[index];
        (0..self.sources.len())
            .min_by(|a, b| part(*a).total_cmp(&part(*b)))
            .expect("a mixture has sources")
    }

    /// The next document of a source.
    fn peek(&mut self, source: usize) -> Result<&Document, TrainError> {
        let mut empty_items = 0;
        loop {
            if self.open[source].is_none() {
                let item = self.item(source);
                self.open[source] = Some(self.sources[source].documents(item)?);
            }
            let count = self.open[source].as_ref().map_or(0, Vec::len) as u64;
            if self.positions[source].documents < count {
                break;
            }
            self.open[source] = None;
            self.positions[source].items += 1;
            self.positions[source].documents = 0;
            empty_items += 1;
            if self.sources[source]
                .len()
                .is_some_and(|len| empty_items > len as u64)
            {
                return Err(self.sources[source].empty());
            }
        }
        let at = self.positions[source].documents as usize;
        Ok(&self.open[source].as_ref().expect("opened above")[at])
    }

    fn advance(&mut self, source: usize, rows: usize) {
        self.positions[source].documents += 1;
        self.positions[source].tokens += rows as u64;
    }

    /// The item at a source's position: a shuffled order per epoch, or the number itself where items are generated.
    fn item(&mut self, source: usize) -> u64 {
        let position = self.positions[source].items;
        let Some(len) = self.sources[source].len() else {
            return position;
        };
        let (epoch, index) = (position / len as u64, position % len as u64);
        let order = &mut self.orders[source];
        if order.epoch != Some(epoch) {
            order.epoch = Some(epoch);
            order.items = (0..len as u32).collect();
            Random::new(self.seed, (source as u64) << 32 | epoch).shuffle(&mut order.items);
        }
        u64::from(order.items[index as usize])
    }
}

/// Positions below which a common beginning is computed anew: looking keys up elsewhere has its price too.
const SHORTEST_PREFIX: usize = 32;

/// A batch in the making. A document that begins like one before it shares the rows of that beginning.
#[derive(Debug, Default)]
pub struct Packing {
    tokens: Vec<u32>,
    pictures: Pictures,
    targets: Vec<u32>,
    weights: Vec<f32>,
    segments: Vec<Segment>,
    /// Tokens of every document so far.
    documents: Vec<Vec<u32>>,
}

impl Packing {
    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }

    /// Rows there would be with one more document.
    pub fn rows_with(&self, document: &Document) -> usize {
        let shared = self.prefix(document).map_or(0, |prefix| prefix.len);
        self.rows() + document.rows() - shared
    }

    /// Puts a document behind the others.
    pub fn add(&mut self, document: &Document) {
        let prefix = self.prefix(document);
        let (first, len) = (prefix.map_or(0, |prefix| prefix.len), document.rows());
        self.pictures
            .append(&document.pictures, self.tokens.len() - first);
        let segment = Segment {
            start: self.tokens.len(),
            len: len - first,
            prefix,
        };
        for position in 0..first {
            let row = segment.row(position, &self.segments);
            self.weights[row] += document.weights[position + 1];
        }
        self.segments.push(segment);
        self.tokens.extend_from_slice(&document.tokens[first..len]);
        self.targets
            .extend_from_slice(&document.tokens[first + 1..]);
        self.weights
            .extend_from_slice(&document.weights[first + 1..]);
        self.documents.push(document.tokens.clone());
    }

    /// The longest beginning that a document has in common with one before it: rows whose targets are the same too. It ends before
    /// the first picture, since pads are alike and pictures are not.
    fn prefix(&self, document: &Document) -> Option<Prefix> {
        let most = document.rows().checked_sub(1)?;
        let first_picture = document.pictures.rows.first();
        let most = first_picture.map_or(most, |rows| rows.start.min(most));
        let common = |other: &Vec<u32>| {
            let pairs = other.iter().zip(&document.tokens);
            let equal = pairs.take_while(|(a, b)| a == b).count();
            equal.saturating_sub(1).min(most)
        };
        let prefixes = self.documents.iter().map(common).enumerate();
        let (of, len) = prefixes.max_by_key(|(of, len)| (*len, std::cmp::Reverse(*of)))?;
        (len >= SHORTEST_PREFIX).then_some(Prefix { of, len })
    }

    /// The batch.
    pub fn finish(self) -> Batch {
        Batch {
            tokens: self.tokens,
            pictures: self.pictures,
            targets: self.targets,
            weights: self.weights,
            segments: self.segments.into(),
        }
    }
}

//! What one step computes, as flat plain data: the scheduler's output and the runner's input.

use std::ops::Range;

use crate::paged_cache::{BlockCopy, BlockId, BlockTable};
use crate::prompt::{InputRow, SequenceRows};
use crate::request::SequenceId;

/// One step's work. All rows of all sequences lie one after the other.
///
/// A runner first does [`copies`](Self::copies) in order; then computes every row, writing its latent
/// to its place and attending to all rows of its own sequence up to itself; then returns logits of
/// [`logits_rows`](Self::logits_rows).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Rows to copy between blocks before anything is computed, in this order.
    pub copies: Vec<BlockCopy>,
    /// Inputs `[rows]`.
    pub rows: Vec<InputRow>,
    /// Positions `[rows]`: how many rows of its sequence stand before each.
    pub positions: Vec<u32>,
    /// Block tables of all spans, one after the other.
    pub blocks: Vec<BlockId>,
    /// Which rows need logits, in ascending order.
    pub logits_rows: Vec<usize>,
    /// The rows of each sequence. No sequence has two spans.
    pub spans: Vec<Span>,
}

/// The rows of one sequence in a batch: they follow each other and what is cached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Whose rows.
    pub sequence: SequenceId,
    /// Which of the batch's rows.
    pub rows: Range<usize>,
    /// Rows in the cache before these; the position of the first.
    pub cached_rows: usize,
    /// Which of the batch's blocks hold the sequence, this step's rows included.
    pub blocks: Range<usize>,
    /// Which of the batch's logits are of this span: one per row at its end.
    pub logits: Range<usize>,
    /// How many rows at the end are guesses: tokens that were not sampled yet.
    pub drafts: usize,
}

impl Batch {
    /// Appends the next `count` rows of a sequence, and guesses at what follows them. Logits are
    /// wanted of the last known row, if that is among them, and of every guess.
    pub(crate) fn push(
        &mut self,
        sequence: SequenceId,
        rows: &SequenceRows,
        table: &BlockTable,
        count: usize,
        drafts: &[u32],
    ) {
        let (first, cached_rows) = (self.rows.len(), table.rows());
        let known = cached_rows..cached_rows + count;
        let reaches_the_end = known.end == rows.tokens().len();
        self.rows.extend(known.map(|row| rows.input(row)));
        self.rows
            .extend(drafts.iter().map(|&token| InputRow::Token(token)));
        let end = self.rows.len();
        self.positions
            .extend((cached_rows as u32..).take(end - first));

        let (first_block, first_logits) = (self.blocks.len(), self.logits_rows.len());
        self.blocks.extend_from_slice(table.blocks());
        if reaches_the_end {
            self.logits_rows.extend(end - drafts.len() - 1..end);
        }
        self.spans.push(Span {
            sequence,
            rows: first..end,
            cached_rows,
            blocks: first_block..self.blocks.len(),
            logits: first_logits..self.logits_rows.len(),
            drafts: drafts.len(),
        });
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.copies.is_empty()
    }

    /// The tokens guessed at the end of a span.
    pub fn drafts(&self, span: &Span) -> impl Iterator<Item = u32> {
        self.rows[span.rows.end - span.drafts..span.rows.end]
            .iter()
            .map(|row| match row {
                InputRow::Token(token) => *token,
                InputRow::Media { .. } => unreachable!("guesses are tokens"),
            })
    }

    /// The block and the row within it that hold position `position` of a span.
    pub fn place(&self, span: &Span, position: usize, block_rows: usize) -> (BlockId, usize) {
        let blocks = &self.blocks[span.blocks.clone()];
        (blocks[position / block_rows], position % block_rows)
    }
}

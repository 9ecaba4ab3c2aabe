//! The latent cache's bookkeeping: which block holds which rows of which sequence.
//!
//! Nothing here computes or stores a latent. The rows themselves are the runner's; this room decides
//! where they go and lets sequences with an equal beginning share blocks.
//!
//! The life of a block: [`reserve`](PagedCache::reserve)d for a sequence and written by it; announced
//! in the prefix tree in the step that computes its rows; shared by whoever reads the same rows;
//! kept by the tree alone after the last reader; evicted when room is needed, least recently used
//! first.
//!
//! Only whole blocks are shared in place. Of a block whose rows agree only at the beginning, those
//! rows are copied into a block of one's own ([`BlockCopy`]), so no shared block is ever written.

mod block_pool;
mod prefix_cache;

pub use block_pool::{BlockId, BlockPool};

use prefix_cache::{NodeId, PrefixCache, ROOT};

use crate::prompt::SequenceRows;

/// Rows to copy between blocks, in every layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockCopy {
    /// The block to read.
    pub from: BlockId,
    /// The block to write; may be the same, and then there is nothing to do.
    pub to: BlockId,
    /// How many of the first rows.
    pub rows: usize,
}

/// Where the rows of one sequence lie: row `r` is row `r mod block_rows` of block `r / block_rows`.
#[derive(Debug, Default)]
pub struct BlockTable {
    blocks: Vec<BlockId>,
    /// Rows computed (or copied) so far.
    rows: usize,
    /// Tree nodes of the first blocks, in order: whole blocks that others may read.
    path: Vec<NodeId>,
    /// How many nodes at the end of the path are computed in the step that is being planned.
    announced: usize,
    /// A leaf for the first rows of the block after the path.
    leaf: Option<Leaf>,
}

#[derive(Debug, Clone, Copy)]
struct Leaf {
    node: NodeId,
    rows: usize,
    ready: bool,
}

/// What a sequence may do after looking for rows that others computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adoption {
    /// Compute on: nobody else has or is about to have the next rows.
    Proceed,
    /// Wait for the next step: another sequence computes rows in this one that are the same.
    Wait,
    /// Rows could be copied, but there is no block to copy them to.
    NoBlock,
}

/// All blocks are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfBlocks;

/// Block pool and prefix tree.
#[derive(Debug)]
pub struct PagedCache {
    pool: BlockPool,
    prefixes: PrefixCache,
    block_rows: usize,
    sharing: Sharing,
    copies: Vec<BlockCopy>,
}

/// Whether and when sequences share rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Each computes its own.
    Off,
    /// By content.
    On {
        /// A sequence waits for a step when that saves it computing at least this many rows.
        worth_waiting_rows: usize,
    },
}

impl BlockTable {
    /// The blocks in order of rows.
    pub fn blocks(&self) -> &[BlockId] {
        &self.blocks
    }

    /// Rows that need not be computed any more.
    pub fn rows(&self) -> usize {
        self.rows
    }

    fn parent(&self) -> NodeId {
        self.path.last().copied().unwrap_or(ROOT)
    }
}

impl PagedCache {
    /// A cache of `capacity` blocks of `block_rows` rows.
    pub fn new(capacity: u32, block_rows: usize, sharing: Sharing) -> Self {
        let (pool, prefixes) = (BlockPool::new(capacity), PrefixCache::new());
        Self {
            pool,
            prefixes,
            block_rows,
            sharing,
            copies: Vec::new(),
        }
    }

    /// Blocks that can be had without taking any from a sequence.
    pub fn available(&self) -> usize {
        self.pool.free() + self.prefixes.idle()
    }

    /// Blocks without any owner, not even the prefix tree.
    pub fn free(&self) -> usize {
        self.pool.free()
    }

    /// Blocks in all.
    pub fn capacity(&self) -> usize {
        self.pool.capacity()
    }

    /// Blocks that `rows` rows need.
    pub fn blocks_for(&self, rows: usize) -> usize {
        rows.div_ceil(self.block_rows)
    }

    /// The copies that were decided since the last call, to be done in this order before anything
    /// is computed.
    pub fn take_copies(&mut self) -> Vec<BlockCopy> {
        std::mem::take(&mut self.copies)
    }

    /// How many blocks a sequence that begins with `rows` would find in use by others, computed.
    pub fn blocks_in_use(&self, rows: &SequenceRows) -> usize {
        let mut parent = ROOT;
        let whole_blocks = (rows.tokens().len() - 1) / self.block_rows;
        (0..whole_blocks)
            .take_while(|index| {
                let keys = rows.keys(index * self.block_rows..(index + 1) * self.block_rows);
                let found = self.prefixes.longest_ready(parent, &keys);
                found
                    .filter(|found| found.rows == self.block_rows)
                    .is_some_and(|found| {
                        parent = found.node;
                        self.pool.owners(self.prefixes.block(found.node)) > 1
                    })
            })
            .count()
    }

    /// Takes over what others computed of `rows`, up to row `limit`.
    pub fn adopt(&mut self, table: &mut BlockTable, rows: &SequenceRows, limit: usize) -> Adoption {
        let Sharing::On { worth_waiting_rows } = self.sharing else {
            return Adoption::Proceed;
        };
        loop {
            self.settle(table, rows);
            let start = table.path.len() * self.block_rows;
            let end = limit.min(start + self.block_rows);
            if table.rows >= end || table.announced > 0 {
                return Adoption::Proceed;
            }
            let keys = rows.keys(start..end);
            let own = table.rows - start;
            let ready = self.prefixes.longest_ready(table.parent(), &keys);
            if let Some(found) = ready.filter(|found| found.rows == self.block_rows) {
                self.adopt_block(table, found.node);
                continue;
            }
            let have = ready.map_or(0, |found| found.rows).max(own);
            let pending = self.prefixes.longest_pending(table.parent(), &keys);
            if pending.is_some_and(|pending| pending.rows >= have + worth_waiting_rows) {
                return Adoption::Wait;
            }
            return match ready.filter(|found| found.rows > own) {
                Some(found) => self.copy_beginning(table, found.node, found.rows),
                None => Adoption::Proceed,
            };
        }
    }

    /// Shares a whole computed block in place of what the table has there.
    fn adopt_block(&mut self, table: &mut BlockTable, node: NodeId) {
        self.prefixes.acquire(&mut self.pool, node);
        self.drop_leaf(table);
        let at = table.path.len();
        let block = self.prefixes.block(node);
        match table.blocks.get_mut(at) {
            Some(own) => self.pool.release(std::mem::replace(own, block)),
            None => table.blocks.push(block),
        }
        table.path.push(node);
        table.rows = table.rows.max(table.path.len() * self.block_rows);
    }

    fn copy_beginning(&mut self, table: &mut BlockTable, node: NodeId, rows: usize) -> Adoption {
        let start = table.path.len() * self.block_rows;
        // While it is held, making room cannot evict it.
        self.prefixes.acquire(&mut self.pool, node);
        let reserved = self.reserve(table, start + rows);
        let from = self.prefixes.block(node);
        self.prefixes.release(&mut self.pool, node);
        if reserved.is_err() {
            return Adoption::NoBlock;
        }
        self.copies.push(BlockCopy {
            from,
            to: table.blocks[table.path.len()],
            rows,
        });
        table.rows = start + rows;
        Adoption::Proceed
    }

    /// Gives the table blocks for `rows` rows in all; what it got stays where that fails.
    pub fn reserve(&mut self, table: &mut BlockTable, rows: usize) -> Result<(), OutOfBlocks> {
        while table.blocks.len() < self.blocks_for(rows) {
            let block = match self.pool.allocate() {
                Some(block) => block,
                None if self.prefixes.evict(&mut self.pool) => continue,
                None => return Err(OutOfBlocks),
            };
            table.blocks.push(block);
        }
        Ok(())
    }

    /// Says that the rows up to `until` are computed in this step, so that others wait for them
    /// rather than compute the same. With `to_the_end`, no row after `until` is known yet, and the
    /// rows of the last, unfilled block are announced, too.
    pub fn announce(
        &mut self,
        table: &mut BlockTable,
        rows: &SequenceRows,
        until: usize,
        to_the_end: bool,
    ) {
        if self.sharing == Sharing::Off {
            return;
        }
        if table.announced == 0 {
            self.settle(table, rows);
        }
        while (table.path.len() + 1) * self.block_rows <= until {
            let start = table.path.len() * self.block_rows;
            let keys = rows.keys(start..start + self.block_rows);
            let block = table.blocks[table.path.len()];
            let parent = table.parent();
            let Some(node) = self
                .prefixes
                .insert(&mut self.pool, parent, keys, block, false)
            else {
                return;
            };
            self.drop_leaf(table);
            table.path.push(node);
            table.announced += 1;
        }
        if to_the_end {
            self.add_leaf(table, rows, until, false);
        }
    }

    /// Counts `rows` more rows as computed, and what was announced as ready.
    pub fn commit(&mut self, table: &mut BlockTable, rows: usize) {
        table.rows += rows;
        for &node in &table.path[table.path.len() - table.announced..] {
            self.prefixes.mark_ready(&mut self.pool, node);
        }
        table.announced = 0;
        if let Some(leaf) = table.leaf.as_mut().filter(|leaf| !leaf.ready) {
            leaf.ready = true;
            self.prefixes.mark_ready(&mut self.pool, leaf.node);
        }
    }

    /// Takes back what was announced in this step: it will not be computed.
    pub fn withdraw(&mut self, table: &mut BlockTable) {
        if table.leaf.is_some_and(|leaf| !leaf.ready) {
            self.drop_leaf(table);
        }
        for _ in 0..std::mem::take(&mut table.announced) {
            if let Some(node) = table.path.pop() {
                self.prefixes.remove(&mut self.pool, node);
            }
        }
    }

    /// Gives all blocks back. Computed rows stay in the prefix tree until their room is needed.
    pub fn retire(&mut self, table: &mut BlockTable, rows: &SequenceRows) {
        self.withdraw(table);
        if self.sharing != Sharing::Off {
            self.settle(table, rows);
            let in_path = table.path.len() * self.block_rows;
            if table.rows < in_path + self.block_rows {
                self.add_leaf(table, rows, table.rows, true);
            }
        }
        let leaf_node = table.leaf.take().map(|leaf| leaf.node);
        let nodes = table.path.iter().copied().chain(leaf_node);
        let nodes: Vec<NodeId> = nodes.collect();
        // From the end, so that the beginning, which more sequences may share, is evicted last.
        for &block in table.blocks[nodes.len()..].iter().rev() {
            self.pool.release(block);
        }
        for &node in nodes.iter().rev() {
            self.prefixes.release(&mut self.pool, node);
        }
        *table = BlockTable::default();
    }

    /// Empties the prefix tree, as far as no sequence uses it.
    pub fn forget(&mut self) {
        while self.prefixes.evict(&mut self.pool) {}
    }

    /// Brings whole computed blocks that are not in the tree into it, or exchanges them for the
    /// equal ones that are there by now.
    fn settle(&mut self, table: &mut BlockTable, rows: &SequenceRows) {
        debug_assert_eq!(table.announced, 0, "settled between steps");
        while (table.path.len() + 1) * self.block_rows <= table.rows {
            let start = table.path.len() * self.block_rows;
            let keys = rows.keys(start..start + self.block_rows);
            let parent = table.parent();
            let equal = self.prefixes.longest_ready(parent, &keys);
            if let Some(found) = equal.filter(|found| found.rows == self.block_rows) {
                self.adopt_block(table, found.node);
                continue;
            }
            let block = table.blocks[table.path.len()];
            let Some(node) = self
                .prefixes
                .insert(&mut self.pool, parent, keys, block, true)
            else {
                return;
            };
            self.drop_leaf(table);
            table.path.push(node);
        }
    }

    /// Names the rows from the path's end to `until`, less than a block, as a leaf.
    fn add_leaf(&mut self, table: &mut BlockTable, rows: &SequenceRows, until: usize, ready: bool) {
        let start = table.path.len() * self.block_rows;
        let count = until.saturating_sub(start);
        let known = table.leaf.map_or(0, |leaf| leaf.rows);
        if count <= known || count >= self.block_rows {
            return;
        }
        self.drop_leaf(table);
        let (parent, block) = (table.parent(), table.blocks[table.path.len()]);
        let keys = rows.keys(start..until);
        let node = self
            .prefixes
            .insert(&mut self.pool, parent, keys, block, ready);
        table.leaf = node.map(|node| Leaf {
            node,
            rows: count,
            ready,
        });
    }

    fn drop_leaf(&mut self, table: &mut BlockTable) {
        if let Some(leaf) = table.leaf.take() {
            self.prefixes.remove(&mut self.pool, leaf.node);
        }
    }

    /// Checks that every block's owners are exactly the given tables and the tree.
    pub fn audit<'a>(&self, tables: impl Iterator<Item = &'a BlockTable>) -> Result<(), String> {
        self.prefixes.audit(&self.pool)?;
        let mut owners = vec![0u32; self.pool.capacity()];
        self.prefixes
            .blocks()
            .for_each(|block| owners[block.index()] += 1);
        for table in tables {
            table
                .blocks
                .iter()
                .for_each(|block| owners[block.index()] += 1);
            for (node, block) in table.path.iter().zip(&table.blocks) {
                if self.prefixes.block(*node) != *block {
                    return Err(format!("{node:?} of a path is not over {block:?}"));
                }
            }
            if table.blocks.len() < self.blocks_for(table.rows) {
                return Err(format!(
                    "{} rows in {} blocks",
                    table.rows,
                    table.blocks.len()
                ));
            }
        }
        for (id, &expected) in (0u32..).zip(&owners) {
            let counted = self.pool.owners(BlockId(id));
            if counted != expected {
                return Err(format!(
                    "block {id} has {expected} owners, {counted} counted"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::prompt::Prompt;

    const BLOCK_ROWS: usize = 4;

    fn cache(blocks: u32) -> PagedCache {
        let sharing = Sharing::On {
            worth_waiting_rows: 2,
        };
        PagedCache::new(blocks, BLOCK_ROWS, sharing)
    }

    fn rows(tokens: &[u32]) -> SequenceRows {
        let prompt = Prompt::text(tokens.to_vec()).expect("a prompt");
        SequenceRows::new(Arc::new(prompt))
    }

    /// Reserves and announces all of `rows`, as a step does that computes them.
    fn announce(cache: &mut PagedCache, table: &mut BlockTable, rows: &SequenceRows) {
        let until = rows.tokens().len();
        cache.reserve(table, until).expect("room");
        cache.announce(table, rows, until, true);
    }

    #[test]
    fn who_comes_second_waits_and_shares() {
        let mut cache = cache(10);
        let (first, second) = (rows(&[1, 2, 3, 4, 5, 6, 7]), rows(&[1, 2, 3, 4, 5, 6, 9]));
        let (mut a, mut b) = (BlockTable::default(), BlockTable::default());
        announce(&mut cache, &mut a, &first);
        assert_eq!(cache.adopt(&mut b, &second, 6), Adoption::Wait);
        cache.commit(&mut a, 7);

        assert_eq!(cache.adopt(&mut b, &second, 6), Adoption::Proceed);
        assert_eq!(b.rows(), 6);
        assert_eq!(b.blocks()[0], a.blocks()[0], "a whole block is shared");
        let copy = BlockCopy {
            from: a.blocks()[1],
            to: b.blocks()[1],
            rows: 2,
        };
        assert_eq!(cache.take_copies(), [copy], "of another, the beginning");
        cache.audit([&a, &b].into_iter()).expect("sound");
        assert_eq!(cache.available(), 7);
    }

    #[test]
    fn what_is_withdrawn_was_never_there() {
        let mut cache = cache(10);
        let sequence = rows(&[1, 2, 3, 4, 5, 6, 7]);
        let (mut a, mut b) = (BlockTable::default(), BlockTable::default());
        announce(&mut cache, &mut a, &sequence);
        cache.retire(&mut a, &sequence);
        assert_eq!(cache.free(), 10, "nothing was computed, so nothing is kept");
        assert_eq!(cache.adopt(&mut b, &sequence, 6), Adoption::Proceed);
        assert_eq!(b.rows(), 0);
        cache.audit([&a, &b].into_iter()).expect("sound");
    }

    #[test]
    fn equal_blocks_become_one() {
        let mut cache = cache(10);
        let sequence = rows(&[1, 2, 3, 4, 5]);
        let mut tables = [BlockTable::default(), BlockTable::default()];
        for table in &mut tables {
            announce(&mut cache, table, &sequence);
        }
        for table in &mut tables {
            cache.commit(table, 5);
        }
        assert_eq!(cache.available(), 6);
        let [a, mut b] = tables;
        assert_eq!(cache.adopt(&mut b, &sequence, 4), Adoption::Proceed);
        assert_eq!(b.blocks()[0], a.blocks()[0]);
        assert_eq!(cache.available(), 7);
        cache.audit([&a, &b].into_iter()).expect("sound");
    }

    #[test]
    fn retired_rows_stay_until_their_room_is_needed() {
        let mut cache = cache(3);
        let sequence = rows(&[1, 2, 3, 4, 5, 6]);
        let mut table = BlockTable::default();
        announce(&mut cache, &mut table, &sequence);
        cache.commit(&mut table, 6);
        cache.retire(&mut table, &sequence);
        assert_eq!((cache.free(), cache.available()), (1, 3));

        assert_eq!(cache.reserve(&mut table, 12), Ok(()));
        assert_eq!(cache.reserve(&mut table, 13), Err(OutOfBlocks));
        cache.retire(&mut table, &sequence);
        assert_eq!(cache.free(), 3);
    }

    #[test]
    fn without_sharing_everyone_is_alone() {
        let mut cache = PagedCache::new(10, BLOCK_ROWS, Sharing::Off);
        let sequence = rows(&[1, 2, 3, 4, 5]);
        let (mut a, mut b) = (BlockTable::default(), BlockTable::default());
        announce(&mut cache, &mut a, &sequence);
        cache.commit(&mut a, 5);
        assert_eq!(cache.adopt(&mut b, &sequence, 4), Adoption::Proceed);
        assert_eq!(b.rows(), 0);
        cache.retire(&mut a, &sequence);
        assert_eq!(cache.free(), 10);
    }
}

//! Which blocks of the latent cache are in use, and by how many.
//!
//! A block is room for a fixed number of rows of every layer. Its contents belong to the runner; here
//! a block is a number. Owners count: a block with several of them is shared and must not be written.

use std::num::NonZeroU32;

/// A block of the latent cache: an index below the pool's capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u32);

impl BlockId {
    /// The block's index in the runner's storage.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Counts the owners of every block and hands out those without one.
#[derive(Debug)]
pub struct BlockPool {
    owners: Vec<Option<NonZeroU32>>,
    free: Vec<BlockId>,
}

impl BlockPool {
    /// A pool of `capacity` free blocks.
    pub fn new(capacity: u32) -> Self {
        Self {
            owners: vec![None; capacity as usize],
            // The lowest ids leave first.
            free: (0..capacity).rev().map(BlockId).collect(),
        }
    }

    /// Blocks in the pool, free or not.
    pub fn capacity(&self) -> usize {
        self.owners.len()
    }

    /// Blocks without an owner.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Takes a free block; the caller is its one owner.
    pub fn allocate(&mut self) -> Option<BlockId> {
        let block = self.free.pop()?;
        let owners = &mut self.owners[block.index()];
        debug_assert!(owners.is_none(), "{block:?} was free and owned");
        *owners = Some(NonZeroU32::MIN);
        Some(block)
    }

    /// Adds an owner to a block that has one.
    pub fn retain(&mut self, block: BlockId) {
        let owners = &mut self.owners[block.index()];
        *owners = owners.and_then(|count| count.checked_add(1));
        assert!(
            owners.is_some(),
            "{block:?} gained an owner while it was free"
        );
    }

    /// Takes an owner away; without owners the block is free again.
    pub fn release(&mut self, block: BlockId) {
        let owners = &mut self.owners[block.index()];
        let count = owners.unwrap_or_else(|| panic!("{block:?} lost an owner while it was free"));
        *owners = NonZeroU32::new(count.get() - 1);
        if owners.is_none() {
            self.free.push(block);
        }
    }

    /// How many own `block`; 0 where it is free.
    pub fn owners(&self, block: BlockId) -> u32 {
        self.owners[block.index()].map_or(0, NonZeroU32::get)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blocks_come_lowest_first_and_end() {
        let mut pool = BlockPool::new(2);
        assert_eq!(pool.allocate(), Some(BlockId(0)));
        assert_eq!(pool.allocate(), Some(BlockId(1)));
        assert_eq!(pool.allocate(), None);
        pool.release(BlockId(0));
        assert_eq!(pool.allocate(), Some(BlockId(0)));
    }

    #[test]
    #[should_panic(expected = "lost an owner while it was free")]
    fn a_free_block_cannot_be_released() {
        BlockPool::new(1).release(BlockId(0));
    }

    #[test]
    #[should_panic(expected = "gained an owner while it was free")]
    fn a_free_block_cannot_be_shared() {
        BlockPool::new(1).retain(BlockId(0));
    }

    proptest! {
        /// Against a plain list of owners: no block is lost, doubled or handed out while owned.
        #[test]
        fn ownership_agrees_with_a_list(actions in prop::collection::vec((0u8..3, 0usize..64), 0..200)) {
            let mut pool = BlockPool::new(8);
            let mut owned: Vec<BlockId> = Vec::new();
            for (action, at) in actions {
                match action {
                    0 => match pool.allocate() {
                        Some(block) => {
                            prop_assert!(!owned.contains(&block));
                            owned.push(block);
                        }
                        None => prop_assert!((0..8).all(|id| owned.contains(&BlockId(id)))),
                    },
                    1 if !owned.is_empty() => {
                        let block = owned[at % owned.len()];
                        pool.retain(block);
                        owned.push(block);
                    }
                    2 if !owned.is_empty() => {
                        let block = owned.swap_remove(at % owned.len());
                        pool.release(block);
                    }
                    _ => {}
                }
                for id in 0..8 {
                    let expected = owned.iter().filter(|block| block.0 == id).count();
                    prop_assert_eq!(pool.owners(BlockId(id)) as usize, expected);
                }
                let free = (0..8).filter(|&id| pool.owners(BlockId(id)) == 0).count();
                prop_assert_eq!(pool.free(), free);
            }
        }
    }
}

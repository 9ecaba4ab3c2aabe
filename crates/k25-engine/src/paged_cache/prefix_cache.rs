//! Finding blocks by content: a tree whose nodes are blocks.
//!
//! A node's place is its parent's rows followed by its own, so equal paths mean equal cache contents.
//! Children are kept in the order of their rows: the child that shares the longest beginning with
//! given rows is a neighbour of where they would stand, found in the logarithm of the number of
//! children. Rows are compared themselves, never a hash of them, so nobody can be given another's rows.
//!
//! A node with fewer rows than a block is a leaf: the rows at the end of some sequence. Its block may
//! still grow under another owner, but the rows that the node names never change.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::{BlockId, BlockPool};
use crate::prompt::RowKey;

/// A node of the tree; valid for as long as someone beside the cache owns its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(u32);

/// Where every path begins; it has no block.
pub(super) const ROOT: NodeId = NodeId(0);

/// A node that begins like the rows that were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    pub node: NodeId,
    /// Rows in common.
    pub rows: usize,
}

#[derive(Debug)]
pub(super) struct PrefixCache {
    nodes: Vec<Node>,
    vacant: Vec<NodeId>,
    /// Leaves that only the cache owns, least recently used first.
    evictable: BTreeSet<(u64, NodeId)>,
    /// Nodes that only the cache owns, leaves or not; all of them become evictable in time.
    idle: usize,
    clock: u64,
}

type Children = BTreeMap<Arc<[RowKey]>, NodeId>;

#[derive(Debug)]
struct Node {
    parent: NodeId,
    block: BlockId,
    rows: Arc<[RowKey]>,
    ready: bool,
    children: Children,
    /// Children whose rows are computed in the step that is being planned.
    pending: Children,
    last_used: u64,
}

impl PrefixCache {
    pub fn new() -> Self {
        let root = Node::new(ROOT, BlockId(u32::MAX), Arc::from([]), true);
        let (nodes, vacant) = (vec![root], Vec::new());
        Self {
            nodes,
            vacant,
            evictable: BTreeSet::new(),
            idle: 0,
            clock: 0,
        }
    }

    /// Blocks that only the cache owns: all of them can be had by evicting.
    pub fn idle(&self) -> usize {
        self.idle
    }

    pub fn block(&self, node: NodeId) -> BlockId {
        self.node(node).block
    }

    /// The computed child of `parent` that shares the longest beginning with `rows`.
    pub fn longest_ready(&self, parent: NodeId, rows: &[RowKey]) -> Option<Match> {
        nearest(&self.node(parent).children, rows)
    }

    /// Likewise among the children that are computed in this step.
    pub fn longest_pending(&self, parent: NodeId, rows: &[RowKey]) -> Option<Match> {
        nearest(&self.node(parent).pending, rows)
    }

    /// Names the first `rows.len()` rows of `block` as following those of `parent`; the cache becomes
    /// an owner of the block. `None` where the tree has those rows there already.
    pub fn insert(
        &mut self,
        pool: &mut BlockPool,
        parent: NodeId,
        rows: Vec<RowKey>,
        block: BlockId,
        ready: bool,
    ) -> Option<NodeId> {
        let covered = |found: Option<Match>| found.is_some_and(|found| found.rows == rows.len());
        if covered(self.longest_ready(parent, &rows))
            || covered(self.longest_pending(parent, &rows))
        {
            return None;
        }
        pool.retain(block);
        let rows: Arc<[RowKey]> = rows.into();
        let node = self.store(Node::new(parent, block, Arc::clone(&rows), ready));
        if ready {
            self.remove_shortened(pool, parent, &rows);
        }
        self.siblings(parent, ready).insert(rows, node);
        self.note_evictable(pool, parent);
        Some(node)
    }

    /// The rows of a pending node are computed now.
    pub fn mark_ready(&mut self, pool: &mut BlockPool, node: NodeId) {
        let (parent, rows) = (self.node(node).parent, Arc::clone(&self.node(node).rows));
        self.node_mut(node).ready = true;
        self.siblings(parent, false).remove(&rows);
        self.remove_shortened(pool, parent, &rows);
        self.siblings(parent, true).insert(rows, node);
    }

    /// Adds an owner to a node's block.
    pub fn acquire(&mut self, pool: &mut BlockPool, node: NodeId) {
        let block = self.block(node);
        if pool.owners(block) == 1 {
            self.idle -= 1;
        }
        pool.retain(block);
        self.note_evictable(pool, node);
    }

    /// Takes an owner beside the cache away from a node's block: it was used until now.
    pub fn release(&mut self, pool: &mut BlockPool, node: NodeId) {
        let block = self.block(node);
        debug_assert!(pool.owners(block) > 1, "the cache is an owner, too");
        pool.release(block);
        self.clock += 1;
        self.node_mut(node).last_used = self.clock;
        if pool.owners(block) == 1 {
            self.idle += 1;
        }
        self.note_evictable(pool, node);
    }

    /// Takes a leaf out of the tree; the cache is no longer an owner of its block.
    pub fn remove(&mut self, pool: &mut BlockPool, node: NodeId) {
        let removed = self.node(node);
        debug_assert!(removed.is_leaf(), "only leaves leave the tree");
        let (parent, block, ready) = (removed.parent, removed.block, removed.ready);
        let (rows, last_used) = (Arc::clone(&removed.rows), removed.last_used);
        if pool.owners(block) == 1 {
            self.idle -= 1;
        }
        self.evictable.remove(&(last_used, node));
        self.siblings(parent, ready).remove(&rows);
        pool.release(block);
        self.vacant.push(node);
        self.note_evictable(pool, parent);
    }

    /// Frees the block that was used longest ago; false where every block is in use.
    pub fn evict(&mut self, pool: &mut BlockPool) -> bool {
        match self.evictable.first() {
            Some(&(_, node)) => {
                self.remove(pool, node);
                true
            }
            None => false,
        }
    }

    /// Removes the idle leaf whose rows are the beginning of `rows`, which now say more.
    fn remove_shortened(&mut self, pool: &mut BlockPool, parent: NodeId, rows: &Arc<[RowKey]>) {
        let children = &self.node(parent).children;
        let before = children.range(..Arc::clone(rows)).next_back();
        if let Some((shorter, &node)) = before
            && rows.starts_with(shorter)
            && pool.owners(self.block(node)) == 1
        {
            self.remove(pool, node);
        }
    }

    fn note_evictable(&mut self, pool: &BlockPool, node: NodeId) {
        if node == ROOT {
            return;
        }
        let Node {
            block, last_used, ..
        } = *self.node(node);
        if self.node(node).is_leaf() && pool.owners(block) == 1 {
            self.evictable.insert((last_used, node));
        } else {
            self.evictable.remove(&(last_used, node));
        }
    }

    fn siblings(&mut self, parent: NodeId, ready: bool) -> &mut Children {
        let parent = self.node_mut(parent);
        if ready {
            &mut parent.children
        } else {
            &mut parent.pending
        }
    }

    fn store(&mut self, node: Node) -> NodeId {
        match self.vacant.pop() {
            Some(id) => {
                *self.node_mut(id) = node;
                id
            }
            None => {
                self.nodes.push(node);
                NodeId((self.nodes.len() - 1) as u32)
            }
        }
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    /// Blocks of all nodes, once per node.
    pub fn blocks(&self) -> impl Iterator<Item = BlockId> {
        let vacant: BTreeSet<NodeId> = self.vacant.iter().copied().collect();
        (0u32..)
            .zip(&self.nodes)
            .skip(1)
            .filter(move |(id, _)| !vacant.contains(&NodeId(*id)))
            .map(|(_, node)| node.block)
    }

    /// Checks what must hold between any two calls.
    pub fn audit(&self, pool: &BlockPool) -> Result<(), String> {
        let (mut idle, mut evictable, mut reached) = (0, BTreeSet::new(), 0);
        let mut open = vec![ROOT];
        while let Some(id) = open.pop() {
            reached += 1;
            let node = self.node(id);
            let children = node.children.iter().map(|child| (true, child));
            for (ready, (rows, &child)) in
                children.chain(node.pending.iter().map(|child| (false, child)))
            {
                let below = self.node(child);
                if below.parent != id || below.rows != *rows || below.ready != ready {
                    return Err(format!("{child:?} is not the child that {id:?} has it for"));
                }
                open.push(child);
            }
            if id == ROOT {
                continue;
            }
            match pool.owners(node.block) {
                0 => return Err(format!("{id:?} names the free {:?}", node.block)),
                1 => {
                    idle += 1;
                    if node.is_leaf() {
                        evictable.insert((node.last_used, id));
                    }
                }
                _ => {}
            }
        }
        if (idle, &evictable) != (self.idle, &self.evictable) {
            return Err(format!(
                "{idle} idle nodes, {} counted; evictable {evictable:?}, kept {:?}",
                self.idle, self.evictable
            ));
        }
        if reached + self.vacant.len() != self.nodes.len() {
            return Err(format!(
                "{reached} of {} nodes are in the tree",
                self.nodes.len()
            ));
        }
        Ok(())
    }
}

impl Node {
    fn new(parent: NodeId, block: BlockId, rows: Arc<[RowKey]>, ready: bool) -> Self {
        let (children, pending) = (Children::new(), Children::new());
        Self {
            parent,
            block,
            rows,
            ready,
            children,
            pending,
            last_used: 0,
        }
    }

    fn is_leaf(&self) -> bool {
        self.children.is_empty() && self.pending.is_empty()
    }
}

/// The child with the longest common beginning: in order, one of the two around `rows`.
fn nearest(children: &Children, rows: &[RowKey]) -> Option<Match> {
    let below = (Bound::Unbounded, Bound::Excluded(rows));
    let above = (Bound::Included(rows), Bound::Unbounded);
    let before = children.range::<[RowKey], _>(below).next_back();
    let after = children.range::<[RowKey], _>(above).next();
    before
        .into_iter()
        .chain(after)
        .map(|(child, &node)| Match {
            node,
            rows: common(child, rows),
        })
        .filter(|found| found.rows > 0)
        .max_by_key(|found| found.rows)
}

fn common(a: &[RowKey], b: &[RowKey]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(tokens: &[u32]) -> Vec<RowKey> {
        tokens.iter().map(|&token| RowKey::Token(token)).collect()
    }

    /// A cache with children of the root, all idle, first inserted first used.
    fn cache_with(children: &[&[u32]]) -> (PrefixCache, BlockPool, Vec<Option<NodeId>>) {
        let (mut cache, mut pool) = (PrefixCache::new(), BlockPool::new(16));
        let nodes = children
            .iter()
            .map(|tokens| {
                let block = pool.allocate().expect("room");
                match cache.insert(&mut pool, ROOT, keys(tokens), block, true) {
                    Some(node) => {
                        cache.release(&mut pool, node);
                        Some(node)
                    }
                    None => {
                        pool.release(block);
                        None
                    }
                }
            })
            .collect();
        cache.audit(&pool).expect("sound");
        (cache, pool, nodes)
    }

    #[test]
    fn the_longest_beginning_is_found() {
        let (cache, _, nodes) = cache_with(&[&[1, 2, 3, 4], &[1, 2, 5, 5], &[7, 7, 7, 7]]);
        let found = |tokens: &[u32]| {
            cache
                .longest_ready(ROOT, &keys(tokens))
                .map(|m| (m.node, m.rows))
        };
        assert_eq!(found(&[1, 2, 3, 4]), nodes[0].map(|node| (node, 4)));
        assert_eq!(found(&[1, 2, 3, 9]), nodes[0].map(|node| (node, 3)));
        assert_eq!(found(&[1, 2, 5]), nodes[1].map(|node| (node, 3)));
        assert_eq!(found(&[7, 8]), nodes[2].map(|node| (node, 1)));
        assert_eq!(found(&[0, 8]), None);
        assert_eq!(found(&[8, 8]), None);
    }

    #[test]
    fn a_longer_leaf_replaces_its_beginning() {
        let (cache, pool, nodes) = cache_with(&[&[1, 2], &[1, 2, 3], &[1], &[1, 3]]);
        assert_eq!(
            nodes.iter().filter(|node| node.is_some()).count(),
            3,
            "[1] says nothing new"
        );
        assert_eq!(cache.idle(), 2, "[1, 2] went with [1, 2, 3]");
        assert_eq!(pool.free(), 14);
    }

    #[test]
    fn the_least_recent_leaf_goes_first() {
        let (mut cache, mut pool, nodes) = cache_with(&[&[1, 1], &[2, 2]]);
        let first = nodes[0].expect("a node");
        let block = pool.allocate().expect("room");
        let below = cache
            .insert(&mut pool, first, keys(&[3]), block, true)
            .expect("a new node");
        cache.release(&mut pool, below);
        cache.acquire(&mut pool, first);
        cache.release(&mut pool, first);
        cache.audit(&pool).expect("sound");

        let left = |cache: &PrefixCache, tokens: &[u32]| {
            cache.longest_ready(ROOT, &keys(tokens)).is_some()
        };
        assert!(
            cache.evict(&mut pool) && !left(&cache, &[2, 2]),
            "used longest ago"
        );
        assert!(
            cache.evict(&mut pool) && left(&cache, &[1, 1]),
            "the leaf below [1, 1]"
        );
        assert!(cache.evict(&mut pool) && !left(&cache, &[1, 1]));
        assert!(!cache.evict(&mut pool));
        assert_eq!((pool.free(), cache.idle()), (16, 0));
    }

    #[test]
    fn a_block_in_use_is_not_evicted() {
        let (mut cache, mut pool, nodes) = cache_with(&[&[1, 1]]);
        cache.acquire(&mut pool, nodes[0].expect("a node"));
        assert!(!cache.evict(&mut pool));
        assert_eq!(cache.idle(), 0);
        cache.audit(&pool).expect("sound");
    }

    #[test]
    fn pending_rows_are_found_apart_until_they_are_computed() {
        let (mut cache, mut pool) = (PrefixCache::new(), BlockPool::new(4));
        let block = pool.allocate().expect("room");
        let node = cache
            .insert(&mut pool, ROOT, keys(&[1, 2]), block, false)
            .expect("a new node");
        assert_eq!(cache.longest_ready(ROOT, &keys(&[1, 2])), None);
        assert_eq!(
            cache.longest_pending(ROOT, &keys(&[1, 3])),
            Some(Match { node, rows: 1 })
        );
        assert_eq!(
            cache.insert(&mut pool, ROOT, keys(&[1, 2]), block, true),
            None,
            "no second one"
        );
        cache.mark_ready(&mut pool, node);
        assert_eq!(cache.longest_pending(ROOT, &keys(&[1, 2])), None);
        assert_eq!(
            cache.longest_ready(ROOT, &keys(&[1, 2])),
            Some(Match { node, rows: 2 })
        );
        cache.audit(&pool).expect("sound");
    }

    proptest! {
        /// Against a plain list: the longest common beginning, whatever was inserted or evicted.
        #[test]
        fn matching_agrees_with_a_list(
            contents in prop::collection::vec(prop::collection::vec(0u32..3, 4), 0..12),
            evictions in 0usize..4,
            query in prop::collection::vec(0u32..3, 1..5),
        ) {
            let contents: Vec<&[u32]> = contents.iter().map(Vec::as_slice).collect();
            let (mut cache, mut pool, _) = cache_with(&contents);
            let mut kept: Vec<&[u32]> = Vec::new();
            for &content in &contents {
                if !kept.contains(&content) {
                    kept.push(content);
                }
            }
            for _ in 0..evictions.min(kept.len()) {
                prop_assert!(cache.evict(&mut pool));
                kept.remove(0);
            }
            cache.audit(&pool).expect("sound");
            let shared = |a: &[u32]| a.iter().zip(&query).take_while(|(a, b)| a == b).count();
            let expected = kept.iter().map(|content| shared(content)).max().filter(|&rows| rows > 0);
            let found = cache.longest_ready(ROOT, &keys(&query)).map(|found| found.rows);
            prop_assert_eq!(found, expected);
        }
    }
}

//! A set of byte strings that is walked one byte at a time.

/// The strings of a small fixed set, each with a value.
#[derive(Debug)]
pub(crate) struct ByteTrie<V> {
    nodes: Vec<Node<V>>,
}

#[derive(Debug)]
struct Node<V> {
    /// Following bytes and their nodes, sorted by byte.
    next: Vec<(u8, NodeId)>,
    value: Option<V>,
}

/// A place in the trie: the bytes walked so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeId(u32);

impl<V: Copy> ByteTrie<V> {
    /// The place where nothing has been walked.
    pub(crate) const ROOT: NodeId = NodeId(0);

    /// Builds the set. Of equal strings the last value counts.
    pub(crate) fn new<'s>(entries: impl IntoIterator<Item = (&'s str, V)>) -> Self {
        let root = Node {
            next: Vec::new(),
            value: None,
        };
        let mut trie = ByteTrie { nodes: vec![root] };
        for (text, value) in entries {
            let end = text
                .bytes()
                .fold(Self::ROOT, |at, byte| trie.child(at, byte));
            trie.nodes[end.0 as usize].value = Some(value);
        }
        trie
    }

    /// The node behind `byte`, made if it is not there yet.
    fn child(&mut self, at: NodeId, byte: u8) -> NodeId {
        let fresh = NodeId(self.nodes.len() as u32);
        let next = &mut self.nodes[at.0 as usize].next;
        match next.binary_search_by_key(&byte, |&(byte, _)| byte) {
            Ok(found) => next[found].1,
            Err(place) => {
                next.insert(place, (byte, fresh));
                self.nodes.push(Node {
                    next: Vec::new(),
                    value: None,
                });
                fresh
            }
        }
    }

    /// One byte further, or `None` if no string of the set goes on like this.
    #[inline]
    pub(crate) fn step(&self, at: NodeId, byte: u8) -> Option<NodeId> {
        let next = &self.nodes[at.0 as usize].next;
        let found = next.binary_search_by_key(&byte, |&(byte, _)| byte).ok()?;
        Some(next[found].1)
    }

    /// The value of the string that ends here, if one does.
    #[inline]
    pub(crate) fn value(&self, at: NodeId) -> Option<V> {
        self.nodes[at.0 as usize].value
    }

    /// The longest string of the set that `bytes` begins with: its length and value.
    pub(crate) fn longest_prefix(&self, bytes: &[u8]) -> Option<(usize, V)> {
        let mut at = Self::ROOT;
        let mut longest = None;
        for (walked, &byte) in bytes.iter().enumerate() {
            let Some(next) = self.step(at, byte) else {
                break;
            };
            at = next;
            if let Some(value) = self.value(at) {
                longest = Some((walked + 1, value));
            }
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_string_wins() {
        let trie = ByteTrie::new([("<a", 1), ("<a>", 2), ("<b>", 3)]);
        assert_eq!(trie.longest_prefix(b"<a>x"), Some((3, 2)));
        assert_eq!(trie.longest_prefix(b"<ax"), Some((2, 1)));
        assert_eq!(trie.longest_prefix(b"<b"), None);
        assert_eq!(trie.longest_prefix(b""), None);
    }
}

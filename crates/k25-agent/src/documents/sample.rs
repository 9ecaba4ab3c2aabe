//! A few documents instead of all: people try a question on twenty before they pay for three thousand.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{DocumentError, is_hidden};

/// What lies directly in the folder `root`, files and folders, sorted; hidden ones are passed over.
///
/// # Errors
/// [`DocumentError::Root`] where there is no such folder, or it cannot be read.
pub fn top_entries(root: &Path) -> Result<Vec<String>, DocumentError> {
    let fault = |error: std::io::Error| DocumentError::Root {
        path: root.display().to_string(),
        problem: error.to_string(),
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(root).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let kind = entry.file_type().map_err(fault)?;
        // Links to folders are not followed.
        let is_document = kind.is_dir() || entry.path().is_file();
        let name = entry.file_name().into_string().ok();
        names.extend(name.filter(|name| is_document && !is_hidden(name)));
    }
    names.sort();
    Ok(names)
}

/// `count` of these names, sorted; all of them where there are no more.
///
/// Each name has a rank of its own under a seed. So the same seed gives the same names, a larger
/// sample holds the smaller one, and a name more or less elsewhere changes at most one of them.
pub fn sample(mut names: Vec<String>, count: usize, seed: u64) -> Vec<String> {
    let rank = |name: &String| {
        let hash = Sha256::new().chain_update(seed.to_le_bytes());
        hash.chain_update(name).finalize()
    };
    names.sort_by_cached_key(rank);
    names.truncate(count);
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        (0..100).map(|number| format!("n{number}")).collect()
    }

    #[test]
    fn a_sample_is_the_same_again_and_grows_by_more() {
        let of = |count, seed| sample(names(), count, seed);
        assert_eq!(of(20, 7), of(20, 7));
        let reversed = names().into_iter().rev().collect();
        assert_eq!(sample(reversed, 20, 7), of(20, 7));
        assert_ne!(of(20, 7), of(20, 8));
        let larger = of(50, 7);
        assert!(of(20, 7).iter().all(|name| larger.contains(name)));
        assert!(larger.is_sorted() && larger.len() == 50);
        assert_eq!(of(1_000, 7).len(), 100);
        assert!(of(0, 7).is_empty());
    }

    #[test]
    fn another_name_changes_at_most_one_of_the_sample() {
        let before = sample(names(), 20, 3);
        for number in 100..140 {
            let mut more = names();
            more.push(format!("n{number}"));
            let after = sample(more, 20, 3);
            let gone = before.iter().filter(|name| !after.contains(name)).count();
            assert!(gone <= 1, "{number}");
        }
    }
}

//! Whether there is memory for what is about to be opened: asked before, so that it is not missing in
//! the middle of an answer.

use std::fs;
use std::sync::Arc;
use std::thread;

use k25_config::TextConfig;
use k25_engine::SchedulerConfig;
use k25_model::fast::{FastModel, LatentFormat, PagedLatents, own_bytes};
use k25_model::linear::Linear;
use k25_model::tensor::Advice;
use k25_model::weights::LayerWeights;

use crate::LocalError;

/// Refuses a cache that the machine has no memory for.
pub(crate) fn check_cache(
    config: &TextConfig,
    format: LatentFormat,
    scheduler: &SchedulerConfig,
) -> Result<(), LocalError> {
    let cache_bytes = cache_bytes(config, format, scheduler);
    match available_bytes() {
        Some(available) if cache_bytes > available => Err(LocalError::NoMemoryForCache {
            context_tokens: scheduler.context_rows,
            cache_bytes,
            available,
        }),
        _ => Ok(()),
    }
}

/// Refuses a limit below which the model cannot stay: beside the experts, which come and go, there
/// must be room for all that every token reads, and for the cache when it is full.
pub(crate) fn check_limit(
    model: &FastModel,
    format: LatentFormat,
    scheduler: &SchedulerConfig,
) -> Result<(), LocalError> {
    let Some(limit) = model.options().memory_limit else {
        return Ok(());
    };
    let config = &model.model().config.text;
    let [always, experts] = model.working_bytes();
    let cache = cache_bytes(config, format, scheduler);
    let process = own_bytes().unwrap_or(0);
    // An eighth is for the rows of a step and for what the system maps around a page.
    let needed = (process + always + 2 * experts + cache) / 7 * 8;
    match needed <= limit {
        true => Ok(()),
        false => Err(LocalError::MemoryLimit {
            limit,
            needed,
            always,
            experts: 2 * experts,
            cache,
            process,
        }),
    }
}

fn cache_bytes(config: &TextConfig, format: LatentFormat, scheduler: &SchedulerConfig) -> usize {
    PagedLatents::block_bytes(config, format) * scheduler.blocks as usize
}

/// What a cache may take of the memory that is free now: a quarter.
pub(crate) fn free_share() -> usize {
    available_bytes().unwrap_or(usize::MAX) / 4
}

/// Enters the weights in the page tables while the first prompt is read, so that its passes meet no
/// page faults. Not where a limit says that weights come and go, nor where they leave no memory free.
pub(crate) fn populate(model: &Arc<FastModel>) {
    if model.options().memory_limit.is_some() {
        return;
    }
    let text = &model.model().text;
    let matrices = text.layers.iter().flat_map(LayerWeights::matrices);
    let bytes: usize = matrices.map(Linear::mapped_bytes).sum();
    if available_bytes().is_none_or(|available| bytes > available / 4 * 3) {
        return;
    }
    let model = Arc::clone(model);
    let work = move || model.model().advise(Advice::Populate);
    // Without the thread the first passes are slower, and nothing else.
    let _ = thread::Builder::new()
        .name("populate".to_owned())
        .spawn(work);
}

/// Bytes that this process can still have; `None` where the system does not tell.
fn available_bytes() -> Option<usize> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let machine = field(&meminfo, "MemAvailable:")?.saturating_mul(1024);
    Some(machine.min(group_bytes().unwrap_or(usize::MAX)))
}

/// What the control group leaves: its limit, less what it uses beside files.
fn group_bytes() -> Option<usize> {
    let read = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let limit: usize = read("memory.max")?.trim().parse().ok()?;
    let used: usize = read("memory.current")?.trim().parse().ok()?;
    let files = field(&read("memory.stat")?, "file").unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(files)))
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<usize> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| match words.next() {
        Some(word) if word == name => words.next()?.parse().ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "file_dirty 3\nfile 4096\nMemAvailable:   12 kB\n";
        assert_eq!(field(text, "file"), Some(4096));
        assert_eq!(field(text, "MemAvailable:"), Some(12));
        assert_eq!(field(text, "other"), None);
    }
}

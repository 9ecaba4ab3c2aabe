//! What this machine has.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of memory, where the system tells it in a file.
pub fn memory_bytes() -> Option<u64> {
    of_meminfo("MemTotal:")
}

/// Bytes of memory that programs can still have.
pub fn free_memory_bytes() -> Option<u64> {
    of_meminfo("MemAvailable:")
}

/// Cores that this program may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn of_meminfo(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib = line.trim().strip_suffix("kB")?.trim();
    kib.parse::<u64>().ok()?.checked_mul(1024)
}

/// What stands for a graphics card here, if one does.
pub fn gpu() -> Option<&'static str> {
    let is_there = |path: &str| Path::new(path).exists();
    if is_there("/proc/driver/nvidia/version") || is_there("/dev/nvidia0") {
        return Some("NVIDIA, not used");
    }
    is_there("/dev/kfd").then_some("AMD, not used")
}

/// A path as people write it: what lies in the user's folder begins with `~`.
pub fn spoken_path(path: &Path) -> String {
    spoken_from(path, std::env::home_dir().as_deref())
}

fn spoken_from(path: &Path, home: Option<&Path>) -> String {
    // A home of `/`, as in bare containers, says nothing.
    let home = home.filter(|home| home.is_absolute() && home.parent().is_some());
    match home.and_then(|home| path.strip_prefix(home).ok()) {
        Some(rest) => Path::new("~").join(rest).display().to_string(),
        None => path.display().to_string(),
    }
}

/// Where the program of this name is.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let places = std::env::split_paths(&path).map(|folder| folder.join(name));
    places.into_iter().find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_at_home_begin_with_a_tilde() {
        let spoken =
            |path: &str, home: Option<&str>| spoken_from(Path::new(path), home.map(Path::new));
        assert_eq!(spoken("/home/ana/docs", Some("/home/ana")), "~/docs");
        assert_eq!(
            spoken("/home/anabel/docs", Some("/home/ana")),
            "/home/anabel/docs"
        );
        assert_eq!(spoken("/srv/docs", Some("/")), "/srv/docs");
        assert_eq!(spoken("/srv/docs", None), "/srv/docs");
    }
}

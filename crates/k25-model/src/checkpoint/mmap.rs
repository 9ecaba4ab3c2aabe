//! A file mapped into memory. This is the one file of the crate with `unsafe` code.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;

use memmap2::Mmap;

use crate::tensor::{Advice, ByteSource};

/// A read-only view of a whole file, and the open file.
///
/// Pages are read when they are touched and belong to the page cache: a checkpoint larger than
/// memory can be mapped.
#[derive(Debug)]
pub(crate) struct MappedFile {
    map: Mmap,
    file: File,
}

impl MappedFile {
    /// Maps all of `file`.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        // SAFETY: the map is read-only and lives as long as every slice of it, because slices are
        // handed out through `&self` alone. That the file does not change meanwhile cannot be
        // enforced by any program; like every reader of mapped weights we ask it of the owner of
        // the folder. Should it happen, changed bytes are only ever read as numbers, for which
        // every bit pattern is valid: no length, offset or pointer is taken from the map, since
        // headers are read with `read` before. A file that shrinks ends the process by SIGBUS.
        let map = unsafe { Mmap::map(&file)? };
        prefer_huge_pages(&map);
        Ok(Self { map, file })
    }

    /// Reads bytes without touching the map, for values too small to bring in a page each.
    pub(crate) fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        #[cfg(unix)]
        {
            std::os::unix::fs::FileExt::read_exact_at(&self.file, into, offset)
        }
        #[cfg(not(unix))]
        {
            use std::io::{Read, Seek, SeekFrom};
            let mut file = self.file.try_clone()?;
            file.seek(SeekFrom::Start(offset))?;
            file.read_exact(into)
        }
    }
}

/// Asks for pages of 2 MiB, where the system and its file system can: weights are read in long streams, and with pages of 4 KiB
/// a good part of the time goes into finding them.
#[cfg(target_os = "linux")]
fn prefer_huge_pages(map: &Mmap) {
    let _ = map.advise(memmap2::Advice::HugePage);
}

#[cfg(not(target_os = "linux"))]
fn prefer_huge_pages(_map: &Mmap) {}

#[cfg(unix)]
impl MappedFile {
    /// Takes the pages of a part out of the process.
    fn release(&self, part: Range<usize>) {
        let advice = memmap2::UncheckedAdvice::DontNeed;
        // SAFETY: the map is shared and read-only, so its pages hold what the file holds and are read
        // from there again when they are next touched; nothing that a slice of the map shows changes.
        let _ = unsafe {
            self.map
                .unchecked_advise_range(advice, part.start, part.len())
        };
    }
}

impl ByteSource for MappedFile {
    fn bytes(&self) -> &[u8] {
        &self.map
    }

    fn advise(&self, part: Range<usize>, advice: Advice) {
        #[cfg(unix)]
        {
            let advice = match advice {
                Advice::Release => {
                    self.release(part);
                    return;
                }
                Advice::Random => memmap2::Advice::Random,
                Advice::WillNeed => memmap2::Advice::WillNeed,
                #[cfg(target_os = "linux")]
                Advice::Populate => memmap2::Advice::PopulateRead,
                #[cfg(not(target_os = "linux"))]
                Advice::Populate => memmap2::Advice::WillNeed,
            };
            // Advice may be refused, for instance by a file system; then nothing is lost but speed.
            let _ = self.map.advise_range(advice, part.start, part.len());
        }
        #[cfg(not(unix))]
        let _ = (part, advice);
    }
}

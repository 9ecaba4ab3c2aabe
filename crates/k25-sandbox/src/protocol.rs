//! What parent and launcher say to each other over two pipes: frames of a tag, a length and bytes.
//!
//! Neither side trusts the other's lengths: what a frame may hold is known before it is read, and
//! memory is taken as bytes arrive, never as they are announced.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::files::{File, FileName};
use crate::output::{Captured, Ended, KilledBy, LeftOut, Output, Usage};
use crate::spec::{Isolation, Limits, Program};

/// What the launcher is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What runs.
    pub program: Program,
    /// Its limits.
    pub limits: Limits,
    /// The walls.
    pub isolation: Isolation,
    /// An empty folder of the parent's, for walls without a file system of their own.
    pub folder: PathBuf,
    /// Use no newer Landlock than this, to try what older kernels do.
    pub landlock_at_most: Option<i32>,
}

/// What the launcher says when nothing could be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The feature that is missing, if that is the matter.
    pub feature: Option<String>,
    /// What happened.
    pub what: String,
    /// What to do.
    pub hint: String,
}

/// The end of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// How the program ended.
    pub ended: Ended,
    /// Which limit ended it.
    pub killed_by: Option<KilledBy>,
    /// What it took.
    pub usage: Usage,
    /// The walls.
    pub isolation: Isolation,
    /// Bytes of standard output and standard error that are missing.
    pub missing_bytes: (u64, u64),
    /// Files that are as they were.
    pub kept: Vec<FileName>,
    /// What was not taken.
    pub left_out: Vec<LeftOut>,
}

/// All that the launcher said.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// Nothing ran.
    Fault(Fault),
    /// It ran.
    Output(Box<Output>),
}

/// Why bytes are no frames.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The pipe broke off or failed.
    #[error("the pipe broke off: {0}")]
    Pipe(#[from] io::Error),
    /// A frame that has no place here.
    #[error("frame {tag} of {bytes} bytes was not expected")]
    Unexpected {
        /// Its tag.
        tag: u8,
        /// Its length.
        bytes: u32,
    },
    /// More than the limits allow.
    #[error("more files or output than the limits allow")]
    TooMuch,
    /// A frame that does not say what it should.
    #[error("a frame cannot be read: {0}")]
    Content(String),
}

/// Tags of frames.
mod tag {
    pub const PLAN: u8 = 1;
    pub const FILE: u8 = 2;
    pub const GO: u8 = 3;
    pub const FAULT: u8 = 10;
    pub const STDOUT_HEAD: u8 = 11;
    pub const STDOUT_TAIL: u8 = 12;
    pub const STDERR_HEAD: u8 = 13;
    pub const STDERR_TAIL: u8 = 14;
    pub const DONE: u8 = 16;
}

/// Longest frame of words rather than content, in bytes.
const MAX_WORDS: u32 = 16 << 20;

fn write_frame(to: &mut impl Write, tag: u8, parts: &[&[u8]]) -> io::Result<()> {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    let bytes = u32::try_from(bytes).map_err(|_| io::Error::other("a frame of 4 GiB"))?;
    to.write_all(&[tag])?;
    to.write_all(&bytes.to_le_bytes())?;
    parts.iter().try_for_each(|part| to.write_all(part))
}

fn write_json(to: &mut impl Write, tag: u8, value: &impl Serialize) -> io::Result<()> {
    write_frame(to, tag, &[&serde_json::to_vec(value)?])
}

fn write_file(to: &mut impl Write, file: &File) -> io::Result<()> {
    let name = file.name.as_str().as_bytes();
    let length = u16::try_from(name.len()).map_err(io::Error::other)?;
    write_frame(to, tag::FILE, &[&length.to_le_bytes(), name, &file.bytes])
}

/// Writes a request.
pub(crate) fn write_request(to: &mut impl Write, plan: &Plan, files: &[File]) -> io::Result<()> {
    write_json(to, tag::PLAN, plan)?;
    files.iter().try_for_each(|file| write_file(to, file))?;
    write_frame(to, tag::GO, &[])
}

/// Writes that nothing ran.
pub(crate) fn write_fault(to: &mut impl Write, fault: &Fault) -> io::Result<()> {
    write_json(to, tag::FAULT, fault)
}

/// Writes a file that came out of a run.
pub(crate) fn write_file_out(to: &mut impl Write, file: &File) -> io::Result<()> {
    write_file(to, file)
}

/// Writes the end of a report.
pub(crate) fn write_done(
    to: &mut impl Write,
    stdout: &Captured,
    stderr: &Captured,
    done: &Done,
) -> io::Result<()> {
    write_frame(to, tag::STDOUT_HEAD, &[&stdout.head])?;
    write_frame(to, tag::STDOUT_TAIL, &[&stdout.tail])?;
    write_frame(to, tag::STDERR_HEAD, &[&stderr.head])?;
    write_frame(to, tag::STDERR_TAIL, &[&stderr.tail])?;
    write_json(to, tag::DONE, done)
}

fn read_header(from: &mut impl Read) -> Result<(u8, u32), FrameError> {
    let mut header = [0; 5];
    from.read_exact(&mut header)?;
    let [tag, length @ ..] = header;
    Ok((tag, u32::from_le_bytes(length)))
}

fn read_payload(from: &mut impl Read, bytes: u32, most: u64) -> Result<Vec<u8>, FrameError> {
    if u64::from(bytes) > most {
        return Err(FrameError::TooMuch);
    }
    let mut payload = Vec::new();
    from.take(u64::from(bytes)).read_to_end(&mut payload)?;
    if payload.len() < bytes as usize {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(payload)
}

fn read_json<T: DeserializeOwned>(from: &mut impl Read, bytes: u32) -> Result<T, FrameError> {
    let payload = read_payload(from, bytes, u64::from(MAX_WORDS))?;
    serde_json::from_slice(&payload).map_err(|error| FrameError::Content(error.to_string()))
}

/// Files of one direction, counted against the limits.
struct Files<'a> {
    limits: &'a Limits,
    files: Vec<File>,
    bytes: u64,
}

impl<'a> Files<'a> {
    fn new(limits: &'a Limits) -> Self {
        Files {
            limits,
            files: Vec::new(),
            bytes: 0,
        }
    }

    fn read(&mut self, from: &mut impl Read, bytes: u32) -> Result<(), FrameError> {
        if self.files.len() >= self.limits.files {
            return Err(FrameError::TooMuch);
        }
        let left = self.limits.files_bytes.saturating_sub(self.bytes);
        let mut payload = read_payload(from, bytes, left.saturating_add(2 + u64::from(u16::MAX)))?;
        let content = |what: &str| FrameError::Content(what.to_owned());
        let (length, rest) = payload
            .split_at_checked(2)
            .ok_or_else(|| content("a file without a name"))?;
        let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
        let name = rest
            .get(..length)
            .ok_or_else(|| content("a name that is cut off"))?;
        let name = std::str::from_utf8(name).map_err(|_| content("a name that is no text"))?;
        let name = FileName::new(name).map_err(|error| FrameError::Content(error.to_string()))?;
        payload.drain(..2 + length);
        self.bytes += payload.len() as u64;
        if self.bytes > self.limits.files_bytes {
            return Err(FrameError::TooMuch);
        }
        self.files.push(File {
            name,
            bytes: payload,
        });
        Ok(())
    }
}

/// Reads a request: what to do, and the files that it is done with.
///
/// # Errors
/// When the bytes are no request, or hold more than its own limits allow.
pub fn read_request(from: &mut impl Read) -> Result<(Plan, Vec<File>), FrameError> {
    let (tag, bytes) = read_header(from)?;
    if tag != tag::PLAN {
        return Err(FrameError::Unexpected { tag, bytes });
    }
    let plan: Plan = read_json(from, bytes)?;
    let mut files = Files::new(&plan.limits);
    loop {
        match read_header(from)? {
            (tag::FILE, bytes) => files.read(from, bytes)?,
            (tag::GO, 0) => break,
            (tag, bytes) => return Err(FrameError::Unexpected { tag, bytes }),
        }
    }
    let files = files.files;
    Ok((plan, files))
}

/// Reads a report on a run with these limits.
///
/// # Errors
/// When the bytes are no report, or hold more than the limits allow.
pub fn read_report(from: &mut impl Read, limits: &Limits) -> Result<Report, FrameError> {
    let mut files = Files::new(limits);
    let (mut stdout, mut stderr) = (Captured::default(), Captured::default());
    loop {
        let (tag, bytes) = read_header(from)?;
        let place = match tag {
            tag::FILE => {
                files.read(from, bytes)?;
                continue;
            }
            tag::FAULT => return Ok(Report::Fault(read_json(from, bytes)?)),
            tag::DONE => {
                let done: Done = read_json(from, bytes)?;
                let output = together(done, stdout, stderr, files.files);
                return Ok(Report::Output(Box::new(output)));
            }
            tag::STDOUT_HEAD => &mut stdout.head,
            tag::STDOUT_TAIL => &mut stdout.tail,
            tag::STDERR_HEAD => &mut stderr.head,
            tag::STDERR_TAIL => &mut stderr.tail,
            tag => return Err(FrameError::Unexpected { tag, bytes }),
        };
        *place = read_payload(from, bytes, limits.output_bytes as u64)?;
    }
}

fn together(done: Done, mut stdout: Captured, mut stderr: Captured, files: Vec<File>) -> Output {
    (stdout.missing_bytes, stderr.missing_bytes) = done.missing_bytes;
    Output {
        stdout,
        stderr,
        files,
        kept: done.kept,
        left_out: done.left_out,
        ended: done.ended,
        killed_by: done.killed_by,
        usage: done.usage,
        isolation: done.isolation,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        wall: std::time::Duration::from_secs(1),
        cpu_seconds: 1,
        memory_bytes: 1 << 20,
        processes: 1,
        output_bytes: 100,
        files_bytes: 1_000,
        files: 4,
    };

    fn plan() -> Plan {
        Plan {
            program: Program::JavaScript {
                code: "1".to_owned(),
            },
            limits: LIMITS,
            isolation: Isolation::Namespaces,
            folder: "/tmp/x".into(),
            landlock_at_most: None,
        }
    }

    fn done() -> Done {
        Done {
            ended: Ended::Exited(0),
            killed_by: Some(KilledBy::Time),
            usage: Usage::default(),
            isolation: Isolation::Confined,
            missing_bytes: (3, 0),
            kept: vec![],
            left_out: vec![],
        }
    }

    fn some_files() -> impl Strategy<Value = Vec<File>> {
        let file = ("[a-z]{1,8}(/[a-z]{1,8}){0,2}", vec(any::<u8>(), 0..200));
        let named = file.prop_map(|(name, bytes)| {
            let name = FileName::new(name).expect("plain names");
            File { name, bytes }
        });
        vec(named, 0..4)
    }

    fn request_bytes(files: &[File]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_request(&mut bytes, &plan(), files).expect("memory");
        bytes
    }

    fn report_bytes(files: &[File], head: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let stdout = Captured {
            head: head.to_vec(),
            ..Captured::default()
        };
        for file in files {
            write_file_out(&mut bytes, file).expect("memory");
        }
        write_done(&mut bytes, &stdout, &Captured::default(), &done()).expect("memory");
        bytes
    }

    /// What must hold of every report, whoever sent it.
    fn is_within_limits(report: &Report) -> bool {
        let Report::Output(output) = report else {
            return true;
        };
        let bytes: usize = output.files.iter().map(|file| file.bytes.len()).sum();
        let streams = [&output.stdout, &output.stderr];
        output.files.len() <= LIMITS.files
            && bytes as u64 <= LIMITS.files_bytes
            && streams
                .iter()
                .all(|s| s.head.len() <= 100 && s.tail.len() <= 100)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(files in some_files(), head in vec(any::<u8>(), 0..100)) {
            let (read_plan, read_files) = read_request(&mut request_bytes(&files).as_slice()).unwrap();
            prop_assert_eq!(read_plan, plan());
            prop_assert_eq!(&read_files, &files);
            let Ok(Report::Output(output)) = read_report(&mut report_bytes(&files, &head).as_slice(), &LIMITS)
            else {
                panic!("no output");
            };
            prop_assert_eq!(output.files, files);
            prop_assert_eq!((output.stdout.head, output.stdout.missing_bytes), (head, 3));
        }

        #[test]
        fn what_breaks_off_is_an_error(files in some_files(), part in 0.0..1.0) {
            let cut = |bytes: Vec<u8>| bytes[..(bytes.len() as f64 * part) as usize].to_vec();
            prop_assert!(read_request(&mut cut(request_bytes(&files)).as_slice()).is_err());
            prop_assert!(read_report(&mut cut(report_bytes(&files, b"x")).as_slice(), &LIMITS).is_err());
        }

        #[test]
        fn nothing_that_is_sent_breaks_the_reader(
            files in some_files(),
            changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            noise in vec(any::<u8>(), 0..64),
        ) {
            let mut bytes = report_bytes(&files, b"hello");
            for (place, byte) in &changes {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            for bytes in [bytes, noise] {
                if let Ok(report) = read_report(&mut bytes.as_slice(), &LIMITS) {
                    prop_assert!(is_within_limits(&report));
                }
                let _ = read_request(&mut bytes.as_slice());
            }
        }

        #[test]
        fn names_that_lead_elsewhere_are_refused(name in "[a./\\\\ \0]{0,12}") {
            let mut bytes = Vec::new();
            let length = (name.len() as u16).to_le_bytes();
            write_frame(&mut bytes, tag::FILE, &[&length, name.as_bytes(), b"x"]).unwrap();
            bytes.extend(report_bytes(&[], b""));
            let is_read = read_report(&mut bytes.as_slice(), &LIMITS).is_ok();
            prop_assert_eq!(is_read, FileName::new(name.as_str()).is_ok());
        }
    }

    #[test]
    fn announced_lengths_take_no_memory() {
        for (tag, length) in [
            (tag::FILE, u32::MAX),
            (tag::DONE, u32::MAX),
            (tag::STDOUT_HEAD, 101),
        ] {
            let mut bytes = vec![tag];
            bytes.extend(length.to_le_bytes());
            let error = read_report(&mut bytes.as_slice(), &LIMITS).unwrap_err();
            assert!(matches!(error, FrameError::TooMuch), "{error}");
        }
        let five = [(); 5].map(|()| File::new(FileName::new("a").unwrap(), "x"));
        let error = read_report(&mut report_bytes(&five, b"").as_slice(), &LIMITS).unwrap_err();
        assert!(matches!(error, FrameError::TooMuch), "{error}");
    }
}

//! What people hand over beside flags: files and standard input, read within limits.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use k25_chat::{Conversation, JsonValue, Reading};

/// Most bytes of a conversation or text; pictures may lie in it as `data:` URIs.
const MAX_BYTES: u64 = 256 << 20;

/// Flags that make no sense together, beyond what clap checks.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// A file, or standard input.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    Stdin,
    File(&'a Path),
}

impl<'a> Source<'a> {
    /// `-` is standard input.
    pub fn of(path: &'a Path) -> Self {
        if path == Path::new("-") {
            Self::Stdin
        } else {
            Self::File(path)
        }
    }

    fn name(self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// All of it as text.
    pub fn read(self) -> Result<String> {
        let mut bytes = Vec::new();
        let read = match self {
            Self::Stdin => io::stdin()
                .lock()
                .take(MAX_BYTES + 1)
                .read_to_end(&mut bytes),
            Self::File(path) => {
                open_file(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
            }
        };
        read.map_err(|error| {
            anyhow!("cannot read {}: {error}\n  hint: give the path of a readable file, or - for standard input", self.name())
        })?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(anyhow!(
                "{} has more than {MAX_BYTES} bytes\n  hint: give pictures by their paths, and less text",
                self.name()
            ));
        }
        String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            anyhow!("{} is not UTF-8: byte {at} begins no character\n  hint: convert it, for instance with iconv", self.name())
        })
    }

    /// A conversation in the OpenAI form.
    pub fn read_conversation(self, reading: Reading) -> Result<Conversation> {
        Conversation::parse(&self.read()?, reading)
            .map_err(|error| anyhow!("{}: {error}", self.name()))
    }

    /// A list of tools in the OpenAI form.
    pub fn read_tools(self) -> Result<Vec<JsonValue>> {
        let document =
            JsonValue::parse(&self.read()?).map_err(|error| anyhow!("{}: {error}", self.name()))?;
        match document {
            JsonValue::Array(tools) => Ok(tools),
            other => Err(anyhow!(
                "{}: tools are {}, not a list\n  hint: write [{{\"type\": \"function\", \"function\": {{\"name\": …}}}}, …]",
                self.name(),
                other.kind()
            )),
        }
    }
}

/// Opens a regular file; a named pipe would wait for a writer without end.
fn open_file(path: &Path) -> io::Result<File> {
    if std::fs::metadata(path)?.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a folder",
        ));
    }
    File::open(path)
}

/// Text from a flag, or all of standard input where it is `-`.
pub fn text_or_stdin(text: String) -> Result<String> {
    if text == "-" {
        Source::Stdin.read()
    } else {
        Ok(text)
    }
}

/// A path as the address of a medium.
pub fn media_address(path: PathBuf) -> Result<String> {
    path.into_os_string().into_string().map_err(|path| {
        UsageError(format!(
            "{} is not UTF-8\n  hint: rename the file, or give it another name by a link",
            path.display()
        ))
        .into()
    })
}

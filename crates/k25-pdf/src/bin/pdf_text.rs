//! The text of a PDF from standard input, on standard output, within the limits of a child process.

fn main() -> std::process::ExitCode {
    k25_pdf::serve()
}

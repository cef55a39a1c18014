//! Runs other programs to their end: bounded in time, their output shown while it comes and kept for the error.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;

/// Lines of output that an error carries.
const LINES_IN_ERROR: usize = 20;
/// Lines that may wait for the reader; a program that writes faster is slowed down by its pipe.
const LINES_WAITING: usize = 64;

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started at all.
    #[error("failed to start `{command}`")]
    Start {
        /// The program and its arguments.
        command: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its output or end could not be read.
    #[error("failed to follow `{command}`")]
    Follow {
        /// The program and its arguments.
        command: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It ended and said that it failed.
    #[error("failed to run `{command}`: {status}\n{output}")]
    Failed {
        /// The program and its arguments.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it wrote.
        output: String,
    },
    /// It did not end in its time and was killed.
    #[error("failed to finish `{command}` within {} s\n{output}", limit.as_secs())]
    TooSlow {
        /// The program and its arguments.
        command: String,
        /// The time it had.
        limit: Duration,
        /// The last lines that it wrote.
        output: String,
    },
}

/// Runs `command` for at most `limit` and hands every line of its output to `on_line`.
///
/// Standard output and standard error are shown alike; what is returned is the standard output alone.
pub(crate) async fn run(command: Command, limit: Duration, on_line: impl FnMut(&str)) -> Result<String, Error> {
    feed(command, None, limit, on_line).await
}

/// Like [`run`], for output that is only of interest in an error.
pub(crate) async fn quietly(command: Command, limit: Duration) -> Result<String, Error> {
    feed(command, None, limit, |_| {}).await
}

/// Like [`quietly`], with `input` on the standard input.
pub(crate) async fn with_input(command: Command, input: &str, limit: Duration) -> Result<String, Error> {
    feed(command, Some(input), limit, |_| {}).await
}

async fn feed(
    mut command: Command,
    input: Option<&str>,
    limit: Duration,
    mut on_line: impl FnMut(&str),
) -> Result<String, Error> {
    let name = shown(&command);
    let follow = |source| Error::Follow {
        command: name.clone(),
        source,
    };
    let mut child = command
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| Error::Start {
            command: name.clone(),
            source,
        })?;

    let mut last = VecDeque::with_capacity(LINES_IN_ERROR);
    let mut printed = String::new();
    let ended = tokio::time::timeout(limit, async {
        if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
            pipe.write_all(input.as_bytes()).await?;
        }
        let (sender, mut lines) = mpsc::channel(LINES_WAITING);
        let readers = futures::future::join(
            forward(child.stdout.take(), Stream::Output, sender.clone()),
            forward(child.stderr.take(), Stream::Error, sender),
        );
        let mut take = async || {
            while let Some((stream, line)) = lines.recv().await {
                on_line(&line);
                if stream == Stream::Output {
                    printed.push_str(&line);
                    printed.push('\n');
                }
                if last.len() == LINES_IN_ERROR {
                    last.pop_front();
                }
                last.push_back(line);
            }
        };
        futures::future::join(readers, take()).await;
        child.wait().await
    })
    .await;

    let output = || last.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    match ended {
        Ok(Ok(status)) if status.success() => Ok(printed),
        Ok(Ok(status)) => Err(Error::Failed {
            command: name,
            status,
            output: output(),
        }),
        Ok(Err(source)) => Err(follow(source)),
        Err(_) => Err(Error::TooSlow {
            command: name.clone(),
            limit,
            output: output(),
        }),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Stream {
    Output,
    Error,
}

async fn forward(
    pipe: Option<impl tokio::io::AsyncRead + Unpin>,
    stream: Stream,
    sender: mpsc::Sender<(Stream, String)>,
) {
    let Some(pipe) = pipe else { return };
    let mut reader = BufReader::new(pipe);
    let mut bytes = Vec::new();
    // Not `lines()`: a program may write bytes that are no text, and that must not end the reading.
    while let Ok(1..) = reader.read_until(b'\n', &mut bytes).await {
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        bytes.clear();
        if sender.send((stream, line)).await.is_err() {
            return;
        }
    }
}

fn shown(command: &Command) -> String {
    let command = command.as_std();
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn output_is_shown_and_only_standard_output_returned() {
        let mut seen = Vec::new();
        let printed = run(shell("echo one; echo two >&2"), Duration::from_secs(10), |line| {
            seen.push(line.to_owned());
        })
        .await
        .unwrap();
        seen.sort();
        assert_eq!(seen, ["one", "two"]);
        assert_eq!(printed, "one\n");
    }

    #[tokio::test]
    async fn a_failure_carries_the_last_lines() {
        let error = quietly(shell("seq 1 100; echo broken >&2; exit 3"), Duration::from_secs(10))
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit status: 3") && text.contains("broken"), "{text}");
        assert!(!text.contains("\n50\n"), "{text}");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed() {
        let error = quietly(shell("echo here; exec sleep 1000"), Duration::from_millis(300))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::TooSlow { .. }), "{error}");
    }

    #[tokio::test]
    async fn input_arrives() {
        let printed = with_input(shell("cat"), "words", Duration::from_secs(10))
            .await
            .unwrap();
        assert_eq!(printed, "words\n");
    }
}

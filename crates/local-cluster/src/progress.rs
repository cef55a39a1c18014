//! Shows what a long step is doing: a spinner on a terminal, a line at most every 15 s where there is none.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How often a step speaks where there is no terminal: often enough to be seen alive, seldom enough to be read.
const LINE_INTERVAL: Duration = Duration::from_secs(15);

/// The place where steps are shown; always standard error, so that standard output stays usable.
#[derive(Clone, Debug)]
pub struct Progress {
    shown: Shown,
}

#[derive(Clone, Debug)]
enum Shown {
    Terminal(MultiProgress),
    Lines,
    Nothing,
}

impl Progress {
    /// A spinner when standard error is a terminal, plain lines otherwise.
    pub fn auto() -> Self {
        if std::io::stderr().is_terminal() {
            Self {
                shown: Shown::Terminal(MultiProgress::new()),
            }
        } else {
            Self::lines()
        }
    }

    /// Plain lines, also on a terminal.
    pub const fn lines() -> Self {
        Self { shown: Shown::Lines }
    }

    /// Shows nothing.
    pub const fn silent() -> Self {
        Self { shown: Shown::Nothing }
    }

    /// Prints one line above whatever is being shown.
    pub fn say(&self, text: &str) {
        match &self.shown {
            // A line that cannot be shown is no reason to stop the work.
            Shown::Terminal(bars) => drop(bars.println(text)),
            Shown::Lines => print_line(text),
            Shown::Nothing => {}
        }
    }

    /// Begins a step. `expected` is how long it takes on a machine with two cores, when that is known.
    pub fn step(&self, label: impl Into<String>, expected: Option<Duration>) -> Step {
        let label = label.into();
        let note = Arc::new(Mutex::new(String::new()));
        let started = Instant::now();
        let mut step = Step {
            progress: self.clone(),
            label,
            expected,
            started,
            note,
            bar: None,
            speaker: None,
            finished: false,
        };
        match &self.shown {
            Shown::Terminal(bars) => {
                let bar = bars.add(ProgressBar::new_spinner().with_style(spinner_style()));
                bar.set_prefix(step.heading());
                bar.enable_steady_tick(Duration::from_millis(120));
                step.bar = Some(bar);
            }
            Shown::Lines => {
                print_line(&step.heading());
                step.speaker = Some(Speaker::start(step.label.clone(), started, Arc::clone(&step.note)));
            }
            Shown::Nothing => {}
        }
        step
    }
}

/// One long step; it is shown until [`Step::done`] or until it is dropped, which counts as stopped early.
pub struct Step {
    progress: Progress,
    label: String,
    expected: Option<Duration>,
    started: Instant,
    note: Arc<Mutex<String>>,
    bar: Option<ProgressBar>,
    speaker: Option<Speaker>,
    finished: bool,
}

impl Step {
    /// Says what is being done right now, for example the file being fetched.
    pub fn note(&self, text: impl Into<String>) {
        let text = text.into();
        if let Some(bar) = &self.bar {
            bar.set_message(text.clone());
        }
        *self.note.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// Says how much of a known amount is done, both in the same `unit`.
    pub fn count(&self, done: u64, total: u64, unit: &str) {
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        self.note(format!("{percent} % ({done} of {total} {unit})"));
    }

    /// How long the step has run.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ends the step well and says how long it took.
    pub fn done(mut self) {
        self.finish("done");
    }

    fn heading(&self) -> String {
        match self.expected {
            Some(expected) => format!("{} (up to about {})", self.label, human(expected)),
            None => self.label.clone(),
        }
    }

    fn finish(&mut self, outcome: &str) {
        if self.finished {
            return;
        }
        self.finished = true;
        self.speaker = None;
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.progress.say(&format!(
            "{}: {outcome} after {}",
            self.label,
            human(self.started.elapsed())
        ));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.finish("stopped");
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Step")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// Prints the state of a step every [`LINE_INTERVAL`]. A thread and not a task, so that a step may also be shown by
/// code that blocks.
struct Speaker {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Speaker {
    fn start(label: String, started: Instant, note: Arc<Mutex<String>>) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(LINE_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let note = note.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let separator = if note.is_empty() { "" } else { ": " };
                print_line(&format!("{label}, {}{separator}{note}", human(started.elapsed())));
            }
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread only prints; if it panicked there is nothing to undo.
            drop(thread.join());
        }
    }
}

/// A duration as people say it: `0.4 s`, `42 s`, `3 min 20 s`.
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, 0..10) => format!("{:.1} s", duration.as_secs_f64()),
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

fn spinner_style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix} [{elapsed}] {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn print_line(text: &str) {
    // Standard error may be closed; the work goes on.
    drop(writeln!(std::io::stderr(), "{text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        for (milliseconds, expected) in [
            (0, "0.0 s"),
            (420, "0.4 s"),
            (9_999, "10.0 s"),
            (42_000, "42 s"),
            (60_000, "1 min"),
            (200_000, "3 min 20 s"),
        ] {
            assert_eq!(human(Duration::from_millis(milliseconds)), expected);
        }
    }

    #[test]
    fn a_step_keeps_its_last_note() {
        let step = Progress::silent().step("fetch", None);
        step.note("a.tar");
        step.count(50, 200, "MB");
        assert_eq!(*step.note.lock().unwrap(), "25 % (50 of 200 MB)");
        step.count(0, 0, "MB");
        assert_eq!(*step.note.lock().unwrap(), "100 % (0 of 0 MB)");
    }
}

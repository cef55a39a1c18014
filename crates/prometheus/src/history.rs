//! The history of gangs, asked of a Prometheus.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use kompass_history::questions::{self, Question, Topic};
use kompass_history::starts::{Starts, starts};
use kompass_history::{Answers, History, Window, read};

use crate::client::{Client, Room};
use crate::error::Error;

/// Questions that are under way at once: a Prometheus serves people, too.
const AT_ONCE: usize = 4;

/// The gangs of the time `since` before `now_ms` (milliseconds since 1970 UTC).
pub async fn history(prometheus: &Client, since: Duration, now_ms: u64) -> Result<History, Error> {
    history_with(prometheus, since, now_ms, |_, _| {}).await
}

/// The same, and tells how many questions are answered, of how many. More may turn up under way.
pub async fn history_with(
    prometheus: &Client,
    since: Duration,
    now_ms: u64,
    mut progress: impl FnMut(usize, usize),
) -> Result<History, Error> {
    let window = window(since, now_ms)?;
    let limit = prometheus.options().total_limit;
    let answers = tokio::time::timeout(limit, answers(prometheus, window, &mut progress, true))
        .await
        .map_err(|_| Error::TotalTimeout(limit.as_secs()))??;
    Ok(read(answers, window)?)
}

/// How gangs of that time came to their executors, by the pods of kube-state-metrics alone.
pub async fn starts_with(
    prometheus: &Client,
    since: Duration,
    now_ms: u64,
    mut progress: impl FnMut(usize, usize),
) -> Result<Starts, Error> {
    let window = window(since, now_ms)?;
    let limit = prometheus.options().total_limit;
    let answers = tokio::time::timeout(limit, answers(prometheus, window, &mut progress, false))
        .await
        .map_err(|_| Error::TotalTimeout(limit.as_secs()))??;
    Ok(starts(answers, window)?)
}

fn window(since: Duration, now_ms: u64) -> Result<Window, Error> {
    let to_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let since_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let window = Window {
        // Nothing was measured before 1970.
        from_ms: to_ms.saturating_sub(since_ms).max(0),
        to_ms,
    };
    if window.from_ms >= window.to_ms {
        return Err(kompass_history::Error::Window.into());
    }
    Ok(window)
}

async fn answers(
    prometheus: &Client,
    window: Window,
    progress: &mut impl FnMut(usize, usize),
    counters: bool,
) -> Result<Answers, Error> {
    let options = prometheus.options();
    let room = Room::new(options.max_points);
    let selector = options.selector.trim();
    let mut answers = Answers::default();

    let counters = if counters {
        questions::about_counters(window, selector)
    } else {
        Vec::new()
    };
    let (details, mut first): (Vec<Question>, Vec<Question>) = counters
        .into_iter()
        .partition(|question| matches!(question.topic, Topic::Counter(_) | Topic::Kin));
    first.push(questions::about_labels(window, selector));
    first.push(questions::about_presence(window, selector, false));
    let mut asked = first.len();
    put(prometheus, &room, first, &mut answers, (0, asked), progress).await?;
    if !answers.has_pods() {
        let by_any = vec![questions::about_presence(window, selector, true)];
        put(prometheus, &room, by_any, &mut answers, (asked, asked + 1), progress).await?;
        asked += 1;
    }

    let mut second = Vec::new();
    if answers.has_counters() {
        second.extend(details);
    }
    if answers.has_pods() {
        second.extend(questions::about_pods(window, selector, answers.has_other_names()));
    }
    let all = asked + second.len();
    put(prometheus, &room, second, &mut answers, (asked, all), progress).await?;
    Ok(answers)
}

/// Puts questions, some at once, and takes the answers in.
async fn put(
    prometheus: &Client,
    room: &Room,
    questions: Vec<Question>,
    answers: &mut Answers,
    (mut done, all): (usize, usize),
    progress: &mut impl FnMut(usize, usize),
) -> Result<(), Error> {
    // All pieces of an answer together may be many times larger than what is kept of it.
    let answers = &Mutex::new(answers);
    let ask = |question: Question| async move {
        let take = |series, warnings| {
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.add(question.topic, series);
            for warning in warnings {
                answers.warn(warning);
            }
        };
        prometheus.ask_within(&question, room, take).await
    };
    let mut asked = stream::iter(questions).map(ask).buffer_unordered(AT_ONCE);
    while let Some(answered) = asked.next().await {
        answered?;
        done += 1;
        progress(done, all);
    }
    Ok(())
}

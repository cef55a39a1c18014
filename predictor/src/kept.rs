//! What was learned from, as bytes: a start without Prometheus learns from it again. Pure; [`crate::shelf`] reads and writes.
//!
//! The past is kept and not the model: with it the same model is learned, and where prices, nodes or the program have
//! changed meanwhile, the right one.

use kompass_core::Resources;
use kompass_forecast::file::{self, Kind};
use kompass_history::{Bins, End, Gang, Gap, History, Kin, Source, Why, Window};
use serde::{Deserialize, Serialize};

use crate::decide::OLD_MS;
use crate::model::Model;

const KIND: Kind = Kind {
    name: "kompass-predictor",
    version: 1,
    max_bytes: MAX_BYTES,
};
/// Bytes of a file at most: a million gangs.
pub const MAX_BYTES: usize = 128 << 20;
/// Clocks of different machines may differ by so much.
const AHEAD_MS: i64 = 300_000;

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Cut off, changed, or of another version.
    #[error(transparent)]
    File(#[from] file::Error),
    /// Not what this version writes.
    #[error("failed to read the model file: not the JSON of a past; a new one comes with the next fit")]
    Malformed(#[source] serde_json::Error),
    /// Out of bounds.
    #[error("failed to read the model file: its times are out of order; a new one comes with the next fit")]
    Unsound,
    /// As for models in memory.
    #[error("failed to use the model file: it is {0} days old, more than {max}", max = OLD_MS / 86_400_000)]
    Old(i64),
    /// A clock was wrong, then or now.
    #[error("failed to use the model file: it is of a time that has still to come; look at the machine's clock")]
    Ahead,
}

/// The past, as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Past {
    from_ms: i64,
    to_ms: i64,
    /// Begin, end and why.
    gaps: Vec<(i64, i64, u8)>,
    /// Each once.
    profiles: Vec<String>,
    /// Wider keys by profile key.
    kin: Kin,
    gangs: Vec<Row>,
}

/// A gang. Namespace and queue are not kept: nothing is learned from them.
#[derive(Debug, Serialize, Deserialize)]
struct Row(
    /* submitted */ i64,
    /* so far off */ i64,
    /* waited */ i64,
    /* ran */ Option<i64>,
    /* its end */ u8,
    /* profile, by number */ usize,
    /* driver: milli-CPU, bytes */ u64,
    u64,
    /* executors, and one of them */ u64,
    u64,
    u64,
    /* averaged over */ u64,
    /* source */ u8,
);

/// In their order here; a place is a number in files.
const WHYS: [Why; 3] = [Why::NoSamples, Why::NoLeader, Why::BeforeFirst];
const ENDS: [End; 3] = [End::Succeeded, End::CutOff, End::Running];
const SOURCES: [Source; 2] = [Source::Kompass, Source::KubeStateMetrics];

fn number<T: PartialEq>(all: &[T], one: &T) -> u8 {
    let place = all.iter().position(|other| other == one).unwrap_or(0);
    u8::try_from(place).unwrap_or(0)
}

fn named<T: Copy>(all: &[T], number: u8) -> Result<T, Error> {
    all.get(usize::from(number)).copied().ok_or(Error::Unsound)
}

/// A file of what a model was learned from.
pub fn encode(model: &Model) -> Vec<u8> {
    let mut numbers = std::collections::HashMap::new();
    let mut profiles = Vec::new();
    let gangs = model.gangs.iter().map(|gang| {
        let profile = *numbers.entry(gang.profile.as_str()).or_insert_with(|| {
            profiles.push(gang.profile.clone());
            profiles.len() - 1
        });
        Row(
            gang.submit_ms,
            gang.submit_error_ms,
            gang.wait_ms,
            gang.run_ms,
            number(&ENDS, &gang.end),
            profile,
            gang.driver.cpu_milli,
            gang.driver.memory_bytes,
            gang.executors,
            gang.executor.cpu_milli,
            gang.executor.memory_bytes,
            gang.averaged_over,
            number(&SOURCES, &gang.source),
        )
    });
    let gangs = gangs.collect();
    let gaps = model
        .gaps
        .iter()
        .map(|gap| (gap.from_ms, gap.to_ms, number(&WHYS, &gap.why)));
    let past = Past {
        from_ms: model.from_ms,
        to_ms: model.until_ms,
        gaps: gaps.collect(),
        profiles,
        kin: model.kin.clone(),
        gangs,
    };
    let body = serde_json::to_vec(&past).expect("names and whole numbers only");
    file::seal(KIND, &body)
}

/// The past that a file is of.
pub fn decode(bytes: &[u8]) -> Result<History, Error> {
    let past: Past = serde_json::from_slice(file::open(KIND, bytes)?).map_err(Error::Malformed)?;
    let gaps = past
        .gaps
        .into_iter()
        .map(|(from_ms, to_ms, why)| -> Result<Gap, Error> {
            let why = named(&WHYS, why)?;
            Ok(Gap { from_ms, to_ms, why })
        });
    let gaps = gaps.collect::<Result<Vec<Gap>, Error>>()?;
    let profiles = past.profiles;
    let gangs = past.gangs.iter().map(|row| gang(row, &profiles));
    let gangs = gangs.collect::<Result<Vec<Gang>, Error>>()?;
    let is_sound = past.from_ms < past.to_ms
        && gaps
            .iter()
            .all(|gap| past.from_ms <= gap.from_ms && gap.from_ms <= gap.to_ms && gap.to_ms <= past.to_ms)
        && gaps.is_sorted_by_key(|gap| gap.from_ms)
        && gangs.is_sorted_by_key(|gang| gang.submit_ms);
    if !is_sound {
        return Err(Error::Unsound);
    }
    Ok(History {
        window: Window {
            from_ms: past.from_ms,
            to_ms: past.to_ms,
        },
        gangs,
        ended: Bins::default(),
        kin: past.kin,
        gaps,
        dropped: Vec::new(),
        warnings: Vec::new(),
    })
}

fn gang(row: &Row, profiles: &[String]) -> Result<Gang, Error> {
    Ok(Gang {
        submit_ms: row.0,
        submit_error_ms: row.1,
        wait_ms: row.2,
        run_ms: row.3,
        end: named(&ENDS, row.4)?,
        profile: profiles.get(row.5).cloned().ok_or(Error::Unsound)?,
        namespace: None,
        queue: None,
        driver: Resources::new(row.6, row.7),
        executors: row.8,
        executor: Resources::new(row.9, row.10),
        averaged_over: row.11,
        source: named(&SOURCES, row.12)?,
    })
}

/// The past to learn from: that of the current file, else that of the one before. What was wrong with files is told,
/// whether or not there is one.
pub fn choose(current: Option<&[u8]>, previous: Option<&[u8]>, now_ms: i64) -> (Option<History>, Vec<Error>) {
    let mut errors = Vec::new();
    for bytes in [current, previous].into_iter().flatten() {
        match decode(bytes).and_then(|history| fresh(history, now_ms)) {
            Ok(history) => return (Some(history), errors),
            Err(error) => errors.push(error),
        }
    }
    (None, errors)
}

fn fresh(history: History, now_ms: i64) -> Result<History, Error> {
    let age_ms = now_ms.saturating_sub(history.window.to_ms);
    if age_ms > OLD_MS {
        return Err(Error::Old(age_ms / 86_400_000));
    }
    if age_ms < -AHEAD_MS {
        return Err(Error::Ahead);
    }
    Ok(history)
}

/// Whether the current file is to be kept as the previous one when a new one is written: only a good one pushes a good one
/// out.
pub fn keeps(current: &[u8]) -> bool {
    file::open(KIND, current).is_ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{learn, tests::two_days};
    use crate::past::tests::{gang, gap};
    use crate::settings::tests::settings;

    const HOUR_MS: i64 = 3_600_000;

    pub(crate) fn model() -> Model {
        let mut past = two_days();
        past.gaps = vec![gap(HOUR_MS, 2 * HOUR_MS), gap(5 * HOUR_MS, 6 * HOUR_MS)];
        past.gangs[7] = gang(past.gangs[7].submit_ms, None, End::Running, 3);
        past.gangs[8].profile = "other".into();
        past.kin = [("other".to_owned(), vec!["name.other".to_owned()])].into();
        learn(past, &settings(1_000_000, 20_000_000), &[], None, &|| true).unwrap()
    }

    static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| encode(&model()));

    #[test]
    fn the_same_model_is_learned_from_the_file() {
        let (written, read) = (model(), decode(&GOOD).unwrap());
        assert_eq!((&read.gangs, &read.kin), (&written.gangs, &written.kin));
        let again = learn(read, &settings(1_000_000, 20_000_000), &[], None, &|| true).unwrap();
        assert_eq!(
            (again.until_ms, again.from_ms, &again.gaps),
            (written.until_ms, written.from_ms, &written.gaps)
        );
        assert_eq!(again.choice, written.choice);
        assert_eq!(encode(&again), *GOOD);
    }

    #[test]
    fn an_old_file_and_one_from_the_future_are_not_used() {
        let until_ms = model().until_ms;
        let told = |now_ms| choose(Some(&GOOD), None, now_ms);
        assert!(told(until_ms + OLD_MS).0.is_some() && told(until_ms - AHEAD_MS).0.is_some());
        assert!(matches!(told(until_ms + OLD_MS + 1).1[..], [Error::Old(7)]));
        assert!(matches!(told(until_ms - AHEAD_MS - 1).1[..], [Error::Ahead]));
        assert!(matches!(told(i64::MAX).1[..], [Error::Old(_)]));
    }

    #[test]
    fn a_newer_version_is_told_and_the_previous_file_used() {
        let newer = Kind { version: 2, ..KIND };
        let newer = file::seal(newer, b"{}");
        let (history, errors) = choose(Some(&newer), Some(&GOOD), model().until_ms);
        assert!(history.is_some());
        let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(words.len() == 1 && words[0].contains("version 2 is not 1"), "{words:?}");
        let (history, errors) = choose(None, None, 0);
        assert!(history.is_none() && errors.is_empty());
    }

    #[test]
    fn what_is_sealed_but_makes_no_sense_is_refused() {
        let body = String::from_utf8(file::open(KIND, &GOOD).unwrap().to_vec()).unwrap();
        for (good, bad) in [
            ("\"from_ms\":0", "\"from_ms\":172800000"),
            ("\"from_ms\":0", "\"from_ms\":3600001"),
            ("[[0,", "[[999999999,"),
            ("\"profiles\":[\"etl-1\",", "\"profiles\":["),
            ("[3600000,7200000,0]", "[3600000,7200000,3]"),
            ("[3600000,7200000,0]", "[7200000,3600000,0]"),
        ] {
            assert!(body.contains(good), "{good}");
            let error = decode(&file::seal(KIND, body.replace(good, bad).as_bytes())).unwrap_err();
            assert!(matches!(error, Error::Unsound), "{bad}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_torn_or_altered_file_is_never_used(place in any::<prop::sample::Index>(), bit in 0_u32..8, torn in any::<bool>()) {
            let mut bytes = GOOD.clone();
            let at = place.index(bytes.len());
            if torn {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 1_u8 << bit;
            }
            prop_assert!(decode(&bytes).is_err() && !keeps(&bytes));
            let (history, errors) = choose(Some(&bytes), Some(&GOOD), model_until_ms());
            prop_assert!(history.is_some() && errors.len() == 1);
            prop_assert!(choose(Some(&bytes), None, model_until_ms()).0.is_none());
        }
    }

    fn model_until_ms() -> i64 {
        static UNTIL_MS: LazyLock<i64> = LazyLock::new(|| decode(&GOOD).unwrap().window.to_ms);
        *UNTIL_MS
    }
}

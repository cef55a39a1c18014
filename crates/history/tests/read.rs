//! Properties of a whole history: whatever way the answers come in, and whatever happened to the processes that counted.

#![cfg(test)]

use std::collections::BTreeMap;

use kompass_history::questions::{BORN, Counter, PodFact, Topic};
use kompass_history::{Answers, End, Error, History, Labels, Point, Reason, Series, Source, Why, Window, read};
use proptest::prelude::*;

const MINUTE: i64 = 60_000;
const BEGIN: i64 = 1_000 * MINUTE;

/// A gang that ends in a minute: minutes from the window's begin, profile, run time and wait in seconds, executors.
#[derive(Debug, Clone, Copy)]
struct Ended {
    minute: i64,
    profile: u8,
    run_s: u32,
    wait_s: u32,
    executors: u32,
}

/// One process that counts: minutes in which it starts anew and in which it is not seen.
#[derive(Debug, Clone, Default)]
struct Life {
    starts: Vec<i64>,
    unseen: Vec<i64>,
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// What a Prometheus answers after so many minutes.
fn answers(gangs: &[Ended], life: &Life, minutes: i64) -> Vec<(Topic, Series)> {
    let mut values: BTreeMap<(Topic, Labels), f64> = BTreeMap::new();
    let mut before: BTreeMap<(Topic, Labels), f64> = BTreeMap::new();
    let mut was_seen = true;
    let mut told: BTreeMap<(Topic, Labels), Vec<Point>> = BTreeMap::new();
    let process = labels(&[("instance", "a"), ("pod", "")]);
    let mut tell = |topic, labels: Labels, at_ms, value| {
        told.entry((topic, labels)).or_default().push(Point { at_ms, value });
    };
    let mut started = BEGIN / 1_000 - 60;
    tell(Topic::Starts, process.clone(), BEGIN - MINUTE, started as f64);
    let mut total = 0.0;
    for minute in 0..=minutes {
        let at_ms = BEGIN + minute * MINUTE;
        if life.starts.contains(&minute) {
            values.clear();
            total = 0.0;
            started = at_ms / 1_000;
        } else {
            for gang in gangs.iter().filter(|gang| gang.minute == minute) {
                total += 1.0;
                count(&mut values, gang);
            }
        }
        let seen = !life.unseen.contains(&minute);
        if seen {
            tell(Topic::Total, process.clone(), at_ms, total);
            tell(Topic::Starts, process.clone(), at_ms, started as f64);
            for ((topic, labels), &value) in &values {
                let earlier = before.get(&(*topic, labels.clone())).filter(|_| was_seen);
                match earlier {
                    None => {
                        let mut labels = labels.clone();
                        labels.insert(BORN.to_owned(), "1".to_owned());
                        tell(*topic, labels, at_ms, value);
                    }
                    Some(earlier) if earlier.to_bits() != value.to_bits() => tell(*topic, labels.clone(), at_ms, value),
                    Some(_) => {}
                }
            }
        }
        before.clone_from(&values);
        was_seen = seen;
    }
    told.into_iter()
        .map(|((topic, labels), points)| (topic, Series { labels, points }))
        .collect()
}

fn count(values: &mut BTreeMap<(Topic, Labels), f64>, gang: &Ended) {
    let profile = format!("job-{}", gang.profile);
    let place = [("instance", "a"), ("pod", ""), ("profile_key", &profile)];
    let (run_s, executors) = (f64::from(gang.run_s), f64::from(gang.executors));
    for (counter, by) in [
        (Counter::WaitSum, f64::from(gang.wait_s)),
        (Counter::RunSum, run_s),
        (Counter::RunCount, 1.0),
        (Counter::PeakSum, executors),
        (Counter::ExecutorSeconds, executors * run_s),
        (Counter::ExecutorCpu, executors * run_s * 2.0),
        (Counter::ExecutorMemory, executors * run_s * 1_024.0),
        (Counter::DriverCpu, run_s),
        (Counter::DriverMemory, run_s * 512.0),
    ] {
        *values.entry((Topic::Counter(counter), labels(&place))).or_default() += by;
    }
    let mut finished = labels(&place);
    finished.insert("outcome".to_owned(), "succeeded".to_owned());
    *values.entry((Topic::Counter(Counter::Finished), finished)).or_default() += 1.0;
}

fn history(answered: &[(Topic, Series)], minutes: i64) -> History {
    let mut answers = Answers::default();
    for (topic, series) in answered {
        answers.add(*topic, vec![series.clone()]);
    }
    let window = Window {
        from_ms: BEGIN,
        to_ms: BEGIN + minutes * MINUTE,
    };
    read(answers, window).unwrap()
}

fn gangs() -> impl Strategy<Value = Vec<Ended>> {
    let gang = (1..200_i64, 0..3_u8, 1..3_000_u32, 0..500_u32, 1..50_u32);
    let gang = gang.prop_map(|(minute, profile, run_s, wait_s, executors)| Ended {
        minute,
        profile,
        run_s,
        wait_s,
        executors,
    });
    prop::collection::vec(gang, 0..40)
}

fn lives() -> impl Strategy<Value = Life> {
    (prop::collection::vec(2..200_i64, 0..3), 2..200_i64, 0..20_i64).prop_map(|(starts, gap, length)| Life {
        starts,
        unseen: (gap..gap + length).filter(|minute| *minute < 199).collect(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cuts_order_and_repetition_of_answers_change_nothing(
        gangs in gangs(), life in lives(), cut in 0..200_i64, keys in prop::collection::vec(any::<u32>(), 200),
    ) {
        let whole = answers(&gangs, &life, 200);
        let expected = history(&whole, 200);
        let mut pieces: Vec<(Topic, Series)> = Vec::new();
        for (topic, series) in &whole {
            let (one, other): (Vec<Point>, Vec<Point>) =
                series.points.iter().partition(|point| point.at_ms < BEGIN + cut * MINUTE);
            for points in [other, one.clone(), one] {
                pieces.push((*topic, Series { labels: series.labels.clone(), points }));
            }
        }
        let mut shuffled: Vec<(u32, (Topic, Series))> = pieces
            .into_iter()
            .enumerate()
            .map(|(index, piece)| (keys[index % keys.len()].wrapping_mul(u32::try_from(index).unwrap() | 1), piece))
            .collect();
        shuffled.sort_by_key(|(key, _)| *key);
        let pieces: Vec<(Topic, Series)> = shuffled.into_iter().map(|(_, piece)| piece).collect();
        prop_assert_eq!(history(&pieces, 200), expected);
    }

    #[test]
    fn each_gang_that_ended_while_it_was_looked_at_is_told_once(gangs in gangs(), life in lives()) {
        let told = history(&answers(&gangs, &life, 200), 200);
        // A process that starts anew, or was not seen, may take with it what nobody has seen.
        let seen: Vec<&Ended> = gangs.iter().filter(|gang| {
            let next_look = (gang.minute..=200).find(|minute| !life.unseen.contains(minute)).unwrap();
            !(gang.minute..=next_look).any(|minute| life.starts.contains(&minute))
        }).collect();
        let before: u64 = told.dropped.iter().filter(|line| line.reason == Reason::Before).map(|line| line.count).sum();
        prop_assert_eq!(told.gangs.len() + usize::try_from(before).unwrap(), seen.len(), "{:?}", told.dropped);
        // One that ended alone of its job has its own figures.
        for gang in told.gangs.iter().filter(|gang| gang.averaged_over == 1) {
            prop_assert!(gang.end == End::Succeeded && gang.source == Source::Kompass);
            let same = seen.iter().any(|ended| {
                let submit_ms = BEGIN + ended.minute * MINUTE - i64::from(ended.run_s + ended.wait_s) * 1_000;
                gang.profile == format!("job-{}", ended.profile)
                    && gang.run_ms == Some(i64::from(ended.run_s) * 1_000)
                    && gang.wait_ms == i64::from(ended.wait_s) * 1_000
                    && gang.executors == u64::from(ended.executors)
                    && gang.executor.cpu_milli == 2_000
                    && gang.executor.memory_bytes == 1_024
                    && gang.driver.memory_bytes == 512
                    && (gang.submit_ms - submit_ms).abs() <= gang.submit_error_ms
            });
            prop_assert!(same, "{:?}", gang);
        }
        for reason in [Reason::Spike, Reason::NoNumber, Reason::Unmatched, Reason::NoStart, Reason::Untold] {
            prop_assert!(told.dropped.iter().all(|line| line.reason != reason), "{:?}", told.dropped);
        }
    }

    #[test]
    fn gaps_are_told(life in lives()) {
        let told = history(&answers(&[], &life, 200), 200);
        let unseen: Vec<i64> = told.gaps.iter().flat_map(|gap| {
            let minutes = |ms: i64| (ms - BEGIN) / MINUTE;
            minutes(gap.from_ms) + 1..=minutes(gap.to_ms)
        }).collect();
        // One minute alone is none.
        let expected = if life.unseen.len() > 1 { life.unseen } else { Vec::new() };
        prop_assert_eq!(unseen, expected);
        prop_assert!(told.gaps.iter().all(|gap| gap.why == Why::NoSamples));
    }

    #[test]
    fn no_answer_makes_it_panic(
        series in prop::collection::vec(
            (0..25_usize, 0..4_u8, prop::collection::vec((-5..300_i64, any::<f64>()), 0..20)), 0..30,
        ),
    ) {
        let topics: Vec<Topic> = Counter::ALL.into_iter().map(Topic::Counter)
            .chain([Topic::Total, Topic::Starts, Topic::Leaderless, Topic::PodsSeen, Topic::Kin])
            .chain([PodFact::Labels, PodFact::Created, PodFact::Gone, PodFact::AtEnd, PodFact::Started, PodFact::Completed,
                PodFact::Requests, PodFact::Phase].map(Topic::Pod))
            .collect();
        let mut answers = Answers::default();
        for (topic, which, points) in series {
            let mut labels = labels(&[
                ("instance", "a"), ("profile_key", "b"), ("outcome", ["succeeded", "failed"][usize::from(which % 2)]),
                ("pod", ["x-driver", "x-exec-1", "y-exec-1", "z-driver"][usize::from(which)]), ("resource", "cpu"),
            ]);
            if which == 3 {
                labels.insert(BORN.to_owned(), "1".to_owned());
            }
            let points = points.into_iter().map(|(minute, value)| Point { at_ms: BEGIN + minute * MINUTE, value });
            answers.add(topics[topic % topics.len()], vec![Series { labels, points: points.collect() }]);
        }
        let window = Window { from_ms: BEGIN, to_ms: BEGIN + 200 * MINUTE };
        if let Ok(history) = read(answers, window) {
            let _ = history.trace();
        }
    }
}

fn is_dropped(history: &History, reason: Reason) -> u64 {
    let lines = history.dropped.iter().filter(|line| line.reason == reason);
    lines.map(|line| line.count).sum()
}

fn ended(minute: i64) -> Ended {
    Ended {
        minute,
        profile: 0,
        run_s: 60,
        wait_s: 0,
        executors: 2,
    }
}

#[test]
fn a_scrape_between_two_counters_of_one_gang_does_not_part_them() {
    let mut answered = answers(&[ended(50)], &Life::default(), 200);
    // Its memory is seen a minute later, its CPU a minute earlier.
    for (topic, by) in [(Counter::ExecutorMemory, 1), (Counter::ExecutorCpu, -1)] {
        for (_, series) in answered.iter_mut().filter(|(other, _)| *other == Topic::Counter(topic)) {
            series.points.iter_mut().for_each(|point| point.at_ms += by * MINUTE);
        }
    }
    let told = history(&answered, 200);
    assert_eq!((told.gangs.len(), is_dropped(&told, Reason::Unmatched)), (1, 0));
    let executor = &told.gangs[0].executor;
    assert_eq!((executor.cpu_milli, executor.memory_bytes), (2_000, 1_024));

    // Two minutes are too far.
    for (_, series) in answered
        .iter_mut()
        .filter(|(topic, _)| *topic == Topic::Counter(Counter::ExecutorMemory))
    {
        series.points.iter_mut().for_each(|point| point.at_ms += MINUTE);
    }
    let told = history(&answered, 200);
    assert_eq!((told.gangs.len(), is_dropped(&told, Reason::Unmatched)), (1, 1));
}

#[test]
fn a_counter_beyond_belief_is_not_believed() {
    let mut answered = answers(&[ended(50), ended(60)], &Life::default(), 200);
    for (_, series) in answered
        .iter_mut()
        .filter(|(topic, _)| *topic == Topic::Counter(Counter::Finished))
    {
        if let Some(point) = series
            .points
            .iter_mut()
            .find(|point| point.at_ms == BEGIN + 60 * MINUTE)
        {
            point.value = 1e15;
        }
    }
    let told = history(&answered, 200);
    assert_eq!(told.gangs.len(), 1);
    assert!(is_dropped(&told, Reason::TooMany) > 1_000_000, "{:?}", told.dropped);
}

#[test]
fn gangs_that_no_profile_tells_of_are_counted() {
    let mut answered = answers(&[ended(50), ended(60)], &Life::default(), 200);
    answered.retain(|(topic, _)| !matches!(topic, Topic::Counter(_)));
    let told = history(&answered, 200);
    assert_eq!((told.gangs.len(), is_dropped(&told, Reason::Untold)), (0, 2));
    assert_eq!(told.ended.counts.iter().flatten().sum::<u64>(), 2);
}

#[test]
fn while_no_replica_leads_nobody_counts() {
    let mut answered = answers(&[], &Life::default(), 200);
    let minutes = 20..30;
    let points = minutes.map(|minute| Point {
        at_ms: BEGIN + minute * MINUTE,
        value: 0.0,
    });
    let leaderless = Series {
        labels: Labels::new(),
        points: points.collect(),
    };
    answered.push((Topic::Leaderless, leaderless));
    let told = history(&answered, 200);
    let [gap] = told.gaps[..] else {
        panic!("{:?}", told.gaps);
    };
    assert_eq!(
        (gap.from_ms, gap.to_ms, gap.why),
        (BEGIN + 19 * MINUTE, BEGIN + 29 * MINUTE, Why::NoLeader)
    );
}

#[test]
fn nothing_and_a_window_without_length_are_errors() {
    let window = |to_ms| Window { from_ms: 5, to_ms };
    assert_eq!(read(Answers::default(), window(6)), Err(Error::Nothing));
    assert_eq!(read(Answers::default(), window(5)), Err(Error::Window));
}

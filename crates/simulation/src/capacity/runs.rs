//! All replays of a backtest, and points as the means over them.

use kompass_capacity::newsvendor::Prices;
use kompass_capacity::{Family, Holding, Shape};

use super::decide::{Decisions, decide, oracle};
use super::engine::{self, World};
use super::input::{self, Job, Seen, Timing};
use super::measure::{Point, measure, taken_node_hours};
use super::money::Cost;
use super::protocol::{Error, FIXED_MAX, REPLAYS, Settings};
use super::split::{Part, Split};
use super::work;

/// α of the oracle.
const ORACLE: [f64; 8] = [0.0, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0];

/// Decisions of one policy with one parameter, from the first tick of the validation on, for the trace as recorded and
/// then for each replay.
#[derive(Debug, Clone, PartialEq)]
pub struct Tape {
    /// The policy's name.
    pub policy: String,
    /// Its parameter.
    pub parameter: f64,
    /// The time of the first tick, milliseconds.
    pub first_ms: i64,
    /// Between two ticks, milliseconds.
    pub tick_ms: i64,
    /// Headroom at one tick after the other, nodes; first as recorded, then for each replay.
    pub headroom: Vec<Vec<u32>>,
    /// Up to when observations went into the fit, milliseconds, alike.
    pub fit_until_ms: Vec<Vec<Option<i64>>>,
}

/// Replays with the decisions of every policy. Policy 0 is fixed headroom, then come the families, last the oracle.
#[derive(Debug)]
pub(super) struct Runs {
    shape: Shape,
    timing: Timing,
    parts: [Part; 2],
    names: Vec<String>,
    parameters: Vec<Vec<f64>>,
    taken: [f64; 2],
    submitted: [f64; 2],
    holding: Holding,
    prices: Option<Prices>,
    /// The trace as recorded (without jobs, it is only decided for), then the replays.
    replays: Vec<Replay>,
    tapes: Vec<Tape>,
}

#[derive(Debug)]
struct Replay {
    /// Jobs of each part with the day before it.
    jobs: [Vec<Job>; 2],
    /// Of the families and the oracle.
    decisions: Vec<Decisions>,
}

impl Runs {
    /// Makes the replays, and decides for each of them.
    pub(super) fn new(
        jobs: &[Job],
        settings: Settings,
        split: Split,
        families: &[Family],
        tapes: Vec<Tape>,
    ) -> Result<Self, Error> {
        let parts = [split.validation, split.test];
        let Settings {
            shape,
            timing,
            seed,
            holding,
            prices,
        } = settings;
        let span_ms = (parts[0].begin_ms(), parts[1].end_ms);
        let replays = work::each(REPLAYS as usize + 1, |number| {
            let number = u32::try_from(number).unwrap_or(0);
            let jobs = input::replay(jobs, seed, number);
            let seen = Seen::new(&jobs, timing);
            let mut decisions: Vec<Decisions> = families
                .iter()
                .map(|family| decide(family, shape, &seen, timing, span_ms))
                .collect();
            decisions.push(oracle(&ORACLE, shape, &seen, timing, span_ms));
            for wanted in decisions.iter_mut().flat_map(|decisions| &mut decisions.headroom) {
                *wanted = holding.held(wanted, span_ms.0, timing.tick_ms);
            }
            Replay {
                jobs: parts.map(|part| if number == 0 { Vec::new() } else { of_part(&jobs, part) }),
                decisions,
            }
        });
        let most = holding.nodes_max.map_or(FIXED_MAX, |most| most.min(FIXED_MAX));
        let fixed: Vec<f64> = (0..=most).map(f64::from).collect();
        let named = families.iter().map(|family| family.name.to_owned());
        let with = families.iter().map(|family| family.parameters.clone());
        let runs = Self {
            shape,
            timing,
            parts,
            names: std::iter::once("fixed".to_owned())
                .chain(named)
                .chain(["oracle".to_owned()])
                .collect(),
            parameters: std::iter::once(fixed).chain(with).chain([ORACLE.to_vec()]).collect(),
            taken: parts.map(|part| taken_node_hours(&of_part(jobs, part), part, shape.parts())),
            submitted: parts.map(|part| {
                let inside = jobs.iter().filter(|job| part.day(job.recorded_ms).is_some());
                inside.map(|job| i128::from(job.size)).sum::<i128>() as f64 / shape.parts() as f64
            }),
            holding,
            prices,
            replays,
            tapes,
        };
        runs.tapes.iter().try_for_each(|tape| runs.check(tape))?;
        Ok(runs)
    }

    /// Decisions that were made before must be of this trace and these policies.
    fn check(&self, tape: &Tape) -> Result<(), Error> {
        let known = self.names.iter().zip(&self.parameters);
        let known = known
            .filter(|(name, _)| **name == tape.policy)
            .flat_map(|(_, values)| values);
        let ticks = self.ticks(self.parts[1].end_ms) - self.warm_up();
        let wrong = if known.filter(|value| value.total_cmp(&tape.parameter).is_eq()).count() != 1 {
            Some("there is no such policy and parameter")
        } else if tape.first_ms != self.parts[0].start_ms || tape.tick_ms != self.timing.tick_ms {
            Some("their times are not those of the validation and the test of this trace")
        } else if tape.headroom.len() != self.replays.len() || tape.headroom.iter().any(|all| all.len() != ticks) {
            Some("there are more or fewer of them than ticks and replays")
        } else {
            None
        };
        let tell = |what| Error::Tape {
            policy: tape.policy.clone(),
            parameter: tape.parameter,
            what,
        };
        wrong.map_or(Ok(()), |what| Err(tell(what)))
    }

    /// How much of all is done when so much of this policy is, both from 0 to 1.
    pub(super) fn done(&self, policy: usize, part: f64) -> f64 {
        (policy as f64 + part) / self.names.len() as f64
    }

    pub(super) fn name(&self, policy: usize) -> &str {
        &self.names[policy]
    }

    /// What is being done, for people.
    pub(super) fn step(&self, policy: usize, part: usize) -> String {
        format!("{}, {}", ["validation", "test"][part], self.names[policy])
    }

    /// The oracle's number.
    pub(super) const fn oracle(&self) -> usize {
        self.names.len() - 1
    }

    pub(super) fn parameters(&self, policy: usize) -> &[f64] {
        &self.parameters[policy]
    }

    /// Node-size of the gangs of each part, nodes.
    pub(super) const fn submitted(&self) -> [f64; 2] {
        self.submitted
    }

    /// Whether nodes alone cost more at the last of these points of a part than the cheapest of them costs; so where there
    /// are no prices.
    pub(super) fn is_too_dear(&self, points: &[Point], part: usize) -> bool {
        let Some(prices) = self.prices else { return true };
        let mut costs = points
            .iter()
            .map(|point| Cost::new(point, self.submitted[part], prices));
        let least = costs.clone().map(Cost::total).fold(f64::INFINITY, f64::min);
        costs.next_back().is_some_and(|cost| cost.nodes > least)
    }

    /// A point for each of these parameters (by number) on a part (0 validation, 1 test).
    pub(super) fn points(&self, policy: usize, parameters: &[usize], part: usize) -> Vec<Point> {
        let replays = self.replays.len() - 1;
        let points = work::each(parameters.len() * replays, |piece| {
            self.point(policy, parameters[piece / replays], part, 1 + piece % replays)
        });
        points.chunks(replays).map(Point::mean).collect()
    }

    fn point(&self, policy: usize, parameter: usize, part: usize, replay: usize) -> Point {
        let jobs = &self.replays[replay].jobs[part];
        let measured = self.parts[part];
        let world = World {
            shape: self.shape,
            timing: self.timing,
            begin_ms: measured.begin_ms(),
            end_ms: measured.end_ms,
        };
        let headroom = self.headroom(policy, parameter, replay);
        let headroom = &headroom[self.ticks(measured.begin_ms())..self.ticks(measured.end_ms)];
        let outcome = engine::run(world, jobs, headroom, &mut ());
        measure(jobs, &outcome, measured, self.taken[part])
    }

    /// Headroom from the first tick of the day before the validation on. What is on tape from the validation on is taken
    /// from there.
    fn headroom(&self, policy: usize, parameter: usize, replay: usize) -> Vec<u32> {
        let (mut headroom, _) = self.decided(policy, parameter, replay);
        let value = self.parameters[policy][parameter];
        let tape = self
            .tapes
            .iter()
            .find(|tape| tape.policy == self.names[policy] && tape.parameter.total_cmp(&value).is_eq());
        if let Some(taped) = tape.and_then(|tape| tape.headroom.get(replay)) {
            let warm = self.warm_up();
            headroom.truncate(warm);
            headroom.extend(taped);
        }
        headroom
    }

    /// Ticks before a time, from the day before the validation on.
    fn ticks(&self, at_ms: i64) -> usize {
        usize::try_from((at_ms - self.parts[0].begin_ms()) / self.timing.tick_ms).unwrap_or(0)
    }

    /// Ticks before the validation.
    fn warm_up(&self) -> usize {
        self.ticks(self.parts[0].start_ms)
    }

    fn decided(&self, policy: usize, parameter: usize, replay: usize) -> (Vec<u32>, Vec<Option<i64>>) {
        let ticks = self.ticks(self.parts[1].end_ms);
        let Some(family) = policy.checked_sub(1) else {
            let wanted = vec![u32::try_from(parameter).unwrap_or(u32::MAX); ticks];
            let begin_ms = self.parts[0].begin_ms();
            return (
                self.holding.held(&wanted, begin_ms, self.timing.tick_ms),
                vec![None; ticks],
            );
        };
        let decisions = &self.replays[replay].decisions[family];
        (decisions.headroom[parameter].clone(), decisions.fit_until_ms.clone())
    }

    /// All decisions of a policy with a parameter.
    pub(super) fn tape(&self, policy: usize, parameter: usize) -> Tape {
        let each = (0..self.replays.len()).map(|replay| {
            let headroom = self.headroom(policy, parameter, replay).split_off(self.warm_up());
            let fit = self.decided(policy, parameter, replay).1.split_off(self.warm_up());
            (headroom, fit)
        });
        let (headroom, fit_until_ms) = each.unzip();
        Tape {
            policy: self.names[policy].clone(),
            parameter: self.parameters[policy][parameter],
            first_ms: self.parts[0].start_ms,
            tick_ms: self.timing.tick_ms,
            headroom,
            fit_until_ms,
        }
    }
}

/// The jobs that were recorded in a part or on the day before it. None is submitted before that begins.
fn of_part(jobs: &[Job], part: Part) -> Vec<Job> {
    let inside = jobs
        .iter()
        .filter(|job| (part.begin_ms()..part.end_ms).contains(&job.recorded_ms));
    inside
        .map(|job| Job {
            submit_ms: job.submit_ms.max(part.begin_ms()),
            ..*job
        })
        .collect()
}

//! The protocol: every policy on validation and test, operating points, choice on the validation, ratios on the test.

use kompass_capacity::newsvendor::Prices;
use kompass_capacity::{Family, Holding, Shape};

use super::bootstrap::{self, Beside};
use super::frontier::{Hull, Vertex};
use super::input::{self, Timing};
use super::measure::Point;
use super::runs::{Runs, Tape};
use super::split::{self, Split};

/// Shares of reactive's mean wait at which policies are compared.
pub const OPERATING_SHARES: [f64; 3] = [0.5, 0.25, 0.1];
/// Replays of which a point is the mean.
pub const REPLAYS: u32 = 10;
/// More nodes than this are not tried as fixed headroom.
pub(super) const FIXED_MAX: u32 = 64;
/// With a mean wait below this more fixed headroom is not tried, seconds.
const WAIT_ENOUGH_S: f64 = 0.5;
/// So many parameters are tried at a time.
const WAVE: usize = 4;

/// Is told how much is done, from 0 to 1, and what is being done.
pub type Note<'a> = &'a mut dyn FnMut(f64, &str);

/// What a backtest is about.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// What a node offers.
    pub shape: Shape,
    /// How long things take.
    pub timing: Timing,
    /// Of jitter and bootstrap.
    pub seed: u64,
    /// What stands between what a policy wants and what is held, under every policy.
    pub holding: Holding,
    /// What nodes and waiting cost, where that is to be told.
    pub prices: Option<Prices>,
}

/// A policy with what came out for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// Its name.
    pub policy: String,
    /// What it does, in words.
    pub meaning: String,
    /// Its parameters, of which those were tried that points are there for.
    pub parameters: Vec<f64>,
    /// A point for each parameter on the validation.
    pub validation: Vec<Point>,
    /// A point for each parameter on the test.
    pub test: Vec<Point>,
    /// The parameters chosen on the validation, judged there.
    pub on_validation: Judged,
    /// The same parameters, judged on the test.
    pub on_test: Judged,
    /// Judged on the test with operating points and parameters chosen there: what no choice could have known.
    pub in_hindsight: Judged,
}

/// A policy at its operating points beside fixed headroom.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Judged {
    /// The parameter for each operating point, by its number.
    pub chosen: Vec<usize>,
    /// Its wait beside that of fixed headroom.
    pub beside: Vec<Beside>,
    /// `wait_ratio_to_best_fixed_at_equal_idle`: the mean over the operating points of the wait by that of the hull of
    /// fixed headroom at the same bill.
    pub ratio: Option<f64>,
    /// Its 90 % interval.
    pub interval: Option<(f64, f64)>,
}

/// What a ratio says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The interval's upper end is below 1.
    Win,
    /// The ratio is above 1.10, or the interval wholly above 1.
    Loss,
    /// Neither.
    Even,
    /// There is no ratio: nobody waits worth speaking of.
    Nothing,
}

/// Where policies are compared: a bill of the validation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OperatingPoint {
    /// Of reactive's mean wait.
    pub share: f64,
    /// The bill at which fixed headroom has this share, node-hours of the validation.
    pub bill: f64,
    /// Its mean wait there, seconds.
    pub wait_s: f64,
}

/// A backtest that is done.
#[derive(Debug)]
pub struct Backtest {
    /// What it was about.
    pub settings: Settings,
    /// Its parts.
    pub split: Split,
    /// Gangs that were replayed.
    pub gangs: usize,
    /// Gangs that were left out because a pod is larger than a node.
    pub left_out: usize,
    /// Node-size of the gangs of validation and test, nodes.
    pub submitted: [f64; 2],
    /// Where policies were compared.
    pub operating_points: Vec<OperatingPoint>,
    /// Fixed headroom first, then the families.
    pub tried: Vec<Tried>,
    /// Headroom that knows the future: no candidate, but what could be had.
    pub oracle: Tried,
    /// The recommended one, by its number in `tried`; chosen on the validation alone.
    pub recommended: usize,
    runs: Runs,
}

/// Why a backtest can't be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The trace has not enough days.
    #[error(transparent)]
    Split(#[from] split::Error),
    /// Nothing fits.
    #[error("failed to replay the trace: every gang has a pod that is larger than the node")]
    NothingFits,
    /// The decisions are of something else.
    #[error(
        "failed to replay the decisions of {policy} with parameter {parameter}: {what}; make them with the same trace, node \
         shape and version"
    )]
    Tape {
        /// The policy that they name.
        policy: String,
        /// Its parameter.
        parameter: f64,
        /// What is wrong with them.
        what: &'static str,
    },
}

impl Verdict {
    /// Of a judged policy.
    pub fn of(judged: &Judged) -> Self {
        match (judged.ratio, judged.interval) {
            (None, _) => Self::Nothing,
            (Some(ratio), interval) if ratio > 1.1 || interval.is_some_and(|(low, _)| low > 1.0) => Self::Loss,
            (Some(_), Some((_, high))) if high < 1.0 => Self::Win,
            _ => Self::Even,
        }
    }
}

impl Backtest {
    /// Runs the protocol. `families` are the candidates beside fixed headroom; `tapes` are decisions made before, which
    /// are taken instead of making them again; `note` is told what is being done.
    pub fn run(
        gangs: &[crate::trace::Gang],
        settings: Settings,
        families: &[Family],
        tapes: Vec<Tape>,
        note: Note<'_>,
    ) -> Result<Self, Error> {
        let (jobs, left_out) = input::jobs(gangs, settings.shape);
        if jobs.is_empty() {
            return Err(Error::NothingFits);
        }
        let split = Split::new(&jobs, settings.timing.tick_ms)?;
        note(0.0, "deciding");
        let runs = Runs::new(&jobs, settings, split, families, tapes)?;

        let fixed = try_fixed(&runs, note);
        let operating_points = operating_points(&fixed.0);
        let bills: Vec<f64> = operating_points.iter().map(|point| point.bill).collect();
        let test_bills: Vec<f64> = self::operating_points(&fixed.1)
            .iter()
            .map(|point| point.bill)
            .collect();
        let judge = |points: (Vec<Point>, Vec<Point>), policy: usize, meaning: &str| {
            let (validation, test) = points;
            let chosen = chosen(&validation, &bills);
            let hindsight = self::chosen(&test, &test_bills);
            Tried {
                policy: runs.name(policy).to_owned(),
                meaning: meaning.to_owned(),
                parameters: runs.parameters(policy).to_vec(),
                on_validation: Judged::new(&fixed.0, &validation, chosen.clone(), settings.seed),
                on_test: Judged::new(&fixed.1, &test, chosen, settings.seed),
                in_hindsight: Judged::new(&fixed.1, &test, hindsight, settings.seed),
                validation,
                test,
            }
        };
        let mut tried = Vec::new();
        tried.push(judge(fixed.clone(), 0, "holds p nodes at all times; 0 is reactive"));
        for (number, family) in (1..).zip(families) {
            let points = try_family(&runs, number, (&bills, &test_bills), note);
            tried.push(judge(points, number, family.meaning));
        }
        let points = try_family(&runs, runs.oracle(), (&bills, &test_bills), note);
        let meaning =
            "holds p times the node-size that will be submitted before a node asked for at the next tick is ready";
        let oracle = judge(points, runs.oracle(), meaning);
        let recommended = recommend(&tried);
        Ok(Self {
            settings,
            split,
            gangs: jobs.len(),
            left_out,
            submitted: runs.submitted(),
            operating_points,
            tried,
            oracle,
            recommended,
            runs,
        })
    }

    /// The decisions of the recommended policy from the first tick of the validation on, for each parameter that it has
    /// at an operating point.
    pub fn decisions(&self) -> Vec<Tape> {
        let mut chosen = self.tried[self.recommended].on_test.chosen.clone();
        chosen.dedup();
        chosen
            .into_iter()
            .map(|parameter| self.runs.tape(self.recommended, parameter))
            .collect()
    }
}

impl Judged {
    fn new(fixed: &[Point], points: &[Point], chosen: Vec<usize>, seed: u64) -> Self {
        let picked: Vec<&Point> = chosen.iter().filter_map(|&parameter| points.get(parameter)).collect();
        let days: Vec<usize> = (0..fixed.first().map_or(0, |point| point.days.len())).collect();
        let beside = bootstrap::beside(fixed, &picked, &days);
        Self {
            ratio: bootstrap::mean_ratio(&beside),
            interval: bootstrap::interval(fixed, &picked, seed),
            beside,
            chosen,
        }
    }
}

/// Fixed headroom on validation and test: 0, 1, 2… nodes until hardly anybody waits. The test has at least those of the
/// validation, among which the parameters are.
fn try_fixed(runs: &Runs, note: Note<'_>) -> (Vec<Point>, Vec<Point>) {
    let mut until_nobody_waits = |part: usize, least: usize| {
        let mut points: Vec<Point> = Vec::new();
        let all = runs.parameters(0).len();
        while points.len() < all {
            let done = f64::midpoint(part as f64, points.len() as f64 / all as f64);
            note(runs.done(0, done), &runs.step(0, part));
            let next: Vec<usize> = (points.len()..(points.len() + WAVE).min(all)).collect();
            for point in runs.points(0, &next, part) {
                let enough = point.wait_mean_s < WAIT_ENOUGH_S;
                points.push(point);
                if enough && points.len() >= least {
                    return points;
                }
            }
        }
        points
    };
    let validation = until_nobody_waits(0, 0);
    let test = until_nobody_waits(1, validation.len());
    (validation, test)
}

/// A family on validation and test, as far as its bills are of use: up to the first parameter beyond the last operating
/// point of both, and where there are prices until nodes alone cost more than the cheapest parameter does.
fn try_family(
    runs: &Runs,
    policy: usize,
    (bills, test_bills): (&[f64], &[f64]),
    note: Note<'_>,
) -> (Vec<Point>, Vec<Point>) {
    let most = |bills: &[f64]| bills.iter().copied().fold(0.0, f64::max);
    let beyond = |points: &[Point], bills: &[f64]| points.iter().any(|point| point.bill_node_hours > most(bills));
    let (mut validation, mut test) = (Vec::new(), Vec::new());
    let all = runs.parameters(policy).len();
    let enough = |validation: &[Point], test: &[Point]| {
        beyond(validation, bills)
            && beyond(test, test_bills)
            && (0..2).all(|part| runs.is_too_dear([validation, test][part], part))
    };
    while validation.len() < all && !enough(&validation, &test) {
        let next: Vec<usize> = (validation.len()..(validation.len() + WAVE).min(all)).collect();
        let done = validation.len() as f64 / all as f64;
        note(runs.done(policy, done), &runs.step(policy, 0));
        validation.extend(runs.points(policy, &next, 0));
        note(runs.done(policy, done), &runs.step(policy, 1));
        test.extend(runs.points(policy, &next, 1));
    }
    (validation, test)
}

fn operating_points(fixed: &[Point]) -> Vec<OperatingPoint> {
    let hull = Hull::new(fixed.iter().map(|point| Vertex {
        bill: point.bill_node_hours,
        wait_s: point.wait_mean_s,
    }));
    let reactive_s = fixed.first().map_or(0.0, |point| point.wait_mean_s);
    let at = |share: f64| {
        let bill = hull.bill(share * reactive_s);
        OperatingPoint {
            share,
            bill,
            wait_s: hull.wait_s(bill),
        }
    };
    OPERATING_SHARES.map(at).to_vec()
}

/// For each bill the parameter with the largest bill that is not above it; the one with the smallest where all are.
fn chosen(points: &[Point], bills: &[f64]) -> Vec<usize> {
    let bill = |parameter: &usize| points[*parameter].bill_node_hours;
    let by_bill = |a: &usize, b: &usize| bill(a).total_cmp(&bill(b));
    bills
        .iter()
        .map(|&most| {
            let below = (0..points.len()).filter(|parameter| bill(parameter) <= most);
            below
                .max_by(by_bill)
                .or_else(|| (0..points.len()).min_by(by_bill))
                .unwrap_or(0)
        })
        .collect()
}

/// Of the policies that win on the validation the surest: the one whose interval ends first. The smallest ratio would go to
/// the one that was luckiest on a few days. Fixed headroom where none wins.
fn recommend(tried: &[Tried]) -> usize {
    let wins = (0..tried.len()).filter(|&policy| Verdict::of(&tried[policy].on_validation) == Verdict::Win);
    let at_most = |policy: usize| {
        tried[policy]
            .on_validation
            .interval
            .map_or(f64::INFINITY, |(_, high)| high)
    };
    wins.min_by(|&a, &b| at_most(a).total_cmp(&at_most(b))).unwrap_or(0)
}

//! Which group grows. Pure.

use std::cmp::Reverse;

use kompass_core::Resources;

/// Resources of nodes that are too dear for pods that don't ask for them. Other extended resources (addresses, volumes)
/// come with any node and say nothing.
const ACCELERATORS: [&str; 5] = [
    "amd.com/gpu",
    "aws.amazon.com/neuron",
    "gpu.intel.com/",
    "habana.ai/",
    "nvidia.com/",
];
/// Waste is told apart by twentieths of what is bought. Nodes of one size differ in what they offer by a little, with the
/// machine image or from spot to on-demand: by finer steps the price would never count.
const STEPS: u128 = 20;

/// A pod that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The gang that it is a member of, or stands for a member of.
    pub gang: Option<usize>,
    /// What it asks for.
    pub requests: Resources,
}

/// A group that could grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growth {
    /// Its id.
    pub id: String,
    /// By how many nodes.
    pub nodes: u32,
    /// What each offers, if that is known.
    pub shape: Option<Resources>,
    /// The pods that the new nodes would take, by their place in the question, each once.
    pub pods: Vec<usize>,
    /// What a node costs an hour, millionths.
    pub price_micro: Option<u64>,
    /// Whether its nodes may be taken back.
    pub spot: bool,
    /// Nodes that are held in it.
    pub headroom: u32,
}

/// All that a choice is made from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Question {
    /// All pods of all options.
    pub pods: Vec<Waiting>,
    /// How many gangs they belong to.
    pub gangs: usize,
    /// The options.
    pub options: Vec<Growth>,
}

/// The chosen option, by its place in the question, and what spoke for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// Its place.
    pub option: usize,
    /// Gangs that it takes whole.
    pub gangs: usize,
    /// How much of what is bought nobody asks for, in hundredths, rounded down to [`STEPS`].
    pub waste_percent: u32,
}

/// Why nothing is chosen: the next of the autoscaler's chain decides among all options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undecided {
    /// No pod belongs to a gang.
    NoGang,
    /// No option takes any gang whole.
    NoneWhole,
    /// What the nodes of an option offer is not known.
    UnknownShape,
}

/// Chooses the option that takes the most gangs whole; of these that which wastes the least, then the cheapest where all
/// prices are known, then on-demand before spot, then that which holds more nodes, then the first by name.
///
/// The order of options and pods makes no difference.
pub fn choose(question: &Question) -> Result<Chosen, Undecided> {
    if question.gangs == 0 || question.pods.iter().all(|pod| pod.gang.is_none()) {
        return Err(Undecided::NoGang);
    }
    let shapes: Vec<&Resources> = question
        .options
        .iter()
        .map(|option| option.shape.as_ref().filter(|shape| offers(shape) && option.nodes > 0))
        .collect::<Option<_>>()
        .ok_or(Undecided::UnknownShape)?;
    let whole = whole_gangs(question, &shapes);
    let most = whole.iter().copied().max().filter(|&most| most > 0);
    let most = most.ok_or(Undecided::NoneWhole)?;
    let left = || (0..question.options.len()).filter(|&at| whole[at] == most);
    let priced = left().all(|at| question.options[at].price_micro.is_some());
    let chosen = left()
        .map(|at| {
            let option = &question.options[at];
            let nodes = u128::from(option.nodes);
            let price = option
                .price_micro
                .filter(|_| priced)
                .map(u128::from)
                .unwrap_or_default();
            let waste = waste(question, option, shapes[at]);
            let held = Reverse(option.headroom.min(option.nodes));
            ((waste, price * nodes, option.spot, held, &option.id), at)
        })
        .min();
    let ((waste, ..), option) = chosen.ok_or(Undecided::NoneWhole)?;
    Ok(Chosen {
        option,
        gangs: most,
        waste_percent: u32::try_from(waste * 100 / STEPS).unwrap_or(100),
    })
}

fn offers(shape: &Resources) -> bool {
    shape.cpu_milli > 0 && shape.memory_bytes > 0
}

/// How many gangs each option takes whole.
///
/// Members that no option takes together with others of their gang, such as a driver that may not run on spot nodes, are a
/// gang of their own here: else no option would take any, however well it does for the rest.
fn whole_gangs(question: &Question, shapes: &[&Resources]) -> Vec<usize> {
    let options = question.options.len();
    let takers = takers(question, shapes);
    let mut whole = vec![0; options];
    // What no option takes is a contradiction: nothing can be said of its gang.
    let is_clear = |members: &Vec<usize>| members.iter().all(|&pod| !takers[pod].is_empty());
    for members in members(question).into_iter().filter(is_clear) {
        let mut groups = Groups::new(options);
        for &pod in &members {
            groups.join(&takers[pod]);
        }
        let mut asks = vec![(0_usize, false); options];
        let mut taken = vec![0_usize; options];
        for &pod in &members {
            if let Some(&first) = takers[pod].first() {
                let (count, accelerated) = &mut asks[groups.of(first)];
                *count += 1;
                *accelerated |= accelerates(&question.pods[pod].requests);
            }
            for &at in &takers[pod] {
                taken[at] += 1;
            }
        }
        let is_whole = |at: usize| taken[at] > 0 && taken[at] == asks[groups.of(at)].0;
        let is_dear = |at: usize| accelerates(shapes[at]) && !asks[groups.of(at)].1;
        for at in (0..options).filter(|&at| is_whole(at)) {
            // A gang that has a place elsewhere is no reason to buy accelerators.
            let has_cheap =
                || (0..options).any(|other| is_whole(other) && groups.are_one(at, other) && !is_dear(other));
            whole[at] += usize::from(!(is_dear(at) && has_cheap()));
        }
    }
    whole
}

/// The options that take each pod.
fn takers(question: &Question, shapes: &[&Resources]) -> Vec<Vec<usize>> {
    let mut takers = vec![Vec::new(); question.pods.len()];
    for (at, (option, shape)) in question.options.iter().zip(shapes).enumerate() {
        for &pod in &option.pods {
            if question.pods.get(pod).is_some_and(|pod| fits(&pod.requests, shape)) {
                takers[pod].push(at);
            }
        }
    }
    takers
}

/// The members of each gang.
fn members(question: &Question) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); question.gangs];
    for (at, pod) in question.pods.iter().enumerate() {
        if let Some(members) = pod.gang.and_then(|gang| members.get_mut(gang)) {
            members.push(at);
        }
    }
    members
}

/// Options that are linked by pods that more than one of them takes.
struct Groups(Vec<usize>);

impl Groups {
    fn new(options: usize) -> Self {
        Self((0..options).collect())
    }

    fn join(&mut self, options: &[usize]) {
        let Some((&first, others)) = options.split_first() else {
            return;
        };
        for &other in others {
            let (from, to) = (self.of(other), self.of(first));
            self.0[from] = to;
        }
    }

    /// The one that stands for the group of an option.
    fn of(&self, option: usize) -> usize {
        let mut at = option;
        while self.0[at] != at {
            at = self.0[at];
        }
        at
    }

    fn are_one(&self, one: usize, other: usize) -> bool {
        self.of(one) == self.of(other)
    }
}

/// Other resources may be missing in shapes that the autoscaler did not tell; it has looked at them.
fn fits(requests: &Resources, shape: &Resources) -> bool {
    requests.cpu_milli <= shape.cpu_milli && requests.memory_bytes <= shape.memory_bytes
}

fn accelerates(resources: &Resources) -> bool {
    let named = |name: &str| ACCELERATORS.iter().any(|known| name.starts_with(known));
    resources.extended.iter().any(|(name, &units)| units > 0 && named(name))
}

/// How much of the CPU and memory of the new nodes nobody asks for, both alike, in [`STEPS`] of all, rounded down.
fn waste(question: &Question, option: &Growth, shape: &Resources) -> u128 {
    let mut asked = Resources::default();
    for pod in option.pods.iter().filter_map(|&at| question.pods.get(at)) {
        asked.add(&pod.requests);
    }
    let nodes = u128::from(option.nodes);
    // A millionth is enough, and no product leaves 128 bits.
    let left = |asked: u64, offered: u64| {
        let offered = u128::from(offered) * nodes;
        1_000_000 - (u128::from(asked) * 1_000_000 / offered.max(1)).min(1_000_000)
    };
    let both = left(asked.cpu_milli, shape.cpu_milli) + left(asked.memory_bytes, shape.memory_bytes);
    both * STEPS / 2_000_000
}

#[cfg(test)]
mod tests;

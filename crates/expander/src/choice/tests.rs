use kompass_core::Resources;
use proptest::prelude::*;

use super::*;

fn pod(gang: Option<usize>, cpu_milli: u64, memory_mib: u64) -> Waiting {
    Waiting {
        gang,
        requests: Resources::from_mib(cpu_milli, memory_mib),
    }
}

fn growth(id: &str, nodes: u32, shape: Resources, pods: &[usize]) -> Growth {
    Growth {
        id: id.to_owned(),
        nodes,
        shape: Some(shape),
        pods: pods.to_vec(),
        price_micro: None,
        spot: false,
        headroom: 0,
    }
}

/// A node of 8 CPUs and 32 GiB.
fn node() -> Resources {
    Resources::from_mib(8_000, 32_768)
}

/// A driver and four executors that fill a node and a quarter.
fn gang(gang: usize) -> Vec<Waiting> {
    [
        vec![pod(Some(gang), 2_000, 8_192)],
        vec![pod(Some(gang), 2_000, 8_192); 4],
    ]
    .concat()
}

fn chosen(question: &Question) -> &str {
    &question.options[choose(question).unwrap().option].id
}

#[test]
fn a_group_that_takes_all_of_a_gang_wins_over_one_that_fits_a_part_better() {
    let question = Question {
        pods: gang(0),
        gangs: 1,
        options: vec![
            growth("part", 1, node(), &[0, 1, 2, 3]),
            growth("whole", 2, node(), &[0, 1, 2, 3, 4]),
        ],
    };
    assert_eq!(chosen(&question), "whole");
}

#[test]
fn members_that_are_larger_than_a_node_are_not_taken() {
    let small = Resources::from_mib(1_000, 4_096);
    let question = Question {
        pods: gang(0),
        gangs: 1,
        options: vec![
            growth("small", 10, small, &[0, 1, 2, 3, 4]),
            growth("wasteful", 9, node(), &[0, 1, 2, 3, 4]),
        ],
    };
    assert_eq!(chosen(&question), "wasteful");
}

#[test]
fn the_most_gangs_count_before_the_waste() {
    let pods = [gang(0), gang(1)].concat();
    let question = Question {
        gangs: 2,
        options: vec![
            growth("one", 2, node(), &[0, 1, 2, 3, 4]),
            growth("both", 6, node(), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ],
        pods,
    };
    assert_eq!(choose(&question).unwrap().gangs, 2);
    assert_eq!(chosen(&question), "both");
}

#[test]
fn the_least_waste_wins_and_among_equals_the_cheapest() {
    let all = [0, 1, 2, 3, 4];
    let mut question = Question {
        pods: gang(0),
        gangs: 1,
        options: vec![
            growth("b", 2, node(), &all),
            growth("c", 2, Resources::from_mib(7_990, 32_700), &all),
            growth("a-big", 1, Resources::from_mib(64_000, 262_144), &all),
        ],
    };
    assert_eq!(chosen(&question), "b", "by name, while nothing else is known");
    question.options[2].price_micro = Some(1);
    question.options[1].price_micro = Some(100);
    assert_eq!(chosen(&question), "b", "no price is no reason");
    (question.options[0].price_micro, question.options[1].price_micro) = (Some(100), None);
    assert_eq!(chosen(&question), "b", "no price is not the lowest");
    question.options[1].price_micro = Some(100);
    question.options[0].price_micro = Some(101);
    assert_eq!(chosen(&question), "c", "the cheaper one of the same size");
    question.options[0].price_micro = Some(100);
    question.options[1].spot = true;
    assert_eq!(chosen(&question), "b", "on-demand for the same price");
    question.options[1].spot = false;
    question.options[1].headroom = 1;
    assert_eq!(chosen(&question), "c", "what holds nodes starts them sooner");
}

#[test]
fn accelerators_are_bought_for_those_who_ask_for_them() {
    let dear = node().with("nvidia.com/gpu", 4);
    let mut pods = [gang(0), gang(1)].concat();
    pods[5].requests = pods[5].requests.clone().with("nvidia.com/gpu", 1);
    let all: Vec<usize> = (0..10).collect();
    let mut question = Question {
        pods,
        gangs: 2,
        options: vec![growth("gpu", 3, dear, &all), growth("plain", 2, node(), &all[..5])],
    };
    // One gang each; without this rule both would be put on GPUs.
    question.options[0].nodes = 9;
    assert_eq!((chosen(&question), choose(&question).unwrap().gangs), ("plain", 1));
    question.options.pop();
    assert_eq!(choose(&question).unwrap().gangs, 2, "there is nothing else");
}

#[test]
fn a_driver_that_has_to_go_elsewhere_is_no_reason_to_split_its_executors() {
    // On-demand for the driver alone; the executors on either of two spot groups, of which one has no room for all.
    let question = Question {
        pods: gang(0),
        gangs: 1,
        options: vec![
            growth("driver", 9, node(), &[0]),
            growth("part", 1, node(), &[1, 2, 3]),
            growth("all", 2, node(), &[1, 2, 3, 4]),
        ],
    };
    assert_eq!(chosen(&question), "all");
}

#[test]
fn a_member_that_nothing_takes_leaves_its_gang_undecided() {
    let mut question = Question {
        pods: gang(0),
        gangs: 1,
        options: vec![growth("a", 2, node(), &[0, 1, 2, 3, 4])],
    };
    assert_eq!(chosen(&question), "a");
    question.pods[4].requests = Resources::from_mib(9_000, 1);
    assert_eq!(choose(&question), Err(Undecided::NoneWhole));
}

#[test]
fn what_says_nothing_decides_nothing() {
    let alone = Question {
        pods: vec![pod(None, 1, 1)],
        gangs: 0,
        options: vec![growth("a", 1, node(), &[0])],
    };
    assert_eq!(choose(&alone), Err(Undecided::NoGang));
    let mut parts = Question {
        pods: gang(0),
        gangs: 1,
        options: vec![growth("a", 1, node(), &[0, 1, 2]), growth("b", 1, node(), &[2, 3, 4])],
    };
    assert_eq!(choose(&parts), Err(Undecided::NoneWhole));
    parts.options[1].pods = vec![0, 1, 2, 3, 4];
    assert_eq!(chosen(&parts), "b");
    for broken in [
        Growth {
            shape: None,
            ..parts.options[0].clone()
        },
        Growth {
            shape: Some(Resources::default()),
            ..parts.options[0].clone()
        },
        Growth {
            nodes: 0,
            ..parts.options[0].clone()
        },
    ] {
        parts.options[0] = broken;
        assert_eq!(choose(&parts), Err(Undecided::UnknownShape));
    }
}

fn questions() -> impl Strategy<Value = Question> {
    let resources = || {
        (any::<bool>(), 0_u64..5, 0_u64..5, any::<u64>()).prop_map(|(sane, cpu, memory, wild)| {
            if sane {
                Resources::from_mib(cpu * 1_000, memory * 4_096)
            } else {
                Resources::new(wild, wild.rotate_left(32))
            }
        })
    };
    let pods = prop::collection::vec((prop::option::of(0_usize..4), resources()), 0..20);
    let option = (
        any::<u32>(),
        prop::option::weighted(0.95, resources()),
        prop::collection::vec(0_usize..20, 0..20),
        prop::option::weighted(0.9, any::<u64>()),
        any::<bool>(),
        0_u32..3,
    );
    (pods, prop::collection::vec(option, 0..6)).prop_map(|(pods, options)| Question {
        pods: pods
            .into_iter()
            .map(|(gang, requests)| Waiting { gang, requests })
            .collect(),
        gangs: 4,
        options: options
            .into_iter()
            .enumerate()
            .map(|(at, (nodes, shape, mut pods, price_micro, spot, headroom))| {
                pods.sort_unstable();
                pods.dedup();
                Growth {
                    id: format!("g{at}"),
                    nodes,
                    shape,
                    pods,
                    price_micro,
                    spot,
                    headroom,
                }
            })
            .collect(),
    })
}

proptest! {
    #[test]
    fn the_order_of_options_makes_no_difference(question in questions(), turn in 0_usize..6, reverse in any::<bool>()) {
        let mut other = question.clone();
        if reverse {
            other.options.reverse();
        }
        if !other.options.is_empty() {
            let turn = turn % other.options.len();
            other.options.rotate_left(turn);
        }
        let id = |question: &Question| choose(question).map(|chosen| question.options[chosen.option].id.clone());
        prop_assert_eq!(id(&question), id(&other));
    }

    #[test]
    fn what_is_chosen_takes_a_gang_whole_and_no_other_takes_more(question in questions()) {
        let Ok(chosen) = choose(&question) else { return Ok(()) };
        // All members that any option takes together with one that this one takes.
        let whole = |option: &Growth| {
            let is_whole = |&gang: &usize| {
                let takes = |option: &Growth| -> Vec<usize> {
                    let shape = option.shape.as_ref().unwrap();
                    let is_taken = |pod: &Waiting| pod.gang == Some(gang) && fits(&pod.requests, shape);
                    let listed = option.pods.iter().copied();
                    listed.filter(|&at| question.pods.get(at).is_some_and(is_taken)).collect()
                };
                let own = takes(option);
                let mut linked = own.clone();
                for _ in 0..question.options.len() {
                    for other in question.options.iter().map(takes) {
                        if other.iter().any(|at| linked.contains(at)) {
                            linked.extend(other);
                        }
                    }
                }
                !own.is_empty() && linked.iter().all(|at| own.contains(at))
            };
            (0..question.gangs).filter(is_whole).count()
        };
        prop_assert!(chosen.gangs > 0);
        prop_assert!(whole(&question.options[chosen.option]) >= chosen.gangs);
        prop_assert!(chosen.waste_percent <= 100);
    }
}

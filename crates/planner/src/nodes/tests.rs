use super::*;
use crate::terms::KindId;

/// A little less than as many steps of memory as of CPU.
const MEMORY_PER_MILLI: u64 = (512 << 20) / 250;

fn node(name: &str, cpu_milli: u64) -> Node {
    Node {
        name: name.into(),
        allocatable: Resources::new(cpu_milli, cpu_milli * MEMORY_PER_MILLI),
        max_pods: 10,
        ready: true,
        ..Node::default()
    }
}

#[test]
fn the_bound_is_never_below_what_fits_and_follows_every_change() {
    let mut nodes = Nodes::default();
    let mut sizes = vec![];
    for (number, cpu_milli) in [0, 249, 250, 1_000, 1_001, 7_999, 63_749, 63_750, 200_000]
        .into_iter()
        .enumerate()
    {
        nodes.apply(node(&format!("n{number}"), cpu_milli));
        sizes.push(cpu_milli);
    }
    let fits = |sizes: &[u64], cpu_milli: u64| sizes.iter().map(|free| free / cpu_milli).sum::<u64>();
    let asks = |cpu_milli| {
        let memory_bytes = cpu_milli * MEMORY_PER_MILLI;
        [
            Resources::new(cpu_milli, 1),
            Resources::new(0, memory_bytes),
            Resources::new(cpu_milli, memory_bytes),
        ]
    };
    let check = |nodes: &Nodes, sizes: &[u64]| {
        for cpu_milli in [1, 100, 249, 250, 999, 1_000, 4_000, 64_000, 300_000] {
            for ask in asks(cpu_milli) {
                assert!(nodes.may_take(&ask, fits(sizes, cpu_milli)), "{cpu_milli}");
            }
        }
        assert!(nodes.may_take(&Resources::new(0, 0), u64::MAX));
    };
    let none_for = |nodes: &Nodes, cpu_milli, count| asks(cpu_milli).iter().all(|ask| !nodes.may_take(ask, count));
    check(&nodes, &sizes);
    // Half a step above is told apart: none of these has room for 300 CPUs, and one has for 100.
    assert!(none_for(&nodes, 300_000, 1) && none_for(&nodes, 150_000, 2));

    let big = nodes.find("n8").unwrap();
    let requests = Resources::new(199_000, 199_000 * MEMORY_PER_MILLI);
    let charge = Charge {
        requests: &requests,
        ports: &[],
        owner: Owner::Ours,
        kind: KindId::NONE,
    };
    nodes.charge(big, charge, 1);
    sizes[8] = 1_000;
    check(&nodes, &sizes);
    assert!(none_for(&nodes, 150_000, 1));
    nodes.discharge(big, charge, 1);
    nodes.remove("n8");
    assert!(none_for(&nodes, 150_000, 1));
    assert_eq!(nodes.spreads.cpu.beyond, 63_750);
    assert_eq!(nodes.spreads.memory.beyond, 0);
}

use super::*;
use crate::terms::KindId;

fn node(name: &str, cpu_milli: u64) -> Node {
    Node {
        name: name.into(),
        allocatable: Resources::from_mib(cpu_milli, 1_024),
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
    let check = |nodes: &Nodes, sizes: &[u64]| {
        for cpu_milli in [1, 100, 249, 250, 999, 1_000, 4_000, 64_000, 300_000] {
            let most = nodes.takes_at_most(&Resources::new(cpu_milli, 1));
            assert!(most >= fits(sizes, cpu_milli), "{cpu_milli}: {most}");
        }
        assert_eq!(nodes.takes_at_most(&Resources::new(0, 1)), u64::MAX);
    };
    check(&nodes, &sizes);
    // Half a step above is told apart: none of these has room for 300 CPUs, and one has for 100.
    assert_eq!(nodes.takes_at_most(&Resources::new(300_000, 1)), 0);
    assert_eq!(nodes.takes_at_most(&Resources::new(150_000, 1)), 1);

    let big = nodes.find("n8").unwrap();
    let requests = Resources::new(199_000, 1);
    let charge = Charge {
        requests: &requests,
        ports: &[],
        owner: Owner::Ours,
        kind: KindId::NONE,
    };
    nodes.charge(big, charge, 1);
    sizes[8] = 1_000;
    check(&nodes, &sizes);
    assert_eq!(nodes.takes_at_most(&Resources::new(150_000, 1)), 0);
    nodes.discharge(big, charge, 1);
    nodes.remove("n8");
    assert_eq!(nodes.takes_at_most(&Resources::new(150_000, 1)), 0);
    assert_eq!(nodes.spread.beyond_milli, 63_750);
}

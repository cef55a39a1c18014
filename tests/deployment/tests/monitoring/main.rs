//! What the chart brings for Prometheus and Grafana: rules with their runbooks, dashboards.

#![cfg(test)]

mod dashboards;
mod metrics;
mod promql;
mod rules;

/// The chart's copies are what `generate` makes of the operator's module.
#[test]
fn the_crds_are_those_of_the_operator() {
    for (path, text) in kompass_deployment_tests::crds::generate().unwrap() {
        let shipped = std::fs::read_to_string(&path).unwrap_or_default();
        let path = path.display();
        assert!(
            shipped == text,
            "{path} is out of date: run `cargo run -p kompass-deployment-tests --bin generate`"
        );
    }
}

//! What network policies let in: each port that a pod has, by its name, and nothing that it has not.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::helm::{everything, render, text};

/// Whether a policy is about pods with these labels.
fn selects(policy: &Value, labels: &Value) -> bool {
    let selector = &policy["spec"]["podSelector"];
    assert!(selector["matchExpressions"].is_null(), "{policy:#}");
    let wanted = selector["matchLabels"].as_object();
    wanted.is_some_and(|wanted| wanted.iter().all(|(name, value)| labels[name] == *value))
}

#[tokio::test]
async fn every_port_of_a_pod_has_a_rule_by_its_name() {
    let everything = everything();
    let bundled = "monitoring.bundled.enabled=true,predictor.node.cpuMilli=4000,predictor.node.memoryMib=16384";
    let sets = [
        vec![],
        vec!["--set", bundled],
        vec!["--values", text(&everything).unwrap()],
    ];
    let mut seen = BTreeSet::new();
    for set in sets {
        let objects = render(&set).await.unwrap();
        let of = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
        for deployment in of("Deployment") {
            let name = deployment["metadata"]["name"].as_str().unwrap();
            let template = &deployment["spec"]["template"];
            let policies = of("NetworkPolicy").filter(|policy| selects(policy, &template["metadata"]["labels"]));
            let rules: Vec<_> = policies
                .flat_map(|policy| policy["spec"]["ingress"].as_array().unwrap())
                .collect();
            // What comes along for monitoring has no policy: all reaches it.
            if rules.is_empty() {
                continue;
            }
            let let_in: BTreeSet<_> = rules
                .iter()
                .flat_map(|rule| rule["ports"].as_array().unwrap())
                .map(|port| port["port"].as_str().unwrap())
                .collect();
            // What listens on loopback is no port of a container.
            let has: BTreeSet<_> = (template["spec"]["containers"].as_array().unwrap().iter())
                .flat_map(|container| container["ports"].as_array().into_iter().flatten())
                .map(|port| port["name"].as_str().unwrap())
                .collect();
            assert_eq!(let_in, has, "{name} with {set:?}");
            seen.insert(name.to_owned());
        }
    }
    let parts = ["kompass-admission-webhook", "kompass-predictor", "kompass-scheduler"];
    assert_eq!(seen, parts.map(str::to_owned).into(), "each part has a policy");
}

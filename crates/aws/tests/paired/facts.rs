use std::collections::BTreeSet;

use kompass_aws::facts::{Facts, Reader, file};
use kompass_local_cluster::moto::{Fault, GroupSpec};

use crate::stand_in::{REGION, StandIn};

const HOUR_MS: i64 = 3_600_000;

fn types(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn price_list(name: &str, dollars: &str) -> Fault {
    let entry = format!(
        r#"{{"product":{{"attributes":{{"instanceType":"{name}"}}}},"terms":{{"OnDemand":{{"A":{{"priceDimensions":{{
        "B":{{"unit":"Hrs","pricePerUnit":{{"USD":"{dollars}"}}}}}}}}}}}}}}"#
    );
    let answer = serde_json::json!({ "FormatVersion": "aws_v1", "PriceList": [entry] });
    Fault::Answer(200, answer.to_string())
}

#[tokio::test]
async fn machines_and_prices_are_told_and_kept() {
    let aws = StandIn::start(1).await;
    let reader = Reader::new(&aws.config().await);
    let wanted = types(&["m6i.2xlarge", "m6g.large", "no.such"]);
    aws.layer
        .inject("GetProducts", price_list("m6i.2xlarge", "0.4600000000"), 1);
    let mut facts = Facts::default().in_region(REGION);
    reader.refresh(&mut facts, &wanted, 0).await;
    let told = |name: &str| {
        let machine = &facts.types.value[name];
        (machine.cpu_milli, machine.memory_mib, machine.architecture.as_str())
    };
    assert_eq!(told("m6i.2xlarge"), (8_000, 32_768, "amd64"));
    assert_eq!(told("m6g.large"), (2_000, 8_192, "arm64"));
    assert!(!facts.types.value.contains_key("no.such"));
    assert_eq!(
        facts.zones.value,
        types(&["eu-central-1a", "eu-central-1b", "eu-central-1c"])
    );
    assert_eq!(facts.price("m6i.2xlarge", false, &[]), Some(460_000));
    // moto's only spot price.
    assert_eq!(
        facts.price("m6i.2xlarge", true, &["eu-central-1a".to_owned()]),
        Some(10)
    );
    let asked = aws.layer.log();
    let prices = asked.iter().find(|request| request.operation == "GetProducts").unwrap();
    for part in ["m6g.large,m6i.2xlarge,no.such", "ANY_OF", REGION, "Shared"] {
        assert!(prices.get("body").unwrap().contains(part), "{prices:?}");
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("facts.json");
    file::write(&path, &facts).unwrap();
    let mut kept = file::read(&path).unwrap();
    assert_eq!(kept, facts);
    // Nothing is due, so nothing is asked.
    reader.refresh(&mut kept, &types(&["m6i.2xlarge"]), 1).await;
    assert_eq!(aws.layer.log().len(), asked.len());
    // AWS is gone: what is known stays, with its age.
    aws.layer.inject("*", Fault::HangUp, usize::MAX);
    reader.refresh(&mut kept, &types(&["m6i.2xlarge"]), 7 * HOUR_MS).await;
    assert_eq!(
        (&kept.types.value, &kept.spot.value),
        (&facts.types.value, &facts.spot.value)
    );
    assert_eq!(kept.types.age_ms(7 * HOUR_MS), Some(7 * HOUR_MS));
    for trouble in [
        &kept.types.trouble,
        &kept.zones.trouble,
        &kept.on_demand.trouble,
        &kept.spot.trouble,
    ] {
        assert!(
            trouble
                .as_ref()
                .is_some_and(|text| text.contains("failed to reach AWS")),
            "{trouble:?}"
        );
    }
}

#[tokio::test]
async fn launches_of_instances_are_told() {
    let aws = StandIn::start(1).await;
    aws.layer.create_group(&GroupSpec::new("g", 3, 5)).await.unwrap();
    let group = aws.client().await.group("g").await.unwrap();
    let mut ids: BTreeSet<String> = group.instances.into_iter().map(|instance| instance.id).collect();
    let known = ids.clone();
    ids.insert("i-00000000000000000".to_owned());
    let reader = Reader::new(&aws.config().await);
    let launches = reader.launches(&ids).await.unwrap();
    assert_eq!(launches.keys().cloned().collect::<BTreeSet<_>>(), known);
    for launch_ms in launches.values() {
        assert!((aws.layer.now_ms() - launch_ms).abs() < HOUR_MS, "{launch_ms}");
    }
    aws.layer.inject("DescribeInstances", Fault::LIMIT_EXCEEDED, usize::MAX);
    assert_eq!(reader.launches(&ids).await.unwrap_err().kind(), "throttled");
}

use std::collections::BTreeMap;

use kompass_floors::Write;
use kompass_floors::group::{FLOOR_TAG, RELEASE_ACTION};
use kompass_local_cluster::moto::{GroupSpec, Moment, Next};

use crate::stand_in::{StandIn, tag, writes};

#[tokio::test]
async fn a_floor_is_raised_and_given_back_without_a_desired_capacity() {
    let aws = StandIn::start(1).await;
    let spec = GroupSpec {
        types: &["m6i.2xlarge", "m5.2xlarge"],
        spot: true,
        ..GroupSpec::new("g", 1, 5)
    };
    aws.layer.create_group(&spec).await.unwrap();
    let client = aws.client().await;
    let before = client.group("g").await.unwrap();
    let start_ms = aws.in_s(3_600);
    for write in &writes(start_ms)[..3] {
        client.write("g", write).await.unwrap();
    }
    let raised = client.group("g").await.unwrap();
    // AWS follows with the desired capacity by itself.
    assert_eq!(
        (raised.min, raised.max, raised.desired, raised.in_service()),
        (4, 5, 4, 4)
    );
    assert_eq!(raised.tags[FLOOR_TAG].parse(), Ok(tag()));
    assert_eq!((raised.spot, &raised.instance_types), (true, &before.instance_types));
    let company = client.company("g").await.unwrap();
    let [action] = &company.actions[..] else {
        panic!("{company:?}")
    };
    assert_eq!(
        (action.name.as_str(), action.start_ms),
        (RELEASE_ACTION, Some(start_ms))
    );
    assert_eq!(
        (action.min, action.max, action.desired, action.recurs),
        (Some(1), None, None, false)
    );
    // By the same name it moves.
    let later = Write::Schedule {
        base: 1,
        start_ms: start_ms + 60_000,
    };
    client.write("g", &later).await.unwrap();
    let company = client.company("g").await.unwrap();
    assert_eq!(company.actions[0].start_ms, Some(start_ms + 60_000));

    for write in [Write::SetMin(1), Write::Unschedule, Write::Untag] {
        client.write("g", &write).await.unwrap();
    }
    // As good if it is done already.
    client.write("g", &Write::Unschedule).await.unwrap();
    client.write("g", &Write::Untag).await.unwrap();
    let after = client.group("g").await.unwrap();
    assert_eq!((after.min, after.desired, after.tags), (1, 4, before.tags));
    assert_eq!(client.company("g").await.unwrap().actions, []);

    let log = aws.layer.log();
    for request in &log {
        assert!(
            !request.parameters.keys().any(|name| name.contains("Desired")),
            "{request:?}"
        );
        assert!(request.operation != "SetDesiredCapacity", "{request:?}");
    }
    let sent = |operation: &str| -> Vec<&BTreeMap<String, String>> {
        let requests = log.iter().filter(|request| request.operation == operation);
        requests.map(|request| &request.parameters).collect()
    };
    let expected = [("AutoScalingGroupName", "g"), ("MinSize", "4")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(sent("UpdateAutoScalingGroup")[0], &BTreeMap::from(expected));
    let names: Vec<&str> = sent("PutScheduledUpdateGroupAction")[0]
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        names,
        ["AutoScalingGroupName", "MinSize", "ScheduledActionName", "StartTime"]
    );
    assert_eq!(
        sent("CreateOrUpdateTags")[0]["Tags.member.1.PropagateAtLaunch"],
        "false"
    );
}

#[tokio::test]
async fn a_write_that_is_cut_off_is_done_wholly_or_not_at_all() {
    let aws = StandIn::start(1).await;
    aws.layer.create_group(&GroupSpec::new("g", 1, 5)).await.unwrap();
    let client = aws.client().await;
    for (moment, min) in [(Moment::Before, 1), (Moment::After, 4)] {
        aws.layer.clear_log();
        aws.layer.hook(move |request, at| {
            if request.write == Some(1) && at == moment {
                Next::HangUp
            } else {
                Next::Go
            }
        });
        let error = client.write("g", &Write::SetMin(4)).await.unwrap_err();
        assert!(error.is_uncertain(), "{error}");
        assert_eq!(client.group("g").await.unwrap().min, min, "{moment:?}");
        // It is not repeated behind our back.
        assert_eq!(aws.asked("UpdateAutoScalingGroup"), 1);
    }
}

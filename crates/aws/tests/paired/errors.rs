use std::time::{Duration, Instant};

use kompass_aws::rate::Rate;
use kompass_aws::{Autoscaling, Config, Options, WRITE_LIMIT};
use kompass_floors::Write;
use kompass_local_cluster::moto::{Fault, GroupSpec};

use crate::stand_in::{StandIn, writes};

#[tokio::test]
async fn each_refusal_says_what_it_is() {
    let aws = StandIn::start(1).await;
    aws.layer.create_group(&GroupSpec::new("g", 1, 5)).await.unwrap();
    let client = aws.client().await;
    let start_ms = aws.in_s(3_600);
    for write in writes(start_ms) {
        for (fault, kind) in [
            (Fault::THROTTLED, "throttled"),
            (Fault::LIMIT_EXCEEDED, "throttled"),
            (Fault::EXPIRED, "credentials"),
            (Fault::DENIED, "denied"),
            (Fault::Refuse(400, "ResourceContention", "pending"), "unavailable"),
            (Fault::Answer(502, "<html>".to_owned()), "unavailable"),
            (Fault::HangUp, "unreachable"),
        ] {
            aws.layer.clear_log();
            aws.layer.inject("*", fault.clone(), 1);
            let error = client.write("g", &write).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{write} {fault:?}: {error:?}");
            // Nothing is sent twice.
            assert_eq!(aws.layer.log().len(), 1, "{write} {fault:?}");
        }
        let error = client.write("gone", &write).await;
        match write {
            Write::Unschedule => error.unwrap(),
            _ => assert_eq!(error.unwrap_err().kind(), "group_gone", "{write}"),
        }
    }
    let denied = {
        aws.layer.inject("*", Fault::DENIED, 1);
        client.groups().await.unwrap_err().to_string()
    };
    assert!(denied.contains("autoscaling:DescribeAutoScalingGroups"), "{denied}");
    // AWS says nothing when a write was done; what it says of groups must be understood.
    aws.layer.inject("*", Fault::Answer(200, "{}".to_owned()), 1);
    assert_eq!(client.groups().await.unwrap_err().kind(), "malformed");
    assert_eq!(client.group("gone").await.unwrap_err().kind(), "group_gone");
    let error = client.write("g", &Write::SetMin(6)).await.unwrap_err();
    assert!(
        error.kind() == "refused" && error.to_string().contains("Max bound, 5"),
        "{error}"
    );
}

#[tokio::test]
async fn start_times_are_unique_and_to_come() {
    let aws = StandIn::start(1).await;
    aws.layer.create_group(&GroupSpec::new("g", 1, 5)).await.unwrap();
    let client = aws.client().await;
    let start_ms = aws.in_s(3_600);
    let start = jiff::Timestamp::from_millisecond(start_ms).unwrap().to_string();
    let others = [
        ("AutoScalingGroupName", "g"),
        ("ScheduledActionName", "others"),
        ("StartTime", start.as_str()),
        ("MinSize", "0"),
    ];
    aws.layer.call("PutScheduledUpdateGroupAction", &others).await.unwrap();
    let schedule = |start_ms| Write::Schedule { base: 1, start_ms };
    let taken = client.write("g", &schedule(start_ms)).await.unwrap_err();
    assert_eq!(taken.kind(), "start_time_taken", "{taken}");
    let past = client.write("g", &schedule(aws.in_s(-60))).await.unwrap_err();
    assert_eq!(past.kind(), "start_time_past", "{past}");
    client.write("g", &schedule(start_ms + 60_000)).await.unwrap();
}

#[tokio::test]
async fn a_read_is_tried_again() {
    let aws = StandIn::start(1).await;
    aws.layer.create_group(&GroupSpec::new("g", 1, 5)).await.unwrap();
    let client = aws.client().await;
    aws.layer.inject("DescribeAutoScalingGroups", Fault::THROTTLED, 1);
    aws.layer.inject("DescribeAutoScalingGroups", Fault::HangUp, 1);
    assert_eq!(client.groups().await.unwrap().len(), 1);
    assert_eq!(*aws.outcomes.lock().unwrap(), ["throttled", "unreachable", "ok", "ok"]);
    aws.layer
        .inject("DescribeAutoScalingGroups", Fault::THROTTLED, usize::MAX);
    assert_eq!(client.groups().await.unwrap_err().kind(), "throttled");
    assert_eq!(aws.outcomes.lock().unwrap()[4..], ["throttled"; 3]);
    // What won't go well is not.
    aws.layer.heal();
    aws.layer
        .inject("DescribeAutoScalingGroups", Fault::EXPIRED, usize::MAX);
    assert_eq!(client.groups().await.unwrap_err().kind(), "credentials");
    assert_eq!(aws.outcomes.lock().unwrap().len(), 8);
}

#[tokio::test]
async fn a_write_ends_in_its_time_and_may_have_been_done() {
    let aws = StandIn::start(1).await;
    aws.layer.create_group(&GroupSpec::new("g", 1, 5)).await.unwrap();
    let client = aws.client().await;
    for (fault, min) in [(Fault::Silence, 1), (Fault::DoneInSilence, 4)] {
        aws.layer.inject("UpdateAutoScalingGroup", fault.clone(), 1);
        let asked = Instant::now();
        let error = client.write("g", &Write::SetMin(4)).await.unwrap_err();
        assert!(error.kind() == "timed_out" && error.is_uncertain(), "{error}");
        // Less than the 5 s that a lost lease lasts longer for others.
        assert!(
            asked.elapsed() < WRITE_LIMIT + Duration::from_millis(900),
            "{:?}",
            asked.elapsed()
        );
        assert_eq!(client.group("g").await.unwrap().min, min, "{fault:?}");
    }
    assert_eq!(aws.asked("UpdateAutoScalingGroup"), 2);
}

#[tokio::test]
async fn too_many_requests_of_our_own_are_not_sent() {
    let aws = StandIn::start(1).await;
    aws.layer.create_group(&GroupSpec::new("g", 1, 5)).await.unwrap();
    let slow = Options {
        rate: Rate {
            burst: 2,
            per_minute: 1,
        },
        ..aws.options()
    };
    let client = Autoscaling::new(&Config::load(slow).await.unwrap());
    client.write("g", &Write::SetMin(2)).await.unwrap();
    client.write("g", &Write::SetMin(1)).await.unwrap();
    let error = client.write("g", &Write::SetMin(2)).await.unwrap_err();
    assert!(error.kind() == "busy" && !error.is_uncertain(), "{error}");
    assert_eq!(aws.layer.log().len(), 2);
}

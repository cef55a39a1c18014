use std::time::Duration;

use kompass_aws::Autoscaling;
use kompass_floors::Write;
use kompass_floors::group::RELEASE_ACTION;
use kompass_local_cluster::moto::{GroupSpec, LATE_MAX_MS};

use crate::stand_in::StandIn;

async fn raise(aws: &StandIn, client: &Autoscaling, group: &str) -> i64 {
    aws.layer.create_group(&GroupSpec::new(group, 1, 5)).await.unwrap();
    let start_ms = aws.in_s(300);
    let schedule = Write::Schedule { base: 1, start_ms };
    for write in [schedule, Write::SetMin(4)] {
        client.write(group, &write).await.unwrap();
    }
    start_ms
}

#[tokio::test]
async fn aws_takes_a_floor_away_within_two_minutes_of_its_end() {
    let aws = StandIn::start(7).await;
    let client = aws.client().await;
    // All have the same action by name and start.
    for number in 0..20 {
        let group = format!("g{number}");
        let start_ms = raise(&aws, &client, &group).await;
        aws.layer.advance(Duration::from_secs(290)).await.unwrap();
        assert_eq!(client.group(&group).await.unwrap().min, 4);
        aws.layer.advance(Duration::from_secs(10 + 120)).await.unwrap();
        let released = client.group(&group).await.unwrap();
        assert_eq!((released.min, released.max, released.desired), (1, 5, 4));
        assert_eq!(client.company(&group).await.unwrap().actions, []);
        let ran = aws.layer.ran().pop().unwrap();
        assert_eq!(
            (ran.group, ran.start_ms, ran.min, ran.skipped),
            (group, start_ms, Some(1), false)
        );
        assert!(
            (0..=LATE_MAX_MS).contains(&(ran.at_ms - start_ms)),
            "{}",
            ran.at_ms - start_ms
        );
    }
    let late: Vec<i64> = aws.layer.ran().iter().map(|ran| ran.at_ms - ran.start_ms).collect();
    let (first, last) = (late.iter().min().unwrap(), late.iter().max().unwrap());
    assert!(*first < 30_000 && *last > 90_000, "{late:?}");
}

#[tokio::test]
async fn what_was_renewed_is_not_taken_away() {
    let aws = StandIn::start(1).await;
    let client = aws.client().await;
    raise(&aws, &client, "g").await;
    aws.layer.advance(Duration::from_secs(200)).await.unwrap();
    let start_ms = aws.in_s(300);
    client.write("g", &Write::Schedule { base: 1, start_ms }).await.unwrap();
    aws.layer.advance(Duration::from_secs(290)).await.unwrap();
    assert_eq!(client.group("g").await.unwrap().min, 4);
    client.write("g", &Write::Unschedule).await.unwrap();
    aws.layer.advance(Duration::from_hours(24)).await.unwrap();
    assert_eq!(client.group("g").await.unwrap().min, 4);
    assert_eq!(aws.layer.ran(), []);
}

#[tokio::test]
async fn suspended_actions_don_t_run() {
    let aws = StandIn::start(1).await;
    let client = aws.client().await;
    raise(&aws, &client, "g").await;
    let suspend = [
        ("AutoScalingGroupName", "g"),
        ("ScalingProcesses.member.1", "ScheduledActions"),
    ];
    aws.layer.call("SuspendProcesses", &suspend).await.unwrap();
    aws.layer.advance(Duration::from_mins(10)).await.unwrap();
    assert_eq!(client.group("g").await.unwrap().min, 4);
    let ran = aws.layer.ran();
    assert!(
        ran.len() == 1 && ran[0].skipped && ran[0].name == RELEASE_ACTION,
        "{ran:?}"
    );
}

#[tokio::test]
async fn others_keep_to_the_rules_of_aws() {
    let aws = StandIn::start(1).await;
    let client = aws.client().await;
    raise(&aws, &client, "g").await;
    let desired = |size| [("AutoScalingGroupName", "g"), ("DesiredCapacity", size)];
    for size in ["3", "6"] {
        let error = aws.layer.call("SetDesiredCapacity", &desired(size)).await.unwrap_err();
        assert!(error.to_string().contains("ValidationError"), "{error}");
    }
    aws.layer.call("SetDesiredCapacity", &desired("5")).await.unwrap();
    for _ in 0..2 {
        let group = client.group("g").await.unwrap();
        let take = [
            ("InstanceId", group.instances[0].id.as_str()),
            ("ShouldDecrementDesiredCapacity", "true"),
        ];
        let taken = aws.layer.call("TerminateInstanceInAutoScalingGroup", &take).await;
        assert_eq!(taken.is_ok(), group.desired == 5, "{taken:?}");
    }
    assert_eq!(client.group("g").await.unwrap().instances.len(), 4);
}

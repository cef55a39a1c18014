use kompass_aws::{Autoscaling, Config, Options};
use kompass_floors::Group;
use kompass_local_cluster::moto::GroupSpec;

use crate::stand_in::StandIn;

#[tokio::test]
async fn groups_are_told_as_they_are() {
    let aws = StandIn::start(1).await;
    let spot = GroupSpec {
        types: &["m5.2xlarge", "m6i.2xlarge"],
        spot: true,
        tags: &[("team", "data & co")],
        ..GroupSpec::new("spot", 2, 9)
    };
    let others = GroupSpec {
        managed: false,
        ..GroupSpec::new("others", 0, 1)
    };
    for spec in [&GroupSpec::new("plain", 1, 5), &spot, &others] {
        aws.layer.create_group(spec).await.unwrap();
    }
    let suspend = [
        ("AutoScalingGroupName", "plain"),
        ("ScalingProcesses.member.1", "ScheduledActions"),
    ];
    aws.layer.call("SuspendProcesses", &suspend).await.unwrap();
    aws.layer.fill_at_most("spot", 1);
    let client = aws.client().await;
    let groups = client.groups().await.unwrap();
    let [plain, spot] = &groups[..] else {
        panic!("{groups:?}")
    };
    assert_eq!(
        (plain.name.as_str(), plain.min, plain.max, plain.desired),
        ("plain", 1, 5, 1)
    );
    assert_eq!((plain.instances.len(), plain.in_service()), (1, 1));
    assert!(plain.suspended.contains("ScheduledActions") && !plain.spot);
    assert_eq!(plain.instance_types, ["m6i.2xlarge"]);
    assert_eq!(plain.zones, ["eu-central-1a", "eu-central-1b"]);
    assert_eq!(plain.tags["kompass.dev/managed"], "true");
    assert_eq!((spot.min, spot.max, spot.desired), (2, 9, 2));
    assert_eq!((spot.instances.len(), spot.in_service()), (2, 1));
    assert!(spot.spot && spot.suspended.is_empty());
    assert_eq!(spot.instance_types, ["m5.2xlarge", "m6i.2xlarge"]);
    assert_eq!(spot.tags["team"], "data & co");
    assert_eq!(&client.group("plain").await.unwrap(), plain);
    assert_eq!(client.group("others").await.unwrap().max, 1);
    // A version of a launch template is asked for once.
    assert_eq!(aws.asked("DescribeLaunchTemplateVersions"), 2);
}

#[tokio::test]
async fn all_pages_are_read() {
    let aws = StandIn::start(1).await;
    let names: Vec<String> = (0..103).map(|number| format!("group-{number:03}")).collect();
    for name in &names {
        aws.layer.create_group(&GroupSpec::new(name, 0, 1)).await.unwrap();
    }
    let sorted = |groups: Vec<Group>| -> Vec<String> {
        let mut names: Vec<String> = groups.into_iter().map(|group| group.name).collect();
        names.sort();
        names
    };
    let client = aws.client().await;
    assert_eq!(sorted(client.groups().await.unwrap()), names);
    assert_eq!(aws.asked("DescribeAutoScalingGroups"), 2);
    let small = Options {
        page: 25,
        ..aws.options()
    };
    let client = Autoscaling::new(&Config::load(small).await.unwrap());
    assert_eq!(sorted(client.groups().await.unwrap()), names);
    assert_eq!(aws.asked("DescribeAutoScalingGroups"), 2 + 5);
}

#[tokio::test]
async fn who_else_changes_a_group_is_told() {
    let aws = StandIn::start(1).await;
    for name in ["a", "b"] {
        aws.layer.create_group(&GroupSpec::new(name, 1, 5)).await.unwrap();
    }
    let action = [
        ("AutoScalingGroupName", "a"),
        ("ScheduledActionName", "weekend"),
        ("StartTime", "2100-01-01T00:00:00Z"),
        ("Recurrence", "0 0 * * 6"),
        ("MaxSize", "3"),
        ("DesiredCapacity", "0"),
    ];
    aws.layer.call("PutScheduledUpdateGroupAction", &action).await.unwrap();
    let policy = [
        ("AutoScalingGroupName", "a"),
        ("PolicyName", "cpu"),
        ("PolicyType", "SimpleScaling"),
        ("AdjustmentType", "ChangeInCapacity"),
        ("ScalingAdjustment", "1"),
    ];
    aws.layer.call("PutScalingPolicy", &policy).await.unwrap();
    let client = aws.client().await;
    let company = client.company("a").await.unwrap();
    let [weekend] = &company.actions[..] else {
        panic!("{company:?}")
    };
    assert_eq!((weekend.name.as_str(), weekend.recurs), ("weekend", true));
    assert_eq!((weekend.min, weekend.max, weekend.desired), (None, Some(3), Some(0)));
    assert_eq!(weekend.start_ms, Some(4_102_444_800_000));
    assert_eq!(company.policies, ["cpu"]);
    assert_eq!(client.company("b").await.unwrap(), kompass_floors::Company::default());
}

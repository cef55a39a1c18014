//! The policies of the roles, as they come out of Terraform. What the predictor's own calls make of its policy is tested
//! where these calls are (`crates/aws/tests/paired/policy.rs`).

use std::collections::{BTreeMap, BTreeSet};

use kompass_local_cluster::moto::{Ask, Policy};
use serde_json::Value;

/// What cluster-autoscaler calls for groups with a launch template whose types are named, and for managed groups.
const READS: [&str; 7] = [
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeAutoScalingInstances",
    "autoscaling:DescribeScalingActivities",
    "autoscaling:DescribeTags",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeLaunchTemplateVersions",
    "eks:DescribeNodegroup",
];
const WRITES: [&str; 2] = [
    "autoscaling:SetDesiredCapacity",
    "autoscaling:TerminateInstanceInAutoScalingGroup",
];

/// Looks at the policies of all resources.
pub(crate) fn of_the_state(resources: &[&Value]) {
    let of = |role: &str| {
        let found = resources
            .iter()
            .find(|resource| resource["type"] == "aws_iam_role_policy" && resource["values"]["name"] == role);
        let found = found.unwrap_or_else(|| panic!("no policy of {role}"));
        Policy::read(found["values"]["policy"].as_str().unwrap()).unwrap()
    };
    autoscaler(&of("spark-eu-eu-central-1-cluster-autoscaler"));
    predictor(&of("spark-eu-eu-central-1-predictor"));
}

fn ask(action: &str, cluster: &str, managed: bool) -> Ask {
    let group = "arn:aws:autoscaling:eu-central-1:123456789012:autoScalingGroup:0-1:autoScalingGroupName/g";
    let mut tags = vec![
        ("k8s.io/cluster-autoscaler/enabled".to_owned(), "true"),
        (format!("k8s.io/cluster-autoscaler/{cluster}"), "owned"),
    ];
    if managed {
        tags.push(("kompass.dev/managed".to_owned(), "true"));
    }
    let context = tags
        .into_iter()
        .map(|(key, value)| (format!("autoscaling:ResourceTag/{key}"), vec![value.to_owned()]));
    Ask {
        action: action.to_owned(),
        resource: group.to_owned(),
        context: context.collect(),
    }
}

fn autoscaler(policy: &Policy) {
    let called: BTreeSet<&str> = READS.into_iter().chain(WRITES).collect();
    assert_eq!(policy.actions(), called);
    for action in WRITES {
        assert!(policy.allows(&ask(action, "spark-eu", false)).is_some(), "{action}");
        assert!(
            policy.allows(&ask(action, "other", false)).is_none(),
            "{action}: another cluster"
        );
    }
    for action in [
        "autoscaling:UpdateAutoScalingGroup",
        "autoscaling:CreateOrUpdateTags",
        "ec2:RunInstances",
    ] {
        assert!(policy.allows(&ask(action, "spark-eu", true)).is_none(), "{action}");
    }
    let managed = |cluster: &str| Ask {
        action: "eks:DescribeNodegroup".to_owned(),
        resource: format!("arn:aws:eks:eu-central-1:123456789012:nodegroup/{cluster}/system-1/a"),
        context: BTreeMap::new(),
    };
    assert!(policy.allows(&managed("spark-eu")).is_some());
    assert!(policy.allows(&managed("other")).is_none());
}

fn predictor(policy: &Policy) {
    assert!(
        policy
            .allows(&ask("autoscaling:UpdateAutoScalingGroup", "spark-eu", true))
            .is_some()
    );
    for (cluster, managed) in [("spark-eu", false), ("other", true)] {
        let asked = ask("autoscaling:UpdateAutoScalingGroup", cluster, managed);
        assert!(policy.allows(&asked).is_none(), "{cluster} {managed}");
    }
    for action in WRITES {
        assert!(policy.allows(&ask(action, "spark-eu", true)).is_none(), "{action}");
    }
}

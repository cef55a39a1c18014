//! The IAM policy that `terraform/` gives the predictor, beside the calls that the code really makes: each is allowed, and
//! nothing is allowed that is never called.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use kompass_aws::facts::{Facts, Reader};
use kompass_aws::operation::Operation;
use kompass_local_cluster::moto::{Ask, GroupSpec, Moment, Next, Policy, Request};

use crate::stand_in::{REGION, StandIn, writes};

const CLUSTER: &str = "spark-eu";
const OWNED: (&str, &str) = ("k8s.io/cluster-autoscaler/spark-eu", "owned");
const MANAGED: (&str, &str) = ("kompass.dev/managed", "true");

/// The policy as Terraform fills it in.
fn policy() -> Policy {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../terraform/policies/predictor.json.tftpl");
    let mut text = std::fs::read_to_string(file).unwrap();
    for (name, value) in [
        ("partition", "aws"),
        ("region", REGION),
        ("account", "123456789012"),
        ("cluster", CLUSTER),
    ] {
        text = text.replace(&format!("${{{name}}}"), value);
    }
    assert!(!text.contains("${"), "{text}");
    Policy::read(&text).unwrap()
}

fn group_arn(region: &str, group: &str) -> String {
    format!("arn:aws:autoscaling:{region}:123456789012:autoScalingGroup:0-1-2:autoScalingGroupName/{group}")
}

/// What AWS would ask its policies about a request, by the tags of groups.
fn ask(request: &Request, tags: &BTreeMap<&str, Vec<(&str, &str)>>) -> Ask {
    let operation = Operation::ALL
        .into_iter()
        .find(|known| known.name() == request.operation);
    let mut asked = Ask {
        action: operation.map_or_else(|| format!("unknown:{}", request.operation), Operation::action),
        resource: "*".to_owned(),
        ..Ask::default()
    };
    // Reads are about no resource.
    if request.write.is_some() {
        let group = request.group().unwrap();
        asked.resource = group_arn(REGION, group);
        for (key, value) in tags.get(group).into_iter().flatten() {
            let key = format!("autoscaling:ResourceTag/{key}");
            asked.context.insert(key, vec![(*value).to_owned()]);
        }
        let keys = request.parameters.iter();
        let keys = keys.filter(|(name, _)| name.starts_with("Tags.member.") && name.ends_with(".Key"));
        let keys: Vec<String> = keys.map(|(_, key)| key.clone()).collect();
        if !keys.is_empty() {
            asked.context.insert("aws:TagKeys".to_owned(), keys);
        }
    }
    asked
}

#[tokio::test]
async fn every_call_is_allowed_and_nothing_else() {
    let aws = StandIn::start(1).await;
    let spec = GroupSpec {
        tags: &[OWNED],
        ..GroupSpec::new("g", 1, 5)
    };
    aws.layer.create_group(&spec).await.unwrap();
    let policy = policy();
    let tags = BTreeMap::from([("g", vec![OWNED, MANAGED])]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    // A call that is not allowed is cut off before it is done, so that what the code makes of it fails here, too.
    let (judge, judged) = (policy.clone(), Arc::clone(&seen));
    aws.layer.hook(move |request, moment| {
        if moment == Moment::After {
            return Next::Go;
        }
        let asked = ask(request, &tags);
        let sid = judge.allows(&asked).map(str::to_owned);
        let next = if sid.is_some() { Next::Go } else { Next::HangUp };
        judged.lock().unwrap().push((asked, sid));
        next
    });

    let client = aws.client().await;
    let groups = client.groups().await.unwrap();
    let [group] = &groups[..] else {
        panic!("there is one group")
    };
    client.company("g").await.unwrap();
    for write in &writes(aws.in_s(3_600)) {
        client.write("g", write).await.unwrap();
    }
    let reader = Reader::new(&aws.config().await);
    let mut facts = Facts::default().in_region(REGION);
    reader
        .refresh(&mut facts, &BTreeSet::from(["m6i.2xlarge".to_owned()]), 0)
        .await;
    let instances = group.instances.iter().map(|instance| instance.id.clone()).collect();
    reader.launches(&instances).await.unwrap();

    let seen = seen.lock().unwrap();
    for (asked, sid) in seen.iter() {
        assert!(sid.is_some(), "denied: {asked:?}");
    }
    let called: BTreeSet<&str> = seen.iter().map(|(asked, _)| asked.action.as_str()).collect();
    assert_eq!(called, policy.actions(), "what is allowed is what is called");
    let all: BTreeSet<String> = Operation::ALL.into_iter().map(Operation::action).collect();
    let all: BTreeSet<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(called, all, "and all that the code has");
    let used: BTreeSet<&str> = seen.iter().filter_map(|(_, sid)| sid.as_deref()).collect();
    assert_eq!(used, BTreeSet::from(["HoldFloors", "MarkFloors", "Read"]));
}

#[test]
fn what_must_never_be_done_is_denied() {
    let policy = policy();
    let context = |tags: &[(&str, &str)], keys: &[&str]| {
        let mut context: BTreeMap<String, Vec<String>> = tags
            .iter()
            .map(|(key, value)| (format!("autoscaling:ResourceTag/{key}"), vec![(*value).to_owned()]))
            .collect();
        if !keys.is_empty() {
            let keys = keys.iter().map(|key| (*key).to_owned()).collect();
            context.insert("aws:TagKeys".to_owned(), keys);
        }
        context
    };
    let decide = |action: &str, region: &str, tags: &[(&str, &str)], keys: &[&str]| {
        let asked = Ask {
            action: format!("autoscaling:{action}"),
            resource: group_arn(region, "g"),
            context: context(tags, keys),
        };
        policy.allows(&asked).is_some()
    };
    let own = [OWNED, MANAGED];
    let writes: [(&str, &[&str]); 5] = [
        ("UpdateAutoScalingGroup", &[]),
        ("PutScheduledUpdateGroupAction", &[]),
        ("DeleteScheduledAction", &[]),
        ("CreateOrUpdateTags", &["kompass.dev/floor"]),
        ("DeleteTags", &["kompass.dev/floor"]),
    ];
    for (action, keys) in writes {
        assert!(decide(action, REGION, &own, keys), "{action}");
        assert!(!decide(action, REGION, &[OWNED], keys), "{action}: not managed");
        assert!(
            !decide(action, REGION, &[OWNED, (MANAGED.0, "false")], keys),
            "{action}"
        );
        assert!(
            !decide(action, REGION, &[MANAGED], keys),
            "{action}: of another cluster"
        );
        let other = ("k8s.io/cluster-autoscaler/other", "owned");
        assert!(
            !decide(action, REGION, &[other, MANAGED], keys),
            "{action}: of another cluster"
        );
        assert!(!decide(action, "us-east-1", &own, keys), "{action}: another region");
    }
    for action in ["CreateOrUpdateTags", "DeleteTags"] {
        let keys = ["kompass.dev/floor", "kompass.dev/managed"];
        assert!(!decide(action, REGION, &own, &keys), "{action}: other tags");
    }
    for action in [
        "SetDesiredCapacity",
        "TerminateInstanceInAutoScalingGroup",
        "CreateAutoScalingGroup",
        "DeleteAutoScalingGroup",
        "SuspendProcesses",
        "PutScalingPolicy",
        "StartInstanceRefresh",
    ] {
        assert!(!decide(action, REGION, &own, &[]), "{action}");
    }
}

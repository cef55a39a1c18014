//! The whole life on a stand-in for AWS: apply, a second plan that is empty, a floor of the predictor, destroy.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use kompass_deployment_tests::{project, succeed};
use kompass_local_cluster::moto::{self, Layer, Policy, Server};
use kompass_local_cluster::progress::Progress;
use serde_json::Value;
use tokio::process::Command;

use crate::eks::Eks;
use crate::policies;
use kompass_deployment_tests::terraform::Workspace;

pub(crate) const REGION: &str = "eu-central-1";
const GROUP: &str = "spark-eu-spark-on-demand-eu-central-1a";
const ADMIN: &str = "arn:aws:iam::123456789012:role/admin";

/// What asks moto of what is there; it has the client of AWS beside it.
const LOOK: &str = r#"
import boto3, json, sys
def client(name):
    return boto3.client(name, region_name="eu-central-1", endpoint_url=sys.argv[1],
                        aws_access_key_id="test", aws_secret_access_key="test")
tagged = [entry["ResourceARN"] for page in client("resourcegroupstaggingapi").get_paginator("get_resources").paginate(
    TagFilters=[{"Key": "kompass.dev/cluster", "Values": ["spark-eu"]}]) for entry in page["ResourceTagMappingList"]]
keys = client("kms")
gone = [arn for arn in tagged if ":key/" in arn
        and keys.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"] == "PendingDeletion"]
ec2 = client("ec2")
# AWS tells of a NAT gateway for an hour after its end.
nat = ec2.describe_nat_gateways()["NatGateways"]
gone += [arn for arn in tagged for gateway in nat
         if arn.endswith("/" + gateway["NatGatewayId"]) and gateway["State"] == "deleted"]
# As of instances.
ended = [instance["InstanceId"] for page in ec2.get_paginator("describe_instances").paginate()
         for reservation in page["Reservations"] for instance in reservation["Instances"]
         if instance["State"]["Name"] == "terminated"]
gone += [arn for arn in tagged if arn.split("/")[-1] in ended]
mine = [{"Name": "tag:kompass.dev/cluster", "Values": ["spark-eu"]}]
print(json.dumps({
    "tagged": [arn for arn in tagged if arn not in gone], "keys_to_be_deleted": len([arn for arn in gone if ":key/" in arn]),
    "vpcs": len(ec2.describe_vpcs(Filters=mine)["Vpcs"]),
    "interfaces": len(ec2.describe_network_interfaces(Filters=mine)["NetworkInterfaces"]),
    "addresses": len(ec2.describe_addresses(Filters=mine)["Addresses"]),
    "roles": [role["RoleName"] for role in client("iam").list_roles()["Roles"]],
    "groups": [g["AutoScalingGroupName"] for g in client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]],
    "clusters": client("eks").list_clusters()["clusters"],
    "repositories": [r["repositoryName"] for r in client("ecr").describe_repositories()["repositories"]],
    "logs": [g["logGroupName"] for g in client("logs").describe_log_groups()["logGroups"]],
    "queues": client("sqs").list_queues().get("QueueUrls", []),
    "rules": [r["Name"] for r in client("events").list_rules()["Rules"]],
}))
"#;

/// Where the provider finds what would be AWS.
fn provider(moto: &str, eks: &str, autoscaling: &str) -> String {
    let services = ["ec2", "ecr", "events", "iam", "kms", "logs", "sqs", "ssm", "sts"];
    let mut text = format!(
        "provider \"aws\" {{\n  access_key = \"test\"\n  secret_key = \"test\"\n  skip_metadata_api_check = true\n  \
         skip_credentials_validation = true\n  endpoints {{\n    eks = \"{eks}\"\n    autoscaling = \"{autoscaling}\"\n"
    );
    for service in services {
        let _ = writeln!(text, "    {service} = \"http://{moto}\"");
    }
    text + "  }\n}\n"
}

/// moto forgets the descriptions of rules about other groups, and takes the tags of a launch template for a part of what it
/// launches.
const CLUSTER: &str = r#"
resource "aws_launch_template" "system" {
  lifecycle {
    ignore_changes = [tag_specifications]
  }
}

resource "aws_vpc_security_group_ingress_rule" "nodes_from_control_plane" {
  lifecycle {
    ignore_changes = [description]
  }
}

resource "aws_vpc_security_group_egress_rule" "control_plane_to_nodes" {
  lifecycle {
    ignore_changes = [description]
  }
}

resource "aws_vpc_security_group_ingress_rule" "control_plane_from_nodes" {
  lifecycle {
    ignore_changes = [description]
  }
}

resource "aws_vpc_security_group_ingress_rule" "nodes_from_nodes" {
  lifecycle {
    ignore_changes = [description]
  }
}
"#;

const SPARK_NODES: &str = r#"
resource "aws_launch_template" "this" {
  lifecycle {
    ignore_changes = [tag_specifications]
  }
}
"#;

/// What moto's gaps take: files beside those of `terraform/`.
pub(crate) const OVERRIDES: [(&str, &str); 2] = [
    ("modules/cluster/moto_override.tf", CLUSTER),
    ("modules/spark-nodes/moto_override.tf", SPARK_NODES),
];

pub(crate) struct Aws {
    pub(crate) server: Server,
    pub(crate) eks: Eks,
    /// Before EC2 Auto Scaling: it refuses what AWS refuses, and keeps the policy of a group that moto loses at an update.
    pub(crate) layer: Layer,
}

impl Aws {
    pub(crate) async fn start() -> Self {
        let server = Server::start_with_managed_policies(&Progress::lines()).await.unwrap();
        let eks = Eks::start(server.address()).await;
        let layer = Layer::start(&server, REGION, 1).await.unwrap();
        Self { server, eks, layer }
    }

    /// The copy of `terraform/` that takes it for AWS.
    async fn workspace(&self, variables: &str) -> Workspace {
        let workspace = Workspace::new().await.unwrap();
        let provider = provider(self.server.address(), &self.eks.url(), &self.layer.url());
        workspace.write("moto_override.tf", &provider).unwrap();
        for (file, text) in OVERRIDES {
            workspace.write(file, text).unwrap();
        }
        let always = format!("name = \"spark-eu\"\nregion = \"{REGION}\"\nzone_count = 2\n");
        workspace.write("terraform.tfvars", &(always + variables)).unwrap();
        workspace
    }

    pub(crate) async fn look(&self) -> Value {
        let program = moto::ensure(&Progress::lines()).await.unwrap();
        let url = format!("http://{}", self.server.address());
        let mut python = Command::new(program.with_file_name("python"));
        python.args(["-c", LOOK, &url]);
        let told = succeed(&mut python, Duration::from_mins(1)).await.unwrap();
        serde_json::from_str(&told).unwrap()
    }

    /// Nothing is there that Terraform has made, but so many keys at most that AWS lets be brought back for a week.
    pub(crate) async fn is_empty_but_for(&self, keys: u64) {
        let left = self.look().await;
        for (what, left) in left.as_object().unwrap() {
            match (what.as_str(), left) {
                ("keys_to_be_deleted", left) => assert!(left.as_u64().unwrap() <= keys, "{left} keys"),
                (_, Value::Array(left)) => assert!(left.is_empty(), "{what} remain: {left:?}"),
                (_, left) => assert_eq!(left.as_u64(), Some(0), "{what} remain"),
            }
        }
        assert_eq!(self.eks.objects(), []);
    }
}

const PLAN: [&str; 4] = ["plan", "-detailed-exitcode", "-input=false", "-no-color"];
const APPLY: [&str; 4] = ["apply", "-auto-approve", "-input=false", "-no-color"];
const DESTROY: [&str; 4] = ["destroy", "-auto-approve", "-input=false", "-no-color"];

async fn nothing_to_do(workspace: &Workspace) {
    let (code, text) = workspace.outcome(&PLAN).await.unwrap();
    assert_eq!(code, Some(0), "a second plan is not empty:\n{text}");
}

#[tokio::test]
async fn all_that_is_made_stays_as_it_is_beside_a_floor_and_goes_again() {
    let aws = Aws::start().await;
    let variables = format!("admin_arns = [\"{ADMIN}\"]\nspark_nodes = {{ ami_id = \"ami-12345678\" }}\n");
    let workspace = aws.workspace(&variables).await;
    workspace.terraform(&APPLY).await.unwrap();
    nothing_to_do(&workspace).await;

    let made = aws.look().await;
    assert_eq!(made["clusters"], serde_json::json!(["spark-eu"]));
    assert_eq!(made["repositories"].as_array().unwrap().len(), 5);
    // IAM's names are one set for all regions.
    let roles = made["roles"].as_array().unwrap();
    assert_eq!(roles.len(), 6, "{roles:?}");
    for role in roles {
        assert!(role.as_str().unwrap().starts_with("spark-eu-eu-central-1-"), "{role}");
    }
    let kinds: BTreeSet<String> = aws.eks.objects().into_iter().map(|(kind, _)| kind).collect();
    let all = [
        "access-entries",
        "access-policies",
        "addons",
        "pod-identity-associations",
    ];
    assert_eq!(kinds, all.map(str::to_owned).into());

    let state = workspace.terraform(&["show", "-json"]).await.unwrap();
    let state: Value = serde_json::from_str(&state).unwrap();
    let resources = resources(&state["values"]["root_module"]);
    policies::of_the_state(&resources);
    groups_are_such_as_an_autoscaler_needs(&resources);
    let output = |name: &str| state["values"]["outputs"][name]["value"].clone();
    assert_eq!(output("spark_group_names").as_array().unwrap().len(), 4);
    let values: Value = serde_saphyr::from_str(output("helm_values").as_str().unwrap()).unwrap();
    assert_eq!(values["image"]["registry"], output("registry"));
    let chart = std::fs::read_to_string(project().join("charts/kompass/values.yaml")).unwrap();
    are_known("", &values, &serde_saphyr::from_str(&chart).unwrap());

    // A floor as the predictor writes it, and what the autoscaler and AWS make of it: none of Terraform's business.
    let calls: [(&str, &[(&str, &str)]); 4] = [
        (
            "CreateOrUpdateTags",
            &[
                ("Tags.member.1.ResourceId", GROUP),
                ("Tags.member.1.ResourceType", "auto-scaling-group"),
                ("Tags.member.1.Key", "kompass.dev/floor"),
                ("Tags.member.1.Value", "3"),
                ("Tags.member.1.PropagateAtLaunch", "false"),
            ],
        ),
        (
            "PutScheduledUpdateGroupAction",
            &[
                ("AutoScalingGroupName", GROUP),
                ("ScheduledActionName", "kompass-release"),
                ("StartTime", "2099-01-01T00:00:00Z"),
                ("MinSize", "0"),
            ],
        ),
        (
            "UpdateAutoScalingGroup",
            &[("AutoScalingGroupName", GROUP), ("MinSize", "3")],
        ),
        (
            "SetDesiredCapacity",
            &[("AutoScalingGroupName", GROUP), ("DesiredCapacity", "5")],
        ),
    ];
    for (operation, parameters) in calls {
        aws.layer.call(operation, parameters).await.unwrap();
    }
    nothing_to_do(&workspace).await;

    workspace.terraform(&DESTROY).await.unwrap();
    assert_eq!(workspace.terraform(&["state", "list"]).await.unwrap(), "");
    aws.is_empty_but_for(1).await;
    // A second time there is nothing to destroy, and no error.
    workspace.terraform(&DESTROY).await.unwrap();
}

#[tokio::test]
async fn karpenter_and_roles_by_openid_connect_live_as_long() {
    let aws = Aws::start().await;
    let variables = "autoscaler = \"karpenter\"\nidentity = \"irsa\"\nnat = \"per-zone\"\nflow_logs = false\n";
    let workspace = aws.workspace(variables).await;
    workspace.terraform(&APPLY).await.unwrap();
    nothing_to_do(&workspace).await;
    let made = aws.look().await;
    assert_eq!(
        made["groups"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|group| group.as_str().unwrap().contains("spark-eu-spark"))
            .count(),
        0
    );
    assert_eq!(made["rules"].as_array().unwrap().len(), 4);
    let state = workspace.terraform(&["show", "-json"]).await.unwrap();
    let state: Value = serde_json::from_str(&state).unwrap();
    let all = resources(&state["values"]["root_module"]);
    let policy = all.iter().find(|resource| {
        resource["type"] == "aws_iam_role_policy" && resource["values"]["name"] == "spark-eu-eu-central-1-karpenter"
    });
    let policy = policy.expect("Karpenter's role has a policy");
    Policy::read(policy["values"]["policy"].as_str().unwrap()).unwrap();
    workspace.terraform(&DESTROY).await.unwrap();
    aws.is_empty_but_for(1).await;
}

/// Every value that Terraform tells is one that the chart has.
fn are_known(path: &str, told: &Value, known: &Value) {
    // Annotations have any name.
    if path.ends_with("Annotations") {
        return;
    }
    for (name, value) in told.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        assert!(known.get(name).is_some(), "the chart has no value {path}");
        are_known(&path, value, &known[name]);
    }
}

/// Every resource of a module and of those in it.
fn resources(module: &Value) -> Vec<&Value> {
    let own = module["resources"].as_array().into_iter().flatten();
    let inner = module["child_modules"].as_array().into_iter().flatten();
    own.chain(inner.flat_map(resources)).collect()
}

fn groups_are_such_as_an_autoscaler_needs(all: &[&Value]) {
    let groups: Vec<&Value> = all
        .iter()
        .filter(|resource| resource["type"] == "aws_autoscaling_group")
        .map(|resource| &resource["values"])
        .collect();
    assert_eq!(groups.len(), 4);
    for group in groups {
        let tags = group["tag"].as_array().unwrap();
        assert!(tags.len() <= 50, "AWS allows 50 tags");
        let tag = |key: &str| {
            let tag = tags.iter().find(|tag| tag["key"] == key);
            tag.unwrap_or_else(|| panic!("no tag {key}"))["value"].clone()
        };
        assert_eq!(tag("k8s.io/cluster-autoscaler/enabled"), "true");
        assert_eq!(tag("k8s.io/cluster-autoscaler/spark-eu"), "owned");
        assert_eq!(tag("kompass.dev/managed"), "true");
        assert_eq!(tag("kompass.dev/cluster"), "spark-eu");
        assert_eq!(
            tag("k8s.io/cluster-autoscaler/node-template/label/kompass.dev/node-group"),
            "spark"
        );
        assert_eq!(
            tag("k8s.io/cluster-autoscaler/node-template/resources/ephemeral-storage"),
            "100Gi"
        );
        // One zone each: the autoscaler can't choose among the zones of a group.
        assert_eq!(group["vpc_zone_identifier"].as_array().unwrap().len(), 1);
        let policy = &group["mixed_instances_policy"][0];
        let spot = group["name"].as_str().unwrap().contains("-spot-");
        let on_demand = &policy["instances_distribution"][0]["on_demand_percentage_above_base_capacity"];
        assert_eq!(on_demand.as_u64(), Some(if spot { 0 } else { 100 }));
    }
}

# What the files make of their inputs, with a provider that is made up.

mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = {
      names = ["eu-central-1a", "eu-central-1b", "eu-central-1c", "eu-central-1d"]
    }
  }

  mock_data "aws_caller_identity" {
    defaults = {
      account_id = "123456789012"
    }
  }

  mock_data "aws_partition" {
    defaults = {
      partition  = "aws"
      dns_suffix = "amazonaws.com"
    }
  }

  mock_resource "aws_iam_role" {
    defaults = {
      arn = "arn:aws:iam::123456789012:role/made-up"
    }
  }

  mock_resource "aws_iam_instance_profile" {
    defaults = {
      arn = "arn:aws:iam::123456789012:instance-profile/made-up"
    }
  }

  mock_resource "aws_iam_openid_connect_provider" {
    defaults = {
      arn = "arn:aws:iam::123456789012:oidc-provider/made-up"
    }
  }

  mock_resource "aws_kms_key" {
    defaults = {
      arn = "arn:aws:kms:eu-central-1:123456789012:key/made-up"
    }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = {
      arn = "arn:aws:logs:eu-central-1:123456789012:log-group:made-up"
    }
  }

  mock_resource "aws_sqs_queue" {
    defaults = {
      arn = "arn:aws:sqs:eu-central-1:123456789012:made-up"
    }
  }

  mock_resource "aws_cloudwatch_event_rule" {
    defaults = {
      arn = "arn:aws:events:eu-central-1:123456789012:rule/made-up"
    }
  }

  mock_resource "aws_launch_template" {
    defaults = {
      id             = "lt-0123456789abcdef0"
      latest_version = 1
    }
  }

  mock_resource "aws_eks_cluster" {
    defaults = {
      endpoint              = "https://made-up.eks.amazonaws.com"
      certificate_authority = [{ data = "bWFkZS11cA==" }]
      identity              = [{ oidc = [{ issuer = "https://oidc.eks.eu-central-1.amazonaws.com/id/MADEUP" }] }]
    }
  }
}

variables {
  region = "eu-central-1"
}

run "three_zones_two_capacity_types" {
  assert {
    condition     = length(output.spark_group_names) == 6
    error_message = "There must be a group for each of 3 zones and 2 capacity types."
  }

  assert {
    condition     = contains(output.spark_group_names, "kompass-spark-spot-eu-central-1c")
    error_message = "Groups are named by capacity type and zone."
  }

  assert {
    condition     = output.billed.nat_gateway == 1 && output.billed.interface_endpoint == 21
    error_message = "One NAT gateway, and 7 endpoints in 3 zones."
  }

  assert {
    condition     = output.billed.spark_nodes.min == 0 && output.billed.spark_nodes.max == 300
    error_message = "Nodes for Spark are counted over all groups."
  }

  # 0.10 + 0.045 + 21 x 0.01 + 0.005, nodes of 0.096 + 50 x 0.00011, and 300 of 0.384 + 100 x 0.00011.
  assert {
    condition     = output.price_per_hour == "0.56 to 119.27 USD"
    error_message = "The price is that of what is billed: ${output.price_per_hour}."
  }

  assert {
    condition     = output.node_needs == "on-demand:m6i.large:2:4 on-demand:m6i.2xlarge:0:150 spot:m6i.2xlarge:0:150"
    error_message = "Needs are told by capacity type: ${output.node_needs}."
  }

  assert {
    condition     = output.registry == "123456789012.dkr.ecr.eu-central-1.amazonaws.com/kompass"
    error_message = "The registry's prefix is that of the account, the region and the cluster."
  }

  assert {
    condition     = sort(keys(output.role_arns)) == tolist(["kompass/kompass-predictor", "kube-system/cluster-autoscaler"])
    error_message = "Predictor and cluster-autoscaler have roles."
  }

  assert {
    condition     = yamldecode(output.helm_values).predictor.serviceAccountAnnotations == {}
    error_message = "Pod Identity needs no annotation."
  }

  assert {
    condition     = yamldecode(output.helm_values).monitoring.bundled.prometheus.storage.size == ""
    error_message = "The cluster makes no disks, so Prometheus must not wait for one."
  }

  assert {
    condition     = contains(yamldecode(output.helm_values).predictor.extraArgs, "--autoscaler-tag=k8s.io/cluster-autoscaler/kompass")
    error_message = "The predictor must keep to the groups of this cluster."
  }

  # Without their definition it would wait for ever.
  assert {
    condition     = !strcontains(output.autoscaler_helm_values, "capacity-buffer") && yamldecode(output.autoscaler_helm_values).rbac.additionalRules == []
    error_message = "The autoscaler must not look for buffers: ${output.autoscaler_helm_values}."
  }

  assert {
    condition     = yamldecode(output.helm_values).predictor.actWith == "floors"
    error_message = "Groups have floors."
  }

  assert {
    condition     = data.aws_availability_zones.available.exclude_zone_ids == toset(["cac1-az3", "use1-az3", "usw1-az2"])
    error_message = "EKS refuses a control plane there."
  }

  assert {
    condition     = [module.predictor_role.name, module.autoscaler_role[0].name, module.cluster.spark_node_role.name] == ["kompass-eu-central-1-predictor", "kompass-eu-central-1-cluster-autoscaler", "kompass-eu-central-1-spark-node"]
    error_message = "Names of IAM must have the region in them: the same name in another region is another cluster's."
  }

  assert {
    condition     = yamldecode(output.autoscaler_helm_values).extraArgs.expander == "least-waste"
    error_message = "Without a certificate the autoscaler must not ask the expander."
  }

  assert {
    condition     = output.kubeconfig_command == "aws eks update-kubeconfig --region eu-central-1 --name kompass --alias kompass"
    error_message = "The command names region and cluster."
  }
}

run "the_expander_is_asked_where_its_certificate_is_known" {
  variables {
    expander_ca_secret = "kompass-expander-ca"
    kompass_namespace  = "batch"
  }

  assert {
    condition     = yamldecode(output.autoscaler_helm_values).extraArgs.expander == "grpc,least-waste"
    error_message = "The predictor is asked first."
  }

  assert {
    condition     = yamldecode(output.autoscaler_helm_values).extraArgs["grpc-expander-url"] == "kompass-predictor.batch:8893"
    error_message = "The expander is in KOMPASS's namespace."
  }

  assert {
    condition     = yamldecode(output.autoscaler_helm_values).extraVolumeSecrets.expander.name == "kompass-expander-ca"
    error_message = "Its certificate is mounted."
  }
}

run "cluster_autoscaler_keeps_nodes_for_buffers_where_it_is_told_to" {
  variables {
    capacity_buffers = true
    spark_nodes      = { taints = { workload = { value = "spark", effect = "NoSchedule" } } }
  }

  assert {
    condition = { for flag, value in yamldecode(output.autoscaler_helm_values).extraArgs : flag => tostring(value) } == {
      "balance-similar-node-groups"           = "false"
      "capacity-buffer-controller-enabled"    = "true"
      "capacity-buffer-pod-injection-enabled" = "true"
      "expander"                              = "least-waste"
      "kube-api-content-type"                 = "application/json"
      "skip-nodes-with-local-storage"         = "false"
      "skip-nodes-with-system-pods"           = "false"
    }
    error_message = "The autoscaler must look at buffers, and write their status as JSON."
  }

  # It waits for all that it lists before it does anything.
  assert {
    condition = alltrue([
      for kind in ["autoscaling.x-k8s.io/capacitybuffers", "/podtemplates", "/resourcequotas", "/replicationcontrollers", "apps/deployments", "apps/replicasets", "apps/statefulsets", "batch/jobs"] :
      anytrue([
        for rule in yamldecode(output.autoscaler_helm_values).rbac.additionalRules :
        contains(rule.apiGroups, split("/", kind)[0]) && contains(rule.resources, split("/", kind)[1]) && length(setsubtract(["get", "list", "watch"], rule.verbs)) == 0
      ])
    ])
    error_message = "The autoscaler must be allowed to read what buffers are made of."
  }

  assert {
    condition = anytrue([
      for rule in yamldecode(output.autoscaler_helm_values).rbac.additionalRules :
      rule.apiGroups == ["autoscaling.x-k8s.io"] && rule.resources == ["capacitybuffers/status"] && contains(rule.verbs, "update")
    ])
    error_message = "The autoscaler must be allowed to answer buffers."
  }

  assert {
    condition     = yamldecode(output.helm_values).predictor.actWith == "buffers"
    error_message = "The predictor holds nodes by what the autoscaler looks at."
  }

  assert {
    condition     = yamldecode(output.helm_values).predictor.extraArgs == ["--node-selector=kompass.dev/node-group=spark", "--toleration=workload=spark:NoSchedule"]
    error_message = "Buffers are for the groups of Spark."
  }
}

run "karpenter_has_a_queue_and_no_groups" {
  variables {
    autoscaler = "karpenter"
    identity   = "irsa"
  }

  assert {
    condition     = length(output.spark_group_names) == 0 && output.billed.spark_nodes == null
    error_message = "Karpenter buys the nodes for Spark itself."
  }

  assert {
    condition     = endswith(output.price_per_hour, "USD, and what Karpenter buys") && output.node_needs == "on-demand:m6i.large:2:4"
    error_message = "What Karpenter buys has no price before: ${output.price_per_hour}."
  }

  assert {
    condition     = yamldecode(output.karpenter_nodes).items[1].spec.template.spec.requirements[0].values == ["m6i.2xlarge", "m5.2xlarge", "m6a.2xlarge"] && yamldecode(output.karpenter_nodes).items[1].spec.limits.nodes == "300"
    error_message = "Karpenter buys what the groups would."
  }

  assert {
    condition     = yamldecode(output.karpenter_nodes).items[0].spec.amiSelectorTerms == [{ alias = "al2023@latest" }] && yamldecode(output.karpenter_nodes).items[0].spec.tags["kompass.dev/cluster"] == "kompass"
    error_message = "Karpenter's nodes have the tags that a teardown looks for."
  }

  assert {
    condition     = yamldecode(output.karpenter_nodes).items[1].spec.template.spec.terminationGracePeriod == "24h"
    error_message = "A drain must end, though drivers are not to be disrupted."
  }

  assert {
    condition     = alltrue([for object in yamldecode(output.karpenter_nodes).items : object.metadata.labels == { "kompass.dev/created-by" = "terraform" }])
    error_message = "By this label setup-kompass.sh knows what it may apply again."
  }

  assert {
    condition     = yamldecode(output.autoscaler_helm_values).settings.interruptionQueue == "kompass-karpenter"
    error_message = "Karpenter must hear of interruptions."
  }

  assert {
    condition     = yamldecode(output.helm_values).predictor.serviceAccountAnnotations["eks.amazonaws.com/role-arn"] == "arn:aws:iam::123456789012:role/made-up"
    error_message = "With OpenID Connect the service account names its role."
  }

  assert {
    condition     = yamldecode(output.helm_values).predictor.actWith == "buffers"
    error_message = "Karpenter takes buffers, not floors."
  }

  assert {
    condition     = module.karpenter[0].role_name == "kompass-eu-central-1-karpenter" && output.karpenter.instance_profile == "kompass-eu-central-1-spark-node"
    error_message = "Names of IAM must have the region in them."
  }
}

run "the_longest_name_fits" {
  command = plan

  variables {
    name   = "a-name-that-is-as-long-as-it-may"
    region = "eu-central-1"
  }

  assert {
    condition     = length(var.name) == 32 && length(module.autoscaler_role[0].name) == 64
    error_message = "A role may have 64 characters: ${module.autoscaler_role[0].name}."
  }
}

run "the_log_of_connections_is_written_by_a_role_of_the_region" {
  command = plan

  module {
    source = "./modules/network"
  }

  variables {
    name               = "kompass"
    iam_name           = "kompass-eu-central-1"
    cidr               = "10.0.0.0/16"
    zones              = ["eu-central-1a", "eu-central-1b"]
    nat                = "none"
    endpoints          = []
    flow_logs          = true
    log_retention_days = 30
    kms_key_arn        = "arn:aws:kms:eu-central-1:123456789012:key/made-up"
    karpenter          = false
  }

  assert {
    condition     = aws_iam_role.flow[0].name == "kompass-eu-central-1-flow-logs"
    error_message = "Names of IAM must have the region in them."
  }
}

run "two_zones_are_enough_where_there_are_two" {
  command = plan

  override_data {
    target = data.aws_availability_zones.available
    values = { names = ["us-west-1a", "us-west-1c"] }
  }

  variables {
    region     = "us-west-1"
    zone_count = 2
  }

  assert {
    condition     = output.billed.interface_endpoint == 14
    error_message = "Both zones are taken."
  }
}

run "networks_side_by_side_do_not_overlap" {
  command = plan

  variables {
    vpc_cidr     = "172.24.0.0/16"
    service_cidr = "172.20.0.0/14"
  }

  assert {
    condition     = length(module.network.private_subnet_ids) == 3
    error_message = "These networks are all right."
  }
}

run "a_vpc_may_have_other_addresses_than_services" {
  command = plan

  variables {
    vpc_cidr = "100.64.0.0/16"
  }

  assert {
    condition     = length(module.network.private_subnet_ids) == 3
    error_message = "AWS lets a VPC have these."
  }
}

run "groups_of_graviton" {
  command = plan

  variables {
    spark_nodes = { instance_types = ["m7g.2xlarge", "m6gd.2xlarge"], architecture = "arm64" }
  }

  assert {
    condition     = output.node_needs == "on-demand:m6i.large:2:4 on-demand:m7g.2xlarge:0:150 spot:m7g.2xlarge:0:150"
    error_message = "Groups may be of another architecture than the system's nodes: ${output.node_needs}."
  }
}

run "nothing_scales_without_an_autoscaler" {
  variables {
    autoscaler = "none"
    nat        = "none"
    zone_names = ["eu-central-1b", "eu-central-1c"]
    spark_nodes = {
      capacity_types = ["on-demand"]
      min_per_group  = 2
      max_per_group  = 2
      ami_id         = "ami-12345678"
    }
  }

  assert {
    condition     = output.autoscaler_helm_values == "" && length(output.role_arns) == 1
    error_message = "There is no autoscaler."
  }

  assert {
    condition     = output.spark_group_names == ["kompass-spark-on-demand-eu-central-1b", "kompass-spark-on-demand-eu-central-1c"]
    error_message = "Zones that are named are taken."
  }

  assert {
    condition     = output.billed.nat_gateway == 0 && output.billed.spark_nodes.min == 4
    error_message = "No way to the internet is paid for."
  }
}

# What the module of the cluster makes of its inputs, with a provider that is made up.

mock_provider "aws" {}

variables {
  name                = "kompass"
  iam_name            = "kompass-eu-central-1"
  partition           = "aws"
  kubernetes_version  = "1.35"
  support_type        = "STANDARD"
  vpc_id              = "vpc-0123456789abcdef0"
  subnet_ids          = ["subnet-1", "subnet-2"]
  service_cidr        = "172.20.0.0/16"
  public_access_cidrs = []
  admin_arns          = []
  creator_is_admin    = true
  logs                = ["api"]
  log_retention_days  = 30
  kms_key_arn         = "arn:aws:kms:eu-central-1:123456789012:key/made-up"
  webhook_ports       = {}
  irsa                = false
  node_tags           = {}
  karpenter           = false
  addons = {
    aws-ebs-csi-driver     = null
    cert-manager           = null
    coredns                = null
    eks-pod-identity-agent = null
    kube-proxy             = null
    metrics-server         = null
    vpc-cni                = null
  }
  system_nodes = {
    instance_types = ["m6i.large"]
    min            = 2
    max            = 4
    disk_gib       = 50
    architecture   = "x86_64"
  }
}

run "addons_with_pods_of_their_own_wait_for_nodes" {
  command = plan

  module {
    source = "./modules/cluster"
  }

  assert {
    condition     = join(" ", keys(aws_eks_addon.before_nodes)) == "eks-pod-identity-agent kube-proxy vpc-cni"
    error_message = "Before nodes there is what makes them ready."
  }

  assert {
    condition     = join(" ", keys(aws_eks_addon.after_nodes)) == "aws-ebs-csi-driver cert-manager coredns metrics-server"
    error_message = "A Deployment becomes active on a node only."
  }

  assert {
    condition     = aws_eks_node_group.system.ami_type == "AL2023_x86_64_STANDARD"
    error_message = "The image is that of the architecture."
  }
}

# The same name in another region is another cluster's.
run "names_of_iam_have_the_region" {
  command = plan

  module {
    source = "./modules/cluster"
  }

  assert {
    condition = concat([aws_iam_role.cluster.name], [for role in aws_iam_role.node : role.name], [aws_iam_instance_profile.spark.name]) == [
      "kompass-eu-central-1-cluster",
      "kompass-eu-central-1-spark-node",
      "kompass-eu-central-1-system-node",
      "kompass-eu-central-1-spark-node",
    ]
    error_message = "Roles and the instance profile must have the region in their names."
  }

  assert {
    condition     = aws_eks_cluster.this.name == "kompass"
    error_message = "What belongs to a region does without it."
  }
}

run "graviton_has_an_image_of_its_own" {
  command = plan

  module {
    source = "./modules/cluster"
  }

  variables {
    system_nodes = {
      instance_types = ["m7g.large"]
      min            = 2
      max            = 4
      disk_gib       = 50
      architecture   = "arm64"
    }
  }

  assert {
    condition     = aws_eks_node_group.system.ami_type == "AL2023_ARM_64_STANDARD"
    error_message = "The image is that of the architecture."
  }
}

run "the_control_plane_may_call_the_ports_it_is_told_and_kubelets" {
  command = plan

  module {
    source = "./modules/cluster"
  }

  variables {
    webhook_ports = { view = 8889, webhook = 8443 }
  }

  assert {
    condition = { for what, rule in aws_vpc_security_group_ingress_rule.nodes_from_control_plane : what => [rule.ip_protocol, rule.from_port, rule.to_port] } == {
      kubelet = ["tcp", 10250, 10250]
      view    = ["tcp", 8889, 8889]
      webhook = ["tcp", 8443, 8443]
    }
    error_message = "Nodes and pods must let these in, and nothing else of the control plane."
  }

  assert {
    condition = { for what, rule in aws_vpc_security_group_egress_rule.control_plane_to_nodes : what => [rule.ip_protocol, rule.from_port, rule.to_port] } == {
      kubelet = ["tcp", 10250, 10250]
      view    = ["tcp", 8889, 8889]
      webhook = ["tcp", 8443, 8443]
    }
    error_message = "The control plane must let these out, and nothing else."
  }
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_availability_zones" "available" {
  #checkov:skip=CKV_AWS_394:Only the first zone_count names are taken, and zone_names pins them for who wants that.
  state = "available"
  # EKS takes no subnet of a control plane there. Names of zones differ between accounts, these don't.
  exclude_zone_ids = ["cac1-az3", "use1-az3", "usw1-az2"]

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }

  lifecycle {
    postcondition {
      condition     = length(var.zone_names) > 0 || length(self.names) >= var.zone_count
      error_message = "${var.region} has ${length(self.names)} zones for this account that EKS takes (${join(", ", self.names)}), and zone_count is ${var.zone_count}: ${length(self.names) < 2 ? "choose another region" : "set zone_count = ${length(self.names)}"}."
    }

    postcondition {
      condition     = length(setsubtract(var.zone_names, self.names)) == 0
      error_message = "zone_names has ${join(", ", setsubtract(var.zone_names, self.names))}: no zone of ${var.region} for this account that EKS takes. It takes ${join(", ", self.names)}."
    }
  }
}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  # Less than zone_count in a destroy alone, which goes on where a zone is no longer there.
  all_zones = data.aws_availability_zones.available.names
  zones     = length(var.zone_names) > 0 ? var.zone_names : slice(local.all_zones, 0, min(var.zone_count, length(local.all_zones)))

  # IAM has one set of names for all regions of an account: without the region, a cluster of this name in another one would
  # fail in the middle of its apply.
  iam_name = "${var.name}-${var.region}"

  # What a teardown looks for: nothing with this tag may remain.
  tags = merge(var.tags, {
    "kompass.dev/cluster"    = var.name
    "kompass.dev/created-by" = "terraform"
  })

  # One map for the roles of pods, whichever way they get them.
  cluster_identity = {
    method       = var.identity
    cluster_name = module.cluster.name
    issuer       = module.cluster.issuer
    provider_arn = module.cluster.oidc_provider_arn
  }

  policy_values = {
    partition = local.partition
    region    = var.region
    account   = local.account
    cluster   = var.name
  }
}

module "encryption" {
  source = "./modules/encryption"

  name                 = var.name
  region               = var.region
  account              = local.account
  partition            = local.partition
  deletion_window_days = var.deletion_window_days
}

module "network" {
  source = "./modules/network"

  name               = var.name
  iam_name           = local.iam_name
  region             = var.region
  cidr               = var.vpc_cidr
  zones              = local.zones
  nat                = var.nat
  endpoints          = var.endpoints
  flow_logs          = var.flow_logs
  log_retention_days = var.log_retention_days
  kms_key_arn        = module.encryption.key_arn
  karpenter          = var.autoscaler == "karpenter"
}

module "registry" {
  source = "./modules/registry"

  name        = var.name
  images      = var.images
  kms_key_arn = module.encryption.key_arn
  delete_full = var.delete_images_on_destroy
}

module "cluster" {
  source = "./modules/cluster"

  name                = var.name
  iam_name            = local.iam_name
  partition           = local.partition
  kubernetes_version  = var.kubernetes_version
  support_type        = var.support_type
  vpc_id              = module.network.vpc_id
  subnet_ids          = values(module.network.private_subnet_ids)
  service_cidr        = var.service_cidr
  public_access_cidrs = var.public_access_cidrs
  admin_arns          = var.admin_arns
  creator_is_admin    = var.creator_is_admin
  logs                = var.control_plane_logs
  log_retention_days  = var.log_retention_days
  kms_key_arn         = module.encryption.key_arn
  addons              = var.addons
  webhook_ports       = var.webhook_ports
  irsa                = var.identity == "irsa"
  system_nodes        = var.system_nodes
  node_tags           = local.tags
  karpenter           = var.autoscaler == "karpenter"
}

module "spark_nodes" {
  source = "./modules/spark-nodes"
  count  = var.autoscaler == "karpenter" ? 0 : 1

  name               = var.name
  partition          = local.partition
  kubernetes_version = var.kubernetes_version
  cluster            = module.cluster.for_nodes
  subnet_ids         = module.network.private_subnet_ids
  security_group_id  = module.cluster.node_security_group_id
  nodes              = var.spark_nodes
  tags               = local.tags
}

module "karpenter" {
  source = "./modules/karpenter"
  count  = var.autoscaler == "karpenter" ? 1 : 0

  name          = var.name
  iam_name      = local.iam_name
  node_role     = module.cluster.spark_node_role
  policy_file   = "${path.module}/policies/karpenter.json.tftpl"
  policy_values = local.policy_values
  identity      = local.cluster_identity
}

module "predictor_role" {
  source = "./modules/workload-role"

  name            = "${local.iam_name}-predictor"
  description     = "KOMPASS's predictor: reads groups and prices, holds floors"
  namespace       = var.kompass_namespace
  service_account = "kompass-predictor"
  policy          = templatefile("${path.module}/policies/predictor.json.tftpl", local.policy_values)
  identity        = local.cluster_identity
}

module "autoscaler_role" {
  source = "./modules/workload-role"
  count  = var.autoscaler == "cluster-autoscaler" ? 1 : 0

  name            = "${local.iam_name}-cluster-autoscaler"
  description     = "cluster-autoscaler: sizes the groups of this cluster"
  namespace       = "kube-system"
  service_account = "cluster-autoscaler"
  policy          = templatefile("${path.module}/policies/cluster-autoscaler.json.tftpl", local.policy_values)
  identity        = local.cluster_identity
}

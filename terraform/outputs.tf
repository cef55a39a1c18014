output "cluster_name" {
  description = "Name of the EKS cluster."
  value       = module.cluster.name
}

output "cluster_endpoint" {
  description = "URL of the API server."
  value       = module.cluster.endpoint
}

output "kubeconfig_command" {
  description = "Command that lets kubectl and helm speak to the cluster."
  value       = "aws eks update-kubeconfig --region ${var.region} --name ${var.name} --alias ${var.name}"
}

output "registry" {
  description = "Prefix of the images, as the chart's `image.registry` takes it."
  value       = "${local.account}.dkr.ecr.${var.region}.${data.aws_partition.current.dns_suffix}/${var.name}"
}

output "ecr_urls" {
  description = "URL of each repository, by image."
  value       = module.registry.urls
}

output "role_arns" {
  description = "IAM roles of pods, by service account (`namespace/name`)."
  value = merge(
    { "${var.kompass_namespace}/kompass-predictor" = module.predictor_role.arn },
    { for role in module.autoscaler_role : "kube-system/cluster-autoscaler" => role.arn },
    { for karpenter in module.karpenter : "kube-system/karpenter" => karpenter.role_arn },
  )
}

output "spark_group_names" {
  description = "Names of the Auto Scaling groups for Spark; none with Karpenter."
  value       = flatten(module.spark_nodes[*].group_names)
}

output "helm_values" {
  description = "Values of the chart `charts/kompass`, as YAML: `terraform output -raw helm_values > kompass-values.yaml`."
  value       = yamlencode(local.helm_values)
}

output "autoscaler_helm_values" {
  description = "Values of the chart of cluster-autoscaler or Karpenter, as YAML; empty without an autoscaler."
  value       = var.autoscaler == "none" ? "" : yamlencode(local.autoscaler_helm_values[var.autoscaler])
}

output "karpenter" {
  description = "What Karpenter's EC2NodeClass needs: instance profile and discovery tag. Null without Karpenter."
  value = var.autoscaler == "karpenter" ? {
    instance_profile   = module.cluster.spark_node_role.instance_profile
    discovery_tag      = { "karpenter.sh/discovery" = var.name }
    interruption_queue = module.karpenter[0].queue_name
  } : null
}

output "karpenter_nodes" {
  description = "Karpenter's EC2NodeClass and NodePool for Spark, as YAML for `kubectl apply`; empty without Karpenter."
  value       = var.autoscaler == "karpenter" ? yamlencode(local.karpenter_nodes) : ""
}

output "billed" {
  description = "What is paid for by the hour, so that `prices.json` tells the price: counts by kind; nodes for Spark at least and at most."
  value       = local.billed
}

output "price_per_hour" {
  description = "What `billed` costs an hour by `prices.json`, at least and at most, as a text."
  value       = local.price_per_hour
}

output "node_needs" {
  description = "What quotas of nodes must leave room for: `KIND:TYPE:MIN:MAX` of the system's nodes and of those for Spark by capacity type, with spaces between."
  value       = local.node_needs
}

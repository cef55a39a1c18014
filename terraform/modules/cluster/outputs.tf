output "name" {
  description = "Name of the cluster. Known once it is there."
  value       = aws_eks_cluster.this.name
}

output "endpoint" {
  description = "URL of the API server."
  value       = aws_eks_cluster.this.endpoint
}

output "issuer" {
  description = "Issuer of the tokens of service accounts; empty without OpenID Connect."
  value       = var.irsa ? aws_eks_cluster.this.identity[0].oidc[0].issuer : ""
}

output "oidc_provider_arn" {
  description = "The provider of OpenID Connect; empty without it."
  value       = one(aws_iam_openid_connect_provider.this[*].arn) == null ? "" : one(aws_iam_openid_connect_provider.this[*].arn)
}

output "node_security_group_id" {
  description = "Security group of nodes and pods."
  value       = aws_security_group.nodes.id
}

output "for_nodes" {
  description = "What nodes need to join."
  value = {
    name                  = aws_eks_cluster.this.name
    endpoint              = aws_eks_cluster.this.endpoint
    certificate_authority = aws_eks_cluster.this.certificate_authority[0].data
    service_cidr          = var.service_cidr
    instance_profile_arn  = aws_iam_instance_profile.spark.arn
  }

  # Nodes that come earlier can't join; and they are gone before these are.
  depends_on = [
    aws_eks_access_entry.spark,
    aws_eks_addon.before_nodes,
    aws_iam_role_policy_attachment.node,
    aws_vpc_security_group_egress_rule.nodes,
    aws_vpc_security_group_ingress_rule.nodes_from_nodes,
  ]
}

output "spark_node_role" {
  description = "Role of nodes for Spark."
  value = {
    name             = aws_iam_role.node["spark"].name
    arn              = aws_iam_role.node["spark"].arn
    instance_profile = aws_iam_instance_profile.spark.name
  }
}

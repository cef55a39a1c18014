variable "name" {
  description = "Name of the cluster: prefix of names."
  type        = string
}

variable "iam_name" {
  description = "Prefix of IAM's names: the cluster's with its region."
  type        = string
}

variable "node_role" {
  description = "Role and instance profile of the nodes that Karpenter starts."
  type = object({
    name             = string
    arn              = string
    instance_profile = string
  })
}

variable "policy_file" {
  description = "Template of what Karpenter's controller may do."
  type        = string
}

variable "policy_values" {
  description = "Values of the template: partition, region, account and cluster."
  type        = map(string)
}

variable "identity" {
  description = "How pods get their roles."
  type = object({
    method       = string
    cluster_name = string
    issuer       = string
    provider_arn = string
  })
}

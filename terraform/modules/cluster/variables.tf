variable "name" {
  description = "Name of the cluster."
  type        = string
}

variable "iam_name" {
  description = "Prefix of IAM's names: the cluster's with its region."
  type        = string
}

variable "partition" {
  description = "AWS partition."
  type        = string
}

variable "kubernetes_version" {
  description = "Kubernetes version."
  type        = string
}

variable "support_type" {
  description = "STANDARD or EXTENDED."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of the control plane's interfaces and of the system's nodes."
  type        = list(string)
}

variable "service_cidr" {
  description = "Addresses of Services."
  type        = string
}

variable "public_access_cidrs" {
  description = "Networks that may reach the API server from the internet; empty: none."
  type        = list(string)
}

variable "admin_arns" {
  description = "IAM users and roles that administer the cluster."
  type        = set(string)
}

variable "creator_is_admin" {
  description = "Who creates the cluster administers it."
  type        = bool
}

variable "logs" {
  description = "Logs that are kept."
  type        = set(string)
}

variable "log_retention_days" {
  description = "Days that they are kept."
  type        = number
}

variable "kms_key_arn" {
  description = "Key of secrets and logs."
  type        = string
}

variable "addons" {
  description = "Add-ons and their versions."
  type        = map(string)
}

variable "webhook_ports" {
  description = "Ports of nodes and pods that the API server calls."
  type        = map(number)
}

variable "irsa" {
  description = "Pods get roles by OpenID Connect."
  type        = bool
}

variable "system_nodes" {
  description = "The managed node group."
  type = object({
    instance_types = list(string)
    min            = number
    max            = number
    disk_gib       = number
    architecture   = string
  })
}

variable "node_tags" {
  description = "Tags of instances and disks, which don't get the provider's."
  type        = map(string)
}

variable "karpenter" {
  description = "Tag the nodes' security group for Karpenter."
  type        = bool
}

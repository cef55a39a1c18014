variable "name" {
  description = "Name of the cluster."
  type        = string
}

variable "iam_name" {
  description = "Prefix of IAM's names: the cluster's with its region."
  type        = string
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "cidr" {
  description = "Addresses of the VPC."
  type        = string
}

variable "zones" {
  description = "Zones, 2 to 6."
  type        = list(string)
}

variable "nat" {
  description = "single, per-zone or none."
  type        = string
}

variable "endpoints" {
  description = "Services with an interface endpoint."
  type        = set(string)
}

variable "flow_logs" {
  description = "Keep a log of connections."
  type        = bool
}

variable "log_retention_days" {
  description = "Days that it is kept."
  type        = number
}

variable "kms_key_arn" {
  description = "Key that it is encrypted with."
  type        = string
}

variable "karpenter" {
  description = "Tag the subnets for Karpenter."
  type        = bool
}

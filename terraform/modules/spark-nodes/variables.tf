variable "name" {
  description = "Name of the cluster."
  type        = string
}

variable "partition" {
  description = "AWS partition."
  type        = string
}

variable "kubernetes_version" {
  description = "Kubernetes version of the nodes."
  type        = string
}

variable "cluster" {
  description = "What nodes need to join."
  type = object({
    name                  = string
    endpoint              = string
    certificate_authority = string
    service_cidr          = string
    instance_profile_arn  = string
  })
}

variable "subnet_ids" {
  description = "Subnets by zone: each has groups of its own."
  type        = map(string)
}

variable "security_group_id" {
  description = "Security group of nodes."
  type        = string
}

variable "nodes" {
  description = "What the nodes are like."
  type = object({
    instance_types = list(string)
    capacity_types = set(string)
    min_per_group  = number
    max_per_group  = number
    disk_gib       = number
    architecture   = string
    ami_id         = string
    local_ssd      = bool
    labels         = map(string)
    taints = map(object({
      value  = string
      effect = string
    }))
  })
}

variable "tags" {
  description = "Tags of groups, instances and disks, which don't get the provider's."
  type        = map(string)
}

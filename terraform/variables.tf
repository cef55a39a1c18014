variable "name" {
  description = "Name of the EKS cluster, and prefix of all that is created. A second cluster in the same account and region needs another one. Roles and instance profiles, whose names IAM keeps for all regions, have the region behind it."
  type        = string
  default     = "kompass"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}[a-z0-9]$", var.name))
    error_message = "name must be 2 to 32 lower-case letters, digits and dashes, begin with a letter and not end with a dash."
  }

  # IAM's longest name, of a role that may come by a change of `autoscaler`: 64 is all that it may have.
  validation {
    condition     = length("${var.name}-${var.region}-cluster-autoscaler") <= 64
    error_message = "name must have at most ${64 - length("-${var.region}-cluster-autoscaler")} characters in ${var.region}: the role NAME-${var.region}-cluster-autoscaler may have 64."
  }
}

variable "region" {
  description = "AWS region."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be the name of an AWS region, such as eu-central-1."
  }
}

variable "tags" {
  description = "Further tags of all that is created."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for key in keys(var.tags) : !startswith(key, "aws:") && !startswith(key, "kompass.dev/") && !startswith(key, "k8s.io/")])
    error_message = "Keys of tags must not begin with aws:, kompass.dev/ or k8s.io/, which have a meaning."
  }
}

# Network

variable "vpc_cidr" {
  description = "Addresses of the VPC, /16 to /20. Each zone gets an eighth of them for nodes and pods."
  type        = string
  default     = "10.0.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.vpc_cidr)) && try(tonumber(split("/", var.vpc_cidr)[1]) >= 16 && tonumber(split("/", var.vpc_cidr)[1]) <= 20, false)
    error_message = "vpc_cidr must be an IPv4 network between /16 and /20, such as 10.0.0.0/16."
  }

  # This host's, loopback, link-local, and multicast with what is reserved behind it.
  validation {
    condition = try(alltrue([
      for never in ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"] :
      cidrhost("${split("/", var.vpc_cidr)[0]}/${split("/", never)[1]}", 0) != cidrhost(never, 0)
    ]), true)
    error_message = "vpc_cidr must be addresses that a VPC can have, best private ones: of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10."
  }
}

variable "service_cidr" {
  description = "Addresses of Services, /12 to /24, of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16. They must not overlap with the VPC's."
  type        = string
  default     = "172.20.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.service_cidr)) && try(tonumber(split("/", var.service_cidr)[1]) >= 12 && tonumber(split("/", var.service_cidr)[1]) <= 24, false)
    error_message = "service_cidr must be an IPv4 network between /12 and /24."
  }

  validation {
    condition = try(anytrue([
      for private in ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"] :
      tonumber(split("/", var.service_cidr)[1]) >= tonumber(split("/", private)[1]) &&
      cidrhost("${split("/", var.service_cidr)[0]}/${split("/", private)[1]}", 0) == cidrhost(private, 0)
    ]), true)
    error_message = "service_cidr must be within 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16: EKS takes no others."
  }

  # Two networks overlap if they are the same by the shorter of their prefixes.
  validation {
    condition = try(
      cidrhost("${split("/", var.service_cidr)[0]}/${min(split("/", var.service_cidr)[1], split("/", var.vpc_cidr)[1])}", 0) !=
      cidrhost("${split("/", var.vpc_cidr)[0]}/${min(split("/", var.service_cidr)[1], split("/", var.vpc_cidr)[1])}", 0),
    true)
    error_message = "service_cidr (${var.service_cidr}) and vpc_cidr (${var.vpc_cidr}) overlap: EKS refuses that. Change one of them; for Services EKS itself takes 172.20.0.0/16 or 10.100.0.0/16."
  }
}

variable "zone_count" {
  description = "How many zones of the region to use: the first ones that need no opt-in and that EKS takes, unless zone_names tells them. us-west-1 has 2 for most accounts."
  type        = number
  default     = 3

  validation {
    condition     = var.zone_count >= 2 && var.zone_count <= 6 && floor(var.zone_count) == var.zone_count
    error_message = "zone_count must be 2 to 6: EKS needs two zones."
  }
}

variable "zone_names" {
  description = "Zones to use, by name. Empty: the first zone_count ones of the region."
  type        = list(string)
  default     = []

  validation {
    condition     = length(var.zone_names) == 0 || (length(var.zone_names) >= 2 && length(var.zone_names) <= 6)
    error_message = "zone_names must be empty or have 2 to 6 zones: EKS needs two."
  }

  validation {
    condition     = length(distinct(var.zone_names)) == length(var.zone_names)
    error_message = "zone_names must not name a zone twice."
  }
}

variable "nat" {
  description = "How nodes reach the internet: one NAT gateway for all zones (`single`), one for each zone (`per-zone`), or not at all (`none`: every image must come from ECR)."
  type        = string
  default     = "single"

  validation {
    condition     = contains(["single", "per-zone", "none"], var.nat)
    error_message = "nat must be single, per-zone or none."
  }
}

variable "endpoints" {
  description = "AWS services that are reached from within the VPC by an interface endpoint, which is paid by the hour and zone. S3 always has a gateway endpoint, which is free."
  type        = set(string)
  default     = ["autoscaling", "ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "sts"]

  validation {
    condition     = var.nat != "none" || length(setsubtract(["autoscaling", "ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "sts"], var.endpoints)) == 0
    error_message = "Without NAT, endpoints must hold at least autoscaling, ec2, ecr.api, ecr.dkr, eks, eks-auth and sts: nodes would not join the cluster."
  }
}

variable "flow_logs" {
  description = "Keep a log of the VPC's connections in CloudWatch."
  type        = bool
  default     = true
}

# Cluster

variable "kubernetes_version" {
  description = "Kubernetes version of the cluster. KOMPASS needs 1.31 or newer, CapacityBuffers 1.35."
  type        = string
  default     = "1.35"

  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version)) && try(tonumber(split(".", var.kubernetes_version)[1]) >= 31, false)
    error_message = "kubernetes_version must be 1.31 or newer, such as 1.35."
  }
}

variable "support_type" {
  description = "What happens when standard support of the Kubernetes version ends: AWS upgrades the cluster (`STANDARD`) or it costs six times as much (`EXTENDED`)."
  type        = string
  default     = "STANDARD"

  validation {
    condition     = contains(["STANDARD", "EXTENDED"], var.support_type)
    error_message = "support_type must be STANDARD or EXTENDED."
  }
}

variable "public_access_cidrs" {
  description = "Networks that may reach the API server from the internet, such as 203.0.113.7/32. Empty: only from within the VPC."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.public_access_cidrs : can(cidrhost(cidr, 0))])
    error_message = "public_access_cidrs must be networks, such as 203.0.113.7/32."
  }

  validation {
    condition     = var.allow_access_from_anywhere || !anytrue([for cidr in var.public_access_cidrs : endswith(cidr, "/0")])
    error_message = "public_access_cidrs opens the API server to the whole internet. If you want that, set allow_access_from_anywhere = true."
  }
}

variable "allow_access_from_anywhere" {
  description = "Lets public_access_cidrs hold 0.0.0.0/0."
  type        = bool
  default     = false
}

variable "admin_arns" {
  description = "IAM users and roles that administer the cluster, beside who creates it."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.admin_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(user|role)/.+$", arn))])
    error_message = "admin_arns must be ARNs of IAM users or roles, not of sessions (arn:aws:sts::…)."
  }
}

variable "creator_is_admin" {
  description = "Who creates the cluster administers it. Can't be changed later."
  type        = bool
  default     = true

  validation {
    condition     = var.creator_is_admin || length(var.admin_arns) > 0
    error_message = "Nobody could administer the cluster: set admin_arns, or creator_is_admin = true."
  }
}

variable "control_plane_logs" {
  description = "Logs of the control plane that are kept in CloudWatch."
  type        = set(string)
  default     = ["api", "audit", "authenticator", "controllerManager", "scheduler"]

  validation {
    condition     = length(setsubtract(var.control_plane_logs, ["api", "audit", "authenticator", "controllerManager", "scheduler"])) == 0
    error_message = "control_plane_logs may hold api, audit, authenticator, controllerManager and scheduler."
  }
}

variable "log_retention_days" {
  description = "How long logs are kept, in days."
  type        = number
  default     = 365

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.log_retention_days)
    error_message = "log_retention_days must be one that CloudWatch knows: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545 or 731."
  }
}

variable "addons" {
  description = "EKS add-ons and their versions; null is the default of EKS for the Kubernetes version."
  type        = map(string)
  default = {
    coredns                = null
    eks-pod-identity-agent = null
    kube-proxy             = null
    metrics-server         = null
    vpc-cni                = null
  }
}

variable "webhook_ports" {
  description = "Ports of nodes and pods that the API server calls, beside kubelet's: KOMPASS's admission webhook, what the program `kompass` asks KOMPASS's pods through it, metrics-server. A webhook whose port is not among them times out. A map of your own takes the place of all of these."
  type        = map(number)
  default = {
    kompass-admission-webhook = 8443
    kompass-metrics           = 9090
    kompass-predictor-view    = 8890
    kompass-scheduler-view    = 8889
    metrics-server            = 10251
  }

  validation {
    condition     = alltrue([for port in values(var.webhook_ports) : port > 0 && port < 65536 && port != 10250])
    error_message = "webhook_ports must be ports from 1 to 65535; 10250 is always open."
  }

  # AWS refuses the second rule of a port in the middle of an apply.
  validation {
    condition     = length(distinct(values(var.webhook_ports))) == length(var.webhook_ports)
    error_message = "webhook_ports must have each port once."
  }
}

variable "identity" {
  description = "How pods get their AWS roles: by EKS Pod Identity (`pod-identity`) or by roles for service accounts with OpenID Connect (`irsa`)."
  type        = string
  default     = "pod-identity"

  validation {
    condition     = contains(["pod-identity", "irsa"], var.identity)
    error_message = "identity must be pod-identity or irsa."
  }
}

variable "deletion_window_days" {
  description = "How long the encryption key can be brought back after a destroy, in days."
  type        = number
  default     = 7

  validation {
    condition     = var.deletion_window_days >= 7 && var.deletion_window_days <= 30
    error_message = "deletion_window_days must be 7 to 30."
  }
}

# Nodes

variable "system_nodes" {
  description = "The managed node group for KOMPASS, the autoscaler and the add-ons."
  type = object({
    instance_types = optional(list(string), ["m6i.large", "m5.large"])
    min            = optional(number, 2)
    max            = optional(number, 4)
    disk_gib       = optional(number, 50)
    architecture   = optional(string, "x86_64")
  })
  default = {}

  validation {
    condition     = var.system_nodes.min >= 1 && var.system_nodes.max >= var.system_nodes.min
    error_message = "system_nodes: min must be at least 1, and max at least min."
  }

  validation {
    condition     = length(var.system_nodes.instance_types) > 0 && var.system_nodes.disk_gib >= 20
    error_message = "system_nodes: there must be an instance type, and disk_gib must be at least 20."
  }

  validation {
    condition     = contains(["x86_64", "arm64"], var.system_nodes.architecture)
    error_message = "system_nodes: architecture must be x86_64 or arm64."
  }

  # Graviton has a g behind the number of its generation: m7g, c6gn, im4gn.
  validation {
    condition     = !contains(["x86_64", "arm64"], var.system_nodes.architecture) || alltrue([for type in var.system_nodes.instance_types : can(regex("^(a1|[a-z-]+[0-9]+g[a-z]*)\\.", type)) == (var.system_nodes.architecture == "arm64")])
    error_message = "system_nodes: instance types must be of the architecture; for Graviton, such as m7g.large, set architecture = \"arm64\"."
  }
}

variable "spark_nodes" {
  description = "The Auto Scaling groups for Spark, one for each zone and capacity type. All instance types must have the same number of CPUs and memory: the autoscaler takes them for one. Not created with Karpenter, which buys nodes itself."
  type = object({
    instance_types = optional(list(string), ["m6i.2xlarge", "m5.2xlarge", "m6a.2xlarge"])
    capacity_types = optional(set(string), ["on-demand", "spot"])
    min_per_group  = optional(number, 0)
    max_per_group  = optional(number, 50)
    disk_gib       = optional(number, 100)
    architecture   = optional(string, "x86_64")
    ami_id         = optional(string)
    local_ssd      = optional(bool, false)
    labels         = optional(map(string), {})
    taints = optional(map(object({
      value  = string
      effect = string
    })), {})
  })
  default = {}

  validation {
    condition     = length(var.spark_nodes.instance_types) > 0
    error_message = "spark_nodes: there must be an instance type."
  }

  validation {
    condition     = length(var.spark_nodes.capacity_types) > 0 && length(setsubtract(var.spark_nodes.capacity_types, ["on-demand", "spot"])) == 0
    error_message = "spark_nodes: capacity_types may hold on-demand and spot."
  }

  validation {
    condition     = var.spark_nodes.min_per_group >= 0 && var.spark_nodes.max_per_group >= max(1, var.spark_nodes.min_per_group)
    error_message = "spark_nodes: max_per_group must be at least 1 and at least min_per_group."
  }

  validation {
    condition     = contains(["x86_64", "arm64"], var.spark_nodes.architecture)
    error_message = "spark_nodes: architecture must be x86_64 or arm64."
  }

  validation {
    condition     = !contains(["x86_64", "arm64"], var.spark_nodes.architecture) || alltrue([for type in var.spark_nodes.instance_types : can(regex("^(a1|[a-z-]+[0-9]+g[a-z]*)\\.", type)) == (var.spark_nodes.architecture == "arm64")])
    error_message = "spark_nodes: instance types must be of the architecture; for Graviton set both, such as instance_types = [\"m7g.2xlarge\"] and architecture = \"arm64\"."
  }

  validation {
    condition     = var.spark_nodes.disk_gib >= 20
    error_message = "spark_nodes: disk_gib must be at least 20."
  }

  validation {
    condition     = alltrue([for taint in values(var.spark_nodes.taints) : contains(["NoSchedule", "PreferNoSchedule", "NoExecute"], taint.effect)])
    error_message = "spark_nodes: the effect of a taint must be NoSchedule, PreferNoSchedule or NoExecute."
  }

  # AWS lets a group have 50; what all groups have is counted in modules/spark-nodes.
  validation {
    condition     = length(var.spark_nodes.labels) + length(var.spark_nodes.taints) + length(var.tags) <= 30
    error_message = "spark_nodes: labels, taints and tags become tags of each group, which may have 50; 30 of yours are the most."
  }
}

variable "autoscaler" {
  description = "Who buys nodes: `cluster-autoscaler`, `karpenter`, or `none` (the groups keep their size)."
  type        = string
  default     = "cluster-autoscaler"

  validation {
    condition     = contains(["cluster-autoscaler", "karpenter", "none"], var.autoscaler)
    error_message = "autoscaler must be cluster-autoscaler, karpenter or none."
  }
}

variable "capacity_buffers" {
  description = "Let cluster-autoscaler (1.35 or newer) keep nodes for CapacityBuffers, and the predictor hold nodes by them in place of floors. Their definition must be in the cluster before: without it the autoscaler waits for it at its start, and buys no node. It is autoscaling.x-k8s.io_capacitybuffers.yaml in cluster-autoscaler/apis/config/crd of https://github.com/kubernetes/autoscaler, to be taken from the branch of the autoscaler's version (cluster-autoscaler-release-1.35). Karpenter takes buffers whatever this says."
  type        = bool
  default     = false
}

variable "kompass_namespace" {
  description = "Namespace that KOMPASS is installed in."
  type        = string
  default     = "kompass"

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.kompass_namespace))
    error_message = "kompass_namespace must be the name of a namespace."
  }
}

variable "expander_ca_secret" {
  description = "Secret in kube-system with the certificate (`ca.crt`) that cluster-autoscaler trusts the predictor's expander by. Empty: the autoscaler does not ask the predictor which group to grow."
  type        = string
  default     = ""
}

# Images

variable "images" {
  description = "Repositories that are made in ECR."
  type        = set(string)
  default     = ["kompass-admission-webhook", "kompass-cli", "kompass-predictor", "kompass-scheduler-extender", "spark"]
}

variable "delete_images_on_destroy" {
  description = "Let a destroy delete repositories that hold images."
  type        = bool
  default     = false
}

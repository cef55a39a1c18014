locals {
  group_count   = length(local.zones) * length(var.spark_nodes.capacity_types)
  discovery_tag = "k8s.io/cluster-autoscaler/${var.name}"

  # Floors are for groups that cluster-autoscaler finds by tags. Karpenter takes buffers; cluster-autoscaler does where it is
  # told to.
  grouped = var.autoscaler == "cluster-autoscaler"
  floors  = local.grouped && !var.capacity_buffers

  # Which nodes a buffer is for: those of the groups, with their taints.
  buffered_nodes = concat(
    ["--node-selector=kompass.dev/node-group=spark"],
    [for key, taint in var.spark_nodes.taints : "--toleration=${key}=${taint.value}:${taint.effect}"],
  )

  helm_values = {
    # Nothing here makes disks for PersistentVolumeClaims: a bundled Prometheus would wait for its own for ever.
    monitoring = { bundled = { prometheus = { storage = { size = "" } } } }
    image      = { registry = "${local.account}.dkr.ecr.${var.region}.${data.aws_partition.current.dns_suffix}/${var.name}" }
    predictor = {
      actWith                   = local.floors ? "floors" : "buffers"
      autoscalerNamespace       = "kube-system"
      awsRegion                 = var.region
      extraArgs                 = local.floors ? ["--autoscaler-tag=${local.discovery_tag}"] : local.grouped ? local.buffered_nodes : []
      serviceAccountAnnotations = module.predictor_role.annotations
    }
  }

  # Nobody answers before KOMPASS is installed; the autoscaler then goes on with least-waste.
  expander = var.expander_ca_secret == "" ? { expander = "least-waste" } : {
    expander             = "grpc,least-waste"
    "grpc-expander-url"  = "kompass-predictor.${var.kompass_namespace}:8893"
    "grpc-expander-cert" = "/etc/expander/ca.crt"
  }

  # Off by default: where CapacityBuffers are not defined, cluster-autoscaler waits for them at its start, and buys nothing.
  buffer_flags = {
    "capacity-buffer-controller-enabled"    = true
    "capacity-buffer-pod-injection-enabled" = true
    # 1.35 sends buffers as it sends all else. Its default is protobuf, which the API server has for its own kinds alone.
    "kube-api-content-type" = "application/json"
  }

  # What it reads before it starts with buffers, and what it writes. Not every version of its chart gives it these rights.
  buffer_rules = [
    { apiGroups = ["autoscaling.x-k8s.io"], resources = ["capacitybuffers"], verbs = ["get", "list", "watch"] },
    { apiGroups = ["autoscaling.x-k8s.io"], resources = ["capacitybuffers/status"], verbs = ["patch", "update"] },
    { apiGroups = [""], resources = ["podtemplates"], verbs = ["create", "get", "list", "update", "watch"] },
    { apiGroups = [""], resources = ["replicationcontrollers", "resourcequotas"], verbs = ["get", "list", "watch"] },
    { apiGroups = ["apps"], resources = ["deployments", "replicasets", "statefulsets"], verbs = ["get", "list", "watch"] },
    { apiGroups = ["batch"], resources = ["jobs"], verbs = ["get", "list", "watch"] },
  ]

  autoscaler_helm_values = {
    # Chart cluster-autoscaler of https://kubernetes.github.io/autoscaler.
    cluster-autoscaler = {
      fullnameOverride = "cluster-autoscaler"
      awsRegion        = var.region
      autoDiscovery    = { clusterName = var.name }
      rbac = {
        additionalRules = [for rule in local.buffer_rules : rule if var.capacity_buffers]
        serviceAccount = {
          name        = "cluster-autoscaler"
          annotations = length(module.autoscaler_role) > 0 ? module.autoscaler_role[0].annotations : {}
        }
      }
      nodeSelector = { "kompass.dev/node-group" = "system" }
      extraArgs = merge(local.expander, { for flag, value in local.buffer_flags : flag => value if var.capacity_buffers }, {
        "balance-similar-node-groups"   = false
        "skip-nodes-with-local-storage" = false
        "skip-nodes-with-system-pods"   = false
      })
      extraVolumeSecrets = var.expander_ca_secret == "" ? {} : {
        expander = { name = var.expander_ca_secret, mountPath = "/etc/expander" }
      }
    }
    # Chart oci://public.ecr.aws/karpenter/karpenter, in kube-system.
    karpenter = {
      settings = {
        clusterName       = var.name
        interruptionQueue = length(module.karpenter) > 0 ? module.karpenter[0].queue_name : ""
        featureGates      = { capacityBuffer = true }
      }
      serviceAccount = {
        name        = "karpenter"
        annotations = length(module.karpenter) > 0 ? module.karpenter[0].annotations : {}
      }
      nodeSelector = { "kompass.dev/node-group" = "system" }
    }
  }
}

locals {
  group_count   = length(local.zones) * length(var.spark_nodes.capacity_types)
  discovery_tag = "k8s.io/cluster-autoscaler/${var.name}"

  # Floors are for groups that cluster-autoscaler finds by tags. Karpenter takes buffers.
  floors = var.autoscaler == "cluster-autoscaler"

  helm_values = {
    # Nothing here makes disks for PersistentVolumeClaims: a bundled Prometheus would wait for its own for ever.
    monitoring = { bundled = { prometheus = { storage = { size = "" } } } }
    image      = { registry = "${local.account}.dkr.ecr.${var.region}.${data.aws_partition.current.dns_suffix}/${var.name}" }
    predictor = {
      actWith                   = local.floors ? "floors" : "buffers"
      autoscalerNamespace       = "kube-system"
      awsRegion                 = var.region
      extraArgs                 = local.floors ? ["--autoscaler-tag=${local.discovery_tag}"] : []
      serviceAccountAnnotations = module.predictor_role.annotations
    }
  }

  # Nobody answers before KOMPASS is installed; the autoscaler then goes on with least-waste.
  expander = var.expander_ca_secret == "" ? { expander = "least-waste" } : {
    expander             = "grpc,least-waste"
    "grpc-expander-url"  = "kompass-predictor.${var.kompass_namespace}:8893"
    "grpc-expander-cert" = "/etc/expander/ca.crt"
  }

  autoscaler_helm_values = {
    # Chart cluster-autoscaler of https://kubernetes.github.io/autoscaler.
    cluster-autoscaler = {
      fullnameOverride = "cluster-autoscaler"
      awsRegion        = var.region
      autoDiscovery    = { clusterName = var.name }
      rbac = {
        serviceAccount = {
          name        = "cluster-autoscaler"
          annotations = length(module.autoscaler_role) > 0 ? module.autoscaler_role[0].annotations : {}
        }
      }
      nodeSelector = { "kompass.dev/node-group" = "system" }
      extraArgs = merge(local.expander, {
        "capacity-buffer-controller-enabled"    = true
        "capacity-buffer-pod-injection-enabled" = true
        "balance-similar-node-groups"           = false
        "skip-nodes-with-local-storage"         = false
        "skip-nodes-with-system-pods"           = false
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

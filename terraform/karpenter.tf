# What Karpenter buys nodes for Spark by, from the same inputs as the groups. It is an object of the cluster, so that whoever
# installs Karpenter applies it; Terraform speaks to AWS alone. By its label setup-kompass.sh knows what it may apply again.
locals {
  karpenter_nodes = {
    apiVersion = "v1"
    kind       = "List"
    items = [
      {
        apiVersion = "karpenter.k8s.aws/v1"
        kind       = "EC2NodeClass"
        metadata   = { name = "spark", labels = { "kompass.dev/created-by" = "terraform" } }
        spec = {
          amiFamily                  = "AL2023"
          amiSelectorTerms           = [var.spark_nodes.ami_id == null ? { alias = "al2023@latest" } : { id = var.spark_nodes.ami_id }]
          instanceProfile            = module.cluster.spark_node_role.instance_profile
          subnetSelectorTerms        = [{ tags = { "karpenter.sh/discovery" = var.name } }]
          securityGroupSelectorTerms = [{ tags = { "karpenter.sh/discovery" = var.name } }]
          metadataOptions            = { httpTokens = "required", httpPutResponseHopLimit = 1 }
          blockDeviceMappings = [{
            deviceName = "/dev/xvda"
            ebs        = { volumeSize = "${var.spark_nodes.disk_gib}Gi", volumeType = "gp3", encrypted = true, deleteOnTermination = true }
          }]
          tags = local.tags
        }
      },
      {
        apiVersion = "karpenter.sh/v1"
        kind       = "NodePool"
        metadata   = { name = "spark", labels = { "kompass.dev/created-by" = "terraform" } }
        spec = {
          template = {
            metadata = { labels = merge(var.spark_nodes.labels, { "kompass.dev/node-group" = "spark" }) }
            spec = {
              nodeClassRef = { group = "karpenter.k8s.aws", kind = "EC2NodeClass", name = "spark" }
              requirements = [
                { key = "node.kubernetes.io/instance-type", operator = "In", values = var.spark_nodes.instance_types },
                { key = "karpenter.sh/capacity-type", operator = "In", values = sort(var.spark_nodes.capacity_types) },
                { key = "kubernetes.io/arch", operator = "In", values = [var.spark_nodes.architecture == "arm64" ? "arm64" : "amd64"] },
              ]
              # Drivers and executors are not to be disrupted, and block a drain. Karpenter drains a node after expireAfter (720h
              # unless set): without this it would hang there, half drained, until the job ends.
              terminationGracePeriod = "24h"
              taints                 = [for key, taint in var.spark_nodes.taints : { key = key, value = taint.value, effect = taint.effect }]
            }
          }
          # A node that has executors stays: to move them costs more than the node.
          disruption = { consolidationPolicy = "WhenEmpty", consolidateAfter = "1m" }
          limits     = { nodes = tostring(var.spark_nodes.max_per_group * local.group_count) }
        }
      },
    ]
  }
}

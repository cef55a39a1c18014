# What is paid by the hour, and what the quotas must leave room for. Both are texts, so that a script reads them in a plan.
locals {
  prices = jsondecode(file("${path.module}/prices.json"))

  billed = {
    eks_cluster        = 1
    nat_gateway        = module.network.nat_gateways
    interface_endpoint = module.network.endpoint_zones
    public_ipv4        = module.network.nat_gateways
    system_nodes = {
      instance_type = var.system_nodes.instance_types[0]
      min           = var.system_nodes.min
      max           = var.system_nodes.max
      disk_gib      = var.system_nodes.disk_gib
    }
    spark_nodes = var.autoscaler == "karpenter" ? null : {
      instance_type = var.spark_nodes.instance_types[0]
      min           = var.spark_nodes.min_per_group * local.group_count
      max           = var.spark_nodes.max_per_group * local.group_count
      disk_gib      = var.spark_nodes.disk_gib
    }
  }

  nodes    = [for nodes in [local.billed.system_nodes, local.billed.spark_nodes] : nodes if nodes != null]
  unpriced = distinct([for nodes in local.nodes : nodes.instance_type if !contains(keys(local.prices.instances), nodes.instance_type)])

  # Nodes with their disks. A type without a price counts for nothing here, and is told in the text.
  node_prices = [for nodes in local.nodes : {
    min = nodes.min * (try(local.prices.instances[nodes.instance_type].price, 0) + nodes.disk_gib * local.prices.hourly.gp3_gib.price)
    max = nodes.max * (try(local.prices.instances[nodes.instance_type].price, 0) + nodes.disk_gib * local.prices.hourly.gp3_gib.price)
  }]
  fixed_price = sum([for what in ["eks_cluster", "nat_gateway", "interface_endpoint", "public_ipv4"] : local.billed[what] * local.prices.hourly[what].price])

  price_per_hour = join("", [
    format("%.2f to %.2f %s", local.fixed_price + sum(local.node_prices[*].min), local.fixed_price + sum(local.node_prices[*].max), local.prices.currency),
    var.autoscaler == "karpenter" ? ", and what Karpenter buys" : "",
    length(local.unpriced) == 0 ? "" : ", without nodes of ${join(", ", local.unpriced)}, which prices.json has no price of",
  ])

  # Of each group of nodes: how it is bought, of what type, how many at least and at most.
  node_needs = join(" ", concat(
    ["on-demand:${var.system_nodes.instance_types[0]}:${var.system_nodes.min}:${var.system_nodes.max}"],
    var.autoscaler == "karpenter" ? [] : [
      for kind in sort(var.spark_nodes.capacity_types) :
      "${kind}:${var.spark_nodes.instance_types[0]}:${var.spark_nodes.min_per_group * length(local.zones)}:${var.spark_nodes.max_per_group * length(local.zones)}"
    ],
  ))
}

locals {
  # Zones come with their subnets, so their names are known at the plan.
  groups = {
    for pair in setproduct(keys(var.subnet_ids), var.nodes.capacity_types) :
    "${pair[1]}-${pair[0]}" => { zone = pair[0], capacity_type = pair[1] }
  }

  labels = {
    for capacity_type in var.nodes.capacity_types : capacity_type => merge(var.nodes.labels, {
      "kompass.dev/node-group"    = "spark"
      "kompass.dev/capacity-type" = capacity_type
    })
  }

  taints = [for key, taint in var.nodes.taints : "${key}=${taint.value}:${taint.effect}"]

  # What cluster-autoscaler knows of a group that has no node yet: without these tags it would never start the first one.
  node_template = {
    for capacity_type in var.nodes.capacity_types : capacity_type => merge(
      { for key, value in local.labels[capacity_type] : "k8s.io/cluster-autoscaler/node-template/label/${key}" => value },
      { for key, taint in var.nodes.taints : "k8s.io/cluster-autoscaler/node-template/taint/${key}" => "${taint.value}:${taint.effect}" },
      { "k8s.io/cluster-autoscaler/node-template/resources/ephemeral-storage" = "${var.nodes.disk_gib}Gi" },
    )
  }
}

# The newest image of EKS at the time of an apply; nodes that run keep theirs.
data "aws_ssm_parameter" "ami" {
  count = var.nodes.ami_id == null ? 1 : 0

  name = "/aws/service/eks/optimized-ami/${var.kubernetes_version}/amazon-linux-2023/${var.nodes.architecture}/standard/recommended/image_id"
}

resource "aws_launch_template" "this" {
  for_each = var.nodes.capacity_types

  name_prefix            = "${var.name}-spark-${each.key}-"
  update_default_version = true
  image_id               = var.nodes.ami_id == null ? nonsensitive(data.aws_ssm_parameter.ami[0].value) : var.nodes.ami_id
  # Of these alone: the autoscaler and the predictor read a group's types from its policy, and this one where there is none.
  instance_type          = var.nodes.instance_types[0]
  vpc_security_group_ids = [var.security_group_id]

  user_data = base64encode(templatefile("${path.module}/user-data.tftpl", {
    cluster   = var.cluster
    local_ssd = var.nodes.local_ssd
    labels    = join(",", [for key, value in local.labels[each.key] : "${key}=${value}"])
    taints    = join(",", local.taints)
  }))

  iam_instance_profile {
    arn = var.cluster.instance_profile_arn
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = var.nodes.disk_gib
      encrypted             = true
      delete_on_termination = true
    }
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  dynamic "tag_specifications" {
    for_each = ["instance", "volume", "network-interface"]

    content {
      resource_type = tag_specifications.value
      tags          = merge(var.tags, { Name = "${var.name}-spark-${each.key}" })
    }
  }
}

resource "aws_autoscaling_group" "this" {
  for_each = local.groups

  name                      = "${var.name}-spark-${each.key}"
  vpc_zone_identifier       = [var.subnet_ids[each.value.zone]]
  min_size                  = var.nodes.min_per_group
  max_size                  = var.nodes.max_per_group
  health_check_type         = "EC2"
  wait_for_capacity_timeout = "0"
  # A spot instance that may be taken is the autoscaler's and the gang's affair, not a reason to start another.
  capacity_rebalance = false

  mixed_instances_policy {
    instances_distribution {
      on_demand_base_capacity                  = 0
      on_demand_percentage_above_base_capacity = each.value.capacity_type == "spot" ? 0 : 100
      on_demand_allocation_strategy            = "prioritized"
      spot_allocation_strategy                 = "price-capacity-optimized"
    }

    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.this[each.value.capacity_type].id
        version            = aws_launch_template.this[each.value.capacity_type].latest_version
      }

      dynamic "override" {
        for_each = var.nodes.instance_types

        content {
          instance_type = override.value
        }
      }
    }
  }

  # The group's, for autoscaler and predictor.
  dynamic "tag" {
    for_each = merge(local.node_template[each.value.capacity_type], {
      "k8s.io/cluster-autoscaler/enabled"     = "true"
      "k8s.io/cluster-autoscaler/${var.name}" = "owned"
      "kompass.dev/managed"                   = "true"
    })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = false
    }
  }

  # The group's and its instances'.
  dynamic "tag" {
    for_each = merge(var.tags, {
      "Name"                              = "${var.name}-spark-${each.key}"
      "kubernetes.io/cluster/${var.name}" = "owned"
    })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  lifecycle {
    # The autoscaler's, and the predictor's floor.
    ignore_changes = [desired_capacity, min_size]
  }
}

resource "aws_iam_role" "node" {
  for_each = toset(["system", "spark"])

  name        = "${var.iam_name}-${each.key}-node"
  description = "Nodes of ${var.name} for ${each.key}"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

locals {
  # What a node needs: to join, to pull images, to give pods addresses. No pod gets any of it: the metadata service is one
  # hop away, and pods are two.
  node_policies = ["AmazonEC2ContainerRegistryReadOnly", "AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy"]
  attachments = {
    for pair in setproduct(["system", "spark"], local.node_policies) : "${pair[0]}-${pair[1]}" => pair
  }
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each = local.attachments

  role       = aws_iam_role.node[each.value[0]].name
  policy_arn = "arn:${var.partition}:iam::aws:policy/${each.value[1]}"
}

resource "aws_iam_instance_profile" "spark" {
  name = "${var.iam_name}-spark-node"
  role = aws_iam_role.node["spark"].name
}

# EKS makes the entry of its own groups itself.
resource "aws_eks_access_entry" "spark" {
  cluster_name  = aws_eks_cluster.this.name
  principal_arn = aws_iam_role.node["spark"].arn
  type          = "EC2_LINUX"
}

resource "aws_launch_template" "system" {
  name_prefix            = "${var.name}-system-"
  update_default_version = true
  vpc_security_group_ids = [aws_security_group.nodes.id]

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = var.system_nodes.disk_gib
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
      tags          = merge(var.node_tags, { Name = "${var.name}-system" })
    }
  }
}

resource "aws_eks_node_group" "system" {
  cluster_name           = aws_eks_cluster.this.name
  node_group_name_prefix = "system-"
  node_role_arn          = aws_iam_role.node["system"].arn
  subnet_ids             = var.subnet_ids
  instance_types         = var.system_nodes.instance_types
  ami_type               = var.system_nodes.architecture == "arm64" ? "AL2023_ARM_64_STANDARD" : "AL2023_x86_64_STANDARD"
  version                = aws_eks_cluster.this.version
  labels                 = { "kompass.dev/node-group" = "system" }

  launch_template {
    id      = aws_launch_template.system.id
    version = aws_launch_template.system.latest_version
  }

  scaling_config {
    min_size     = var.system_nodes.min
    desired_size = var.system_nodes.min
    max_size     = var.system_nodes.max
  }

  update_config {
    max_unavailable = 1
  }

  lifecycle {
    create_before_destroy = true
    # The autoscaler's.
    ignore_changes = [scaling_config[0].desired_size]
  }

  depends_on = [
    aws_eks_addon.before_nodes,
    aws_iam_role_policy_attachment.node,
    aws_vpc_security_group_egress_rule.nodes,
    aws_vpc_security_group_ingress_rule.nodes_from_nodes,
  ]
}

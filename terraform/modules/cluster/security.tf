# The control plane's interfaces have this group beside the one that EKS makes. All nodes have the other one. So what the
# API server may call on nodes and pods stands here, whole.
resource "aws_security_group" "control_plane" {
  name        = "${var.name}-control-plane"
  description = "Interfaces of the EKS control plane of ${var.name}"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-control-plane" }
}

resource "aws_security_group" "nodes" {
  name        = "${var.name}-nodes"
  description = "Nodes and pods of ${var.name}"
  vpc_id      = var.vpc_id

  tags = merge(
    {
      Name                                = "${var.name}-nodes"
      "kubernetes.io/cluster/${var.name}" = "owned"
    },
    var.karpenter ? { "karpenter.sh/discovery" = var.name } : {},
  )
}

locals {
  called_ports = merge({ kubelet = 10250 }, var.webhook_ports)
}

# A webhook whose port is missing here times out: the most frequent fault of webhooks on EKS.
resource "aws_vpc_security_group_ingress_rule" "nodes_from_control_plane" {
  for_each = local.called_ports

  security_group_id            = aws_security_group.nodes.id
  description                  = "API server to ${each.key}"
  referenced_security_group_id = aws_security_group.control_plane.id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

resource "aws_vpc_security_group_egress_rule" "control_plane_to_nodes" {
  for_each = local.called_ports

  security_group_id            = aws_security_group.control_plane.id
  description                  = "API server to ${each.key}"
  referenced_security_group_id = aws_security_group.nodes.id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

resource "aws_vpc_security_group_ingress_rule" "control_plane_from_nodes" {
  security_group_id            = aws_security_group.control_plane.id
  description                  = "Kubelets and pods to the API server"
  referenced_security_group_id = aws_security_group.nodes.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

# Pods of one cluster talk to each other by any port: Spark's are chosen at random. NetworkPolicies narrow it.
resource "aws_vpc_security_group_ingress_rule" "nodes_from_nodes" {
  security_group_id            = aws_security_group.nodes.id
  description                  = "Nodes and pods among themselves"
  referenced_security_group_id = aws_security_group.nodes.id
  ip_protocol                  = "-1"
}

# Images, data and what jobs ask for may be anywhere.
#trivy:ignore:AWS-0104
resource "aws_vpc_security_group_egress_rule" "nodes" {
  security_group_id = aws_security_group.nodes.id
  description       = "Nodes and pods to anywhere"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

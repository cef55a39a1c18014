# Where AWS says that instances will go: Karpenter drains them before.
resource "aws_sqs_queue" "interruption" {
  name                      = "${var.name}-karpenter"
  message_retention_seconds = 300
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue_policy" "interruption" {
  queue_url = aws_sqs_queue.interruption.url

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "Events"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.interruption.arn
        Condition = {
          ArnEquals = { "aws:SourceArn" = [for rule in aws_cloudwatch_event_rule.interruption : rule.arn] }
        }
      },
      {
        Sid       = "EncryptedOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.interruption.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

locals {
  events = {
    health    = { source = "aws.health", type = "AWS Health Event" }
    rebalance = { source = "aws.ec2", type = "EC2 Instance Rebalance Recommendation" }
    spot      = { source = "aws.ec2", type = "EC2 Spot Instance Interruption Warning" }
    state     = { source = "aws.ec2", type = "EC2 Instance State-change Notification" }
  }
}

resource "aws_cloudwatch_event_rule" "interruption" {
  for_each = local.events

  name        = "${var.name}-karpenter-${each.key}"
  description = "${each.value.type}, for Karpenter"

  event_pattern = jsonencode({
    source        = [each.value.source]
    "detail-type" = [each.value.type]
  })
}

resource "aws_cloudwatch_event_target" "interruption" {
  for_each = local.events

  rule      = aws_cloudwatch_event_rule.interruption[each.key].name
  target_id = "karpenter"
  arn       = aws_sqs_queue.interruption.arn
}

module "role" {
  source = "../workload-role"

  name            = "${var.iam_name}-karpenter"
  description     = "Karpenter: starts and ends the nodes of this cluster"
  namespace       = "kube-system"
  service_account = "karpenter"
  identity        = var.identity

  policy = templatefile(var.policy_file, merge(var.policy_values, {
    node_role = var.node_role.arn
    profile   = var.node_role.instance_profile
    queue     = aws_sqs_queue.interruption.arn
  }))
}

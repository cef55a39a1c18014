output "role_name" {
  description = "Name of the role of Karpenter's controller."
  value       = module.role.name
}

output "role_arn" {
  description = "Role of Karpenter's controller."
  value       = module.role.arn
}

output "annotations" {
  description = "What its service account must be annotated with."
  value       = module.role.annotations
}

output "queue_name" {
  description = "Name of the queue of interruptions."
  value       = aws_sqs_queue.interruption.name
}

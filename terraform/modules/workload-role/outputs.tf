output "name" {
  description = "Name of the role."
  value       = aws_iam_role.this.name
}

output "arn" {
  description = "ARN of the role."
  value       = aws_iam_role.this.arn
}

output "annotations" {
  description = "What the service account must be annotated with: nothing with Pod Identity."
  value       = local.irsa ? { "eks.amazonaws.com/role-arn" = aws_iam_role.this.arn } : {}
}

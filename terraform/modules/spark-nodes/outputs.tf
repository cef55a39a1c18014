output "group_names" {
  description = "Names of the Auto Scaling groups."
  value       = [for group in aws_autoscaling_group.this : group.name]
}

output "vpc_id" {
  description = "ID of the VPC."
  value       = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "Subnets of nodes and pods, by zone. Known once nodes can reach what they need from there."
  value       = { for zone, subnet in aws_subnet.private : zone => subnet.id }

  # Nodes that come up before there is a way out don't join, and go only after the ways are gone.
  depends_on = [
    aws_route.internet,
    aws_route.nat,
    aws_route_table_association.private,
    aws_route_table_association.public,
    aws_vpc_endpoint.interface,
    aws_vpc_endpoint.s3,
    aws_vpc_security_group_ingress_rule.endpoints,
  ]
}

output "nat_gateways" {
  description = "How many NAT gateways there are."
  value       = length(aws_nat_gateway.this)
}

output "endpoint_zones" {
  description = "Interface endpoints, each counted by zone: what is paid for."
  value       = length(var.endpoints) * length(var.zones)
}

# One key for the cluster's secrets, its logs and its images. Disks have the account's key for EBS: with a key of one's own
# the role of EC2 Auto Scaling, which belongs to the account, would need a grant.
resource "aws_kms_key" "this" {
  description             = "KOMPASS cluster ${var.name}: secrets, logs, images"
  enable_key_rotation     = true
  deletion_window_in_days = var.deletion_window_days

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "AccountDecidesByIam"
        Effect    = "Allow"
        Principal = { AWS = "arn:${var.partition}:iam::${var.account}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        Sid       = "LogsOfThisCluster"
        Effect    = "Allow"
        Principal = { Service = "logs.${var.region}.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
        Resource  = "*"
        Condition = {
          ArnEquals = {
            "kms:EncryptionContext:aws:logs:arn" = [
              "arn:${var.partition}:logs:${var.region}:${var.account}:log-group:/aws/eks/${var.name}/cluster",
              "arn:${var.partition}:logs:${var.region}:${var.account}:log-group:/kompass/${var.name}/flow",
            ]
          }
        }
      },
    ]
  })
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.this.key_id
}

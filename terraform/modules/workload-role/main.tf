locals {
  irsa = var.identity.method == "irsa"

  # The issuer without https://, as keys of conditions have it.
  issuer = trimprefix(coalesce(var.identity.issuer, "none"), "https://")

  trust = local.irsa ? {
    Effect    = "Allow"
    Principal = { Federated = var.identity.provider_arn }
    Action    = ["sts:AssumeRoleWithWebIdentity"]
    Condition = {
      StringEquals = {
        "${local.issuer}:aud" = "sts.amazonaws.com"
        "${local.issuer}:sub" = "system:serviceaccount:${var.namespace}:${var.service_account}"
      }
    }
    } : {
    Effect    = "Allow"
    Principal = { Service = "pods.eks.amazonaws.com" }
    Action    = ["sts:AssumeRole", "sts:TagSession"]
    # Without it every Pod Identity of the account that is associated with this role could take it.
    Condition = {
      StringEquals = {
        "aws:RequestTag/eks-cluster-name"           = var.identity.cluster_name
        "aws:RequestTag/kubernetes-namespace"       = var.namespace
        "aws:RequestTag/kubernetes-service-account" = var.service_account
      }
    }
  }
}

resource "aws_iam_role" "this" {
  name        = var.name
  description = var.description

  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [local.trust]
  })
}

resource "aws_iam_role_policy" "this" {
  name   = var.name
  role   = aws_iam_role.this.id
  policy = var.policy
}

resource "aws_eks_pod_identity_association" "this" {
  count = local.irsa ? 0 : 1

  cluster_name    = var.identity.cluster_name
  namespace       = var.namespace
  service_account = var.service_account
  role_arn        = aws_iam_role.this.arn
}

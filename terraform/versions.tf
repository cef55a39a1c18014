terraform {
  # Validation of a variable by another one.
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.95, < 7"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = local.tags
  }

  # The predictor writes it on groups that it holds a floor of. Without this line an apply would remove it.
  ignore_tags {
    keys = ["kompass.dev/floor"]
  }
}

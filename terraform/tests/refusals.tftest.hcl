# What is refused, and before anything is made. Each run refuses several inputs, each by one rule. A rule that compares an
# input with another one is not asked while the other one is wrong.

mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = {
      names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
    }
  }

  mock_data "aws_partition" {
    defaults = {
      partition = "aws"
    }
  }

  mock_data "aws_caller_identity" {
    defaults = {
      account_id = "123456789012"
    }
  }
}

variables {
  region = "eu-central-1"
}

run "refusals_1" {
  command = plan

  variables {
    region               = "frankfurt"
    tags                 = { "kompass.dev/managed" = "true" }
    vpc_cidr             = "10.0.0.0/24"
    zone_count           = 1
    zone_names           = ["eu-central-1a", "eu-central-1a"]
    nat                  = "some"
    kubernetes_version   = "1.30"
    support_type         = "FOREVER"
    public_access_cidrs  = ["0.0.0.0/0"]
    admin_arns           = ["arn:aws:sts::123456789012:assumed-role/a/b"]
    control_plane_logs   = ["kubelet"]
    log_retention_days   = 42
    webhook_ports        = { a = 70000 }
    identity             = "keys"
    deletion_window_days = 1
    system_nodes         = { min = 3, max = 2 }
    autoscaler           = "hope"
    kompass_namespace    = "Kompass"
  }

  expect_failures = [var.region, var.tags, var.vpc_cidr, var.zone_count, var.zone_names, var.nat, var.kubernetes_version, var.support_type, var.public_access_cidrs, var.admin_arns, var.control_plane_logs, var.log_retention_days, var.webhook_ports, var.identity, var.deletion_window_days, var.system_nodes, var.autoscaler, var.kompass_namespace]
}

run "refusals_2" {
  command = plan

  variables {
    name                = "Kompass"
    service_cidr        = "172.20.0.0"
    nat                 = "none"
    endpoints           = []
    public_access_cidrs = ["203.0.113"]
    webhook_ports       = { a = 8443, b = 8443 }
    spark_nodes         = { capacity_types = ["reserved"] }
  }

  expect_failures = [var.name, var.service_cidr, var.endpoints, var.public_access_cidrs, var.webhook_ports, var.spark_nodes]
}

run "refusals_3" {
  command = plan

  variables {
    spark_nodes = { min_per_group = 2, max_per_group = 1 }
  }

  expect_failures = [var.spark_nodes]
}

run "refusals_4" {
  command = plan

  variables {
    spark_nodes = { architecture = "riscv" }
  }

  expect_failures = [var.spark_nodes]
}

run "refusals_5" {
  command = plan

  variables {
    spark_nodes = { disk_gib = 5 }
  }

  expect_failures = [var.spark_nodes]
}

run "refusals_6" {
  command = plan

  variables {
    spark_nodes = { taints = { a = { value = "b", effect = "Never" } } }
  }

  expect_failures = [var.spark_nodes]
}

run "graviton_without_its_architecture" {
  command = plan

  variables {
    system_nodes = { instance_types = ["m6i.large", "m7g.large"] }
  }

  expect_failures = [var.system_nodes]
}

run "another_architecture_than_the_types" {
  command = plan

  variables {
    system_nodes = { architecture = "arm64" }
  }

  expect_failures = [var.system_nodes]
}

run "no_such_architecture" {
  command = plan

  variables {
    system_nodes = { architecture = "riscv" }
  }

  expect_failures = [var.system_nodes]
}

run "nobody_is_admin" {
  command = plan

  variables {
    creator_is_admin = false
  }

  expect_failures = [var.creator_is_admin]
}

run "no_instance_type" {
  command = plan

  variables {
    spark_nodes = { instance_types = [] }
  }

  expect_failures = [var.spark_nodes]
}

run "spark_on_graviton_without_its_architecture" {
  command = plan

  variables {
    spark_nodes = { instance_types = ["m7g.2xlarge"] }
  }

  expect_failures = [var.spark_nodes]
}

run "spark_types_of_both_architectures" {
  command = plan

  variables {
    spark_nodes = { instance_types = ["m7g.2xlarge", "m6i.2xlarge"], architecture = "arm64" }
  }

  expect_failures = [var.spark_nodes]
}

# The types are those of x86_64 by default.
run "spark_on_another_architecture_than_the_types" {
  command = plan

  variables {
    spark_nodes = { architecture = "arm64" }
  }

  expect_failures = [var.spark_nodes]
}

# Those that Services have by default.
run "the_vpc_has_the_addresses_of_services" {
  command = plan

  variables {
    vpc_cidr = "172.20.0.0/16"
  }

  expect_failures = [var.service_cidr]
}

run "the_vpc_is_within_the_addresses_of_services" {
  command = plan

  variables {
    vpc_cidr     = "10.100.32.0/20"
    service_cidr = "10.96.0.0/12"
  }

  expect_failures = [var.service_cidr]
}

run "services_are_within_the_vpc" {
  command = plan

  variables {
    service_cidr = "10.0.128.0/24"
  }

  expect_failures = [var.service_cidr]
}

run "services_have_public_addresses" {
  command = plan

  variables {
    service_cidr = "203.0.112.0/20"
  }

  expect_failures = [var.service_cidr]
}

run "services_have_addresses_of_carriers" {
  command = plan

  variables {
    service_cidr = "100.64.0.0/16"
  }

  expect_failures = [var.service_cidr]
}

# 192.168.0.0/16 is a part of these.
run "services_have_more_than_private_addresses" {
  command = plan

  variables {
    service_cidr = "192.160.0.0/12"
  }

  expect_failures = [var.service_cidr]
}

run "the_vpc_has_addresses_of_no_network" {
  command = plan

  variables {
    vpc_cidr = "169.254.0.0/16"
  }

  expect_failures = [var.vpc_cidr]
}

run "the_vpc_has_addresses_of_groups" {
  command = plan

  variables {
    vpc_cidr = "239.1.0.0/16"
  }

  expect_failures = [var.vpc_cidr]
}

run "the_vpc_has_addresses_of_another_protocol" {
  command = plan

  variables {
    vpc_cidr = "fd00::/16"
  }

  expect_failures = [var.vpc_cidr]
}

run "services_have_addresses_of_another_protocol" {
  command = plan

  variables {
    service_cidr = "fd00::/16"
  }

  expect_failures = [var.service_cidr]
}

# 31, where a role has room for 30.
run "a_name_too_long_for_the_region" {
  command = plan

  variables {
    name   = "a-name-that-is-quite-as-long-as"
    region = "ap-southeast-1"
  }

  expect_failures = [var.name]
}

run "more_zones_than_there_are" {
  command = plan

  variables {
    zone_count = 4
  }

  expect_failures = [data.aws_availability_zones.available]
}

run "a_zone_that_is_not_there" {
  command = plan

  variables {
    zone_names = ["eu-central-1a", "eu-central-1d"]
  }

  expect_failures = [data.aws_availability_zones.available]
}

# As most accounts see us-west-1, with the default of three.
run "fewer_zones_than_by_default" {
  command = plan

  override_data {
    target = data.aws_availability_zones.available
    values = { names = ["us-west-1a", "us-west-1c"] }
  }

  variables {
    region = "us-west-1"
  }

  expect_failures = [data.aws_availability_zones.available]
}

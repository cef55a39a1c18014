variable "name" {
  description = "Name of the cluster."
  type        = string
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "account" {
  description = "AWS account."
  type        = string
}

variable "partition" {
  description = "AWS partition."
  type        = string
}

variable "deletion_window_days" {
  description = "Days until a destroyed key is gone."
  type        = number
}

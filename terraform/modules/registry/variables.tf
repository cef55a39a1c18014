variable "name" {
  description = "Name of the cluster: prefix of the repositories."
  type        = string
}

variable "images" {
  description = "Repositories."
  type        = set(string)
}

variable "kms_key_arn" {
  description = "Key that images are encrypted with."
  type        = string
}

variable "delete_full" {
  description = "Let a destroy delete repositories that hold images."
  type        = bool
}

variable "name" {
  description = "Name of the role."
  type        = string
}

variable "description" {
  description = "What the role is for."
  type        = string
}

variable "namespace" {
  description = "Namespace of the service account."
  type        = string
}

variable "service_account" {
  description = "The service account whose pods get the role."
  type        = string
}

variable "policy" {
  description = "What the role may do, as JSON."
  type        = string
}

variable "identity" {
  description = "How pods get it: by Pod Identity, or by OpenID Connect."
  type = object({
    method       = string
    cluster_name = string
    issuer       = string
    provider_arn = string
  })
}

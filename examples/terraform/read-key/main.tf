# SPDX-License-Identifier: MPL-2.0

# Reads a role's key in each run and hands it to one write-only argument. The key is in
# neither the state nor a saved plan.
terraform {
  required_version = ">= 1.11"

  required_providers {
    vault = {
      source  = "hashicorp/vault"
      version = ">= 5.11"
    }
  }
}

provider "vault" {}

variable "role" {
  description = "Role of the ECGrid engine."
  type        = string
  default     = "gateway"
}

variable "key_version" {
  description = "Raise this number to write the key again, after it was rotated."
  type        = number
  default     = 1
}

# static-creds has no lease. A read of creds makes one in each plan and each apply.
ephemeral "vault_generic_secret" "ecgrid" {
  path = "ecgrid/static-creds/${var.role}"
}

# Any write-only argument takes the key, and so does the configuration of a provider.
resource "vault_kv_secret_v2" "gateway" {
  mount = "secret"
  name  = "ecgrid/${var.role}"

  data_json_wo = jsonencode({
    api_key = ephemeral.vault_generic_secret.ecgrid.data["api_key"]
  })
  data_json_wo_version = var.key_version
}

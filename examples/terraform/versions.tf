# SPDX-License-Identifier: MPL-2.0

terraform {
  required_version = ">= 1.11" # ephemeral resources and write-only arguments

  required_providers {
    vault = {
      source  = "hashicorp/vault"
      version = ">= 5.11" # the ephemeral vault_generic_endpoint and vault_generic_secret
    }
  }
}

# VAULT_ADDR and VAULT_TOKEN come from the environment.
provider "vault" {}

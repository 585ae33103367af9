terraform {
  required_version = ">= 1.11" # write-only arguments

  required_providers {
    vault = {
      source  = "hashicorp/vault"
      version = ">= 5.12" # data_json_wo of vault_generic_endpoint
    }
  }
}

# VAULT_ADDR and VAULT_TOKEN come from the environment.
provider "vault" {}

# SPDX-License-Identifier: MPL-2.0

# Agent writes the key to a file and runs a command that reloads the application.
#
#   vault agent -config=file.hcl

vault {
  address = "https://vault.example.com:8200"
  # ca_cert = "/etc/vault-agent/vault-ca.pem"   # or VAULT_CACERT
}

auto_auth {
  method "approle" {
    config = {
      role_id_file_path   = "/etc/vault-agent/role_id"
      secret_id_file_path = "/etc/vault-agent/secret_id"
      # Keep the SecretID file, so that Agent can be restarted. Remove this line if a
      # new SecretID is delivered for each start.
      remove_secret_id_file_after_reading = false
    }
  }
}

template_config {
  # While Vault or ECGrid is down, Agent keeps trying and the file does not change.
  exit_on_retry_failure = false
}

template {
  destination          = "/run/edi-gateway/ecgrid.key"
  perms                = "0600"
  error_on_missing_key = true # never write "<no value>" instead of a key

  contents = "{{ with secret \"ecgrid/keys/5001\" }}{{ .Data.api_key }}{{ end }}"

  # Runs after each change of the file. If it fails, Agent logs it and keeps the file.
  exec {
    command = ["systemctl", "reload", "edi-gateway"]
    timeout = "30s"
  }
}

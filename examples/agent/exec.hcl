# SPDX-License-Identifier: MPL-2.0

# Agent starts the application with the key in an environment variable, and restarts
# it with each new key. No file is written.
#
#   vault agent -config=exec.hcl

vault {
  address = "https://vault.example.com:8200"
  # ca_cert = "/etc/vault-agent/vault-ca.pem"   # or VAULT_CACERT
}

auto_auth {
  method "approle" {
    config = {
      role_id_file_path                   = "/etc/vault-agent/role_id"
      secret_id_file_path                 = "/etc/vault-agent/secret_id"
      remove_secret_id_file_after_reading = false
    }
  }
}

template_config {
  # While Vault or ECGrid is down, Agent keeps trying and the application keeps running.
  exit_on_retry_failure = false
}

env_template "ECGRID_API_KEY" {
  error_on_missing_key = true
  contents             = "{{ with secret \"ecgrid/keys/5001\" }}{{ .Data.api_key }}{{ end }}"
}

exec {
  command                   = ["/usr/local/bin/edi-gateway", "--listen=:4080"]
  restart_on_secret_changes = "always"
  restart_stop_signal       = "SIGTERM" # then SIGKILL after 30 s
}

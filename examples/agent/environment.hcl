# SPDX-License-Identifier: MPL-2.0

# Agent starts a .NET application with the key in its environment, and restarts it with
# each new key. No file is written, and no lease is created.
#
#   vault agent -config=environment.hcl

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

  # How often a key of a role with rotation_schedule is read. For other roles, Agent reads
  # again after the "ttl" in the response.
  static_secret_render_interval = "1m"
}

# .NET reads this as ECGrid:ApiKey. A second variable needs another "contents", if only by
# a space: of two equal templates, Agent sets only one.
env_template "ECGrid__ApiKey" {
  error_on_missing_key = true
  contents             = "{{ with secret \"ecgrid/static-creds/edi-gateway\" }}{{ .Data.api_key }}{{ end }}"
}

exec {
  command                   = ["/usr/local/bin/edi-gateway", "--listen=:4080"]
  restart_on_secret_changes = "always"
  restart_stop_signal       = "SIGTERM" # then SIGKILL after 30 s
}

# The key in a file of its own, for an application that reloads on command.
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
      # Keeps the SecretID where it is, so that Agent can be restarted. Where
      # something delivers a fresh SecretID for each start, leave this out.
      remove_secret_id_file_after_reading = false
    }
  }
}

template_config {
  # While Vault or ECGrid is down Agent keeps trying, and the file stays as it is.
  exit_on_retry_failure = false
}

template {
  destination          = "/run/edi-gateway/ecgrid.key"
  perms                = "0600"
  error_on_missing_key = true # never write "<no value>" where a key belongs

  contents = "{{ with secret \"ecgrid/keys/5001\" }}{{ .Data.api_key }}{{ end }}"

  # After each change of the file. A failure is logged; the file stays written.
  exec {
    command = ["systemctl", "reload", "edi-gateway"]
    timeout = "30s"
  }
}

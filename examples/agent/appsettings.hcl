# SPDX-License-Identifier: MPL-2.0

# Agent writes the key to a JSON file, which a .NET application adds to its configuration.
# No command runs: .NET watches the file.
#
#   vault agent -config=appsettings.hcl

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
  # While Vault or ECGrid is down, Agent keeps trying and the file does not change.
  exit_on_retry_failure = false

  # How often a key of a role with rotation_schedule is read. For other roles, Agent reads
  # again after the "ttl" in the response.
  static_secret_render_interval = "1m"
}

template {
  # A file of its own. appsettings.json and appsettings.Production.json belong to the
  # deployment.
  destination          = "/run/edi-gateway/appsettings.ecgrid.json"
  perms                = "0600"
  error_on_missing_key = true

  # toJSON quotes the key, whatever it contains.
  contents = <<-EOT
    {{ with secret "ecgrid/static-creds/edi-gateway" -}}
    { "ECGrid": { "ApiKey": {{ .Data.api_key | toJSON }} } }
    {{- end }}
  EOT
}

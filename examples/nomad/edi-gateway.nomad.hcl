# SPDX-License-Identifier: MPL-2.0

# Nomad writes the key to a file in the task's secrets directory, in memory, and sends a
# signal after each change.
#
#   nomad job run edi-gateway.nomad.hcl
job "edi-gateway" {
  group "edi-gateway" {
    task "edi-gateway" {
      driver = "docker"

      config {
        image = "registry.example.com/edi-gateway:1.0.0"
      }

      # Nomad logs in to Vault with this identity. The role is one of auth/jwt-nomad.
      identity {
        name = "vault_default"
        aud  = ["vault.io"]
        ttl  = "1h"
      }

      vault {
        role        = "edi-gateway"
        change_mode = "noop" # the task does not use the token itself
      }

      template {
        destination          = "secrets/ecgrid.key"
        perms                = "0400"
        uid                  = 10001 # the application's user
        error_on_missing_key = true
        change_mode          = "signal"
        change_signal        = "SIGHUP"
        data                 = "{{ with secret \"ecgrid/static-creds/edi-gateway\" }}{{ .Data.api_key }}{{ end }}"
      }

      env {
        ECGRID_API_KEY_FILE = "${NOMAD_SECRETS_DIR}/ecgrid.key"
      }
    }
  }
}

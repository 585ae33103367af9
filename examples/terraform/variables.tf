# SPDX-License-Identifier: MPL-2.0

variable "plugin_version" {
  description = "Version that the binary reports."
  type        = string
  default     = "v0.1.0"
}

variable "plugin_command" {
  description = "File name of the binary in Vault's plugin_directory."
  type        = string
  default     = "vault-plugin-ecgrid"
}

variable "plugin_sha256" {
  description = "SHA-256 of the binary in Vault's plugin_directory, not of the archive."
  type        = string
}

variable "ecgrid_transport" {
  description = "How ECGrid is called: soap or rest."
  type        = string
  default     = "soap"
}

variable "ecgrid_url" {
  description = "Endpoint for the transport. If empty, ECGrid's own."
  type        = string
  default     = ""
}

variable "ecgrid_ca_cert" {
  description = "PEM certificates to trust for the endpoint. If empty, those of the system."
  type        = string
  default     = ""
}

variable "ecgrid_username" {
  description = "LoginName of the ECGrid user. Only Vault should use it. Needed only with send_login."
  type        = string
  default     = ""
}

variable "ecgrid_password" {
  description = "Password of the ECGrid user. Needed only with send_login."
  type        = string
  default     = ""
  sensitive   = true
  ephemeral   = true # not in the state or in a saved plan
}

variable "send_login" {
  description = "Send endpoint and login in this run: the first time, and after a new password was set in ECGrid."
  type        = bool
  default     = false
}

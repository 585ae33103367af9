// SPDX-License-Identifier: MPL-2.0

// Package schema has the schema of the Vault provider for the resources that
// examples/terraform uses. Command extract makes vault.json.
package schema

import (
	_ "embed"
	"encoding/json"
)

// Provider is the content of vault.json.
type Provider struct {
	Version         string                // of the provider whose resources these are
	Package         string                // npm package from which the resources are
	EphemeralCommit string                // of the files in hashicorp/terraform-provider-vault
	License         string                // of both
	Resources       map[string]Attributes // by type, without nested blocks
	Ephemeral       map[string]Attributes // by type
}

// Attributes are the attributes of a type, by name.
type Attributes map[string]Attribute

// Attribute is one attribute.
type Attribute struct {
	Type      string // string, number, bool, list(string) or map(string)
	Required  bool   `json:",omitempty"`
	Optional  bool   `json:",omitempty"`
	Computed  bool   `json:",omitempty"`
	Sensitive bool   `json:",omitempty"`
	WriteOnly bool   `json:",omitempty"`
}

//go:embed vault.json
var vault []byte

// Vault returns the schema of the Vault provider.
func Vault() (p Provider, err error) {
	return p, json.Unmarshal(vault, &p)
}

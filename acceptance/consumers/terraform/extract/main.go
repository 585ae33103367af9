// SPDX-License-Identifier: MPL-2.0

// Command extract makes schema/vault.json, the schema of the Vault provider, from what the
// provider's authors have published:
//
//	npm pack @cdktf/provider-vault@15.6.1 && tar xzf cdktf-provider-vault-15.6.1.tgz
//	go run ./extract -cdktf package -provider CHECKOUT -commit COMMIT >schema/vault.json
//
// Resources come from the .jsii file of that npm package, which its authors generate from
// the schema of the released provider. It has no ephemeral resources. These come from the
// models and Schema functions in the provider's source. Only names, types and flags are
// taken. The package and the source are under MPL-2.0.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"vault-plugin-ecgrid/acceptance/consumers/terraform/schema"
)

// resources are those of examples/terraform.
var resources = map[string]string{
	"vault_generic_endpoint": "genericEndpoint.GenericEndpoint",
	"vault_kv_secret_v2":     "kvSecretV2.KvSecretV2",
	"vault_mount":            "mount.Mount",
	"vault_plugin":           "plugin.Plugin",
	"vault_policy":           "policy.Policy",
}

// ephemerals are files of the provider's source.
var ephemerals = map[string]string{
	"vault_generic_endpoint": "internal/vault/generic/generic_endpoint_ephemeral.go",
	"vault_generic_secret":   "internal/vault/secrets/ephemeral/generic_secret.go",
}

const ephemeralBase = "internal/framework/base/schema.go"

func main() {
	cdktf := flag.String("cdktf", "", "directory of the unpacked npm package @cdktf/provider-vault")
	source := flag.String("provider", "", "checkout of hashicorp/terraform-provider-vault")
	commit := flag.String("commit", "", "commit of the checkout, or of each file of it")
	flag.Parse()
	s, err := extract(*cdktf, *source, *commit)
	if err != nil {
		fmt.Fprintln(os.Stderr, "extract:", err)
		os.Exit(1)
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	_ = out.Encode(s)
}

func extract(cdktf, source, commit string) (schema.Provider, error) {
	s := schema.Provider{
		License:         "MPL-2.0",
		EphemeralCommit: commit,
		Resources:       map[string]schema.Attributes{},
		Ephemeral:       map[string]schema.Attributes{},
	}
	assembly, err := readAssembly(cdktf)
	if err != nil {
		return s, err
	}
	s.Package = assembly.Name + "@" + assembly.Version
	for name, class := range resources {
		s.Resources[name], s.Version, err = assembly.resource(class)
		if err != nil {
			return s, fmt.Errorf("%s: %w", name, err)
		}
	}
	for name, file := range ephemerals {
		s.Ephemeral[name], err = ephemeral(filepath.Join(source, ephemeralBase), filepath.Join(source, file))
		if err != nil {
			return s, fmt.Errorf("%s: %w", name, err)
		}
	}
	return s, nil
}

// assembly is a .jsii file.
type assembly struct {
	Name, Version string
	Types         map[string]struct{ Properties []property }
}

type property struct {
	Name     string
	Optional bool
	Type     propertyType
	Docs     struct{ Summary, Remarks string }
}

type propertyType struct {
	Primitive, FQN string
	Collection     struct {
		Kind        string
		ElementType struct{ Primitive string }
	}
	Union struct{ Types []propertyType }
}

func readAssembly(dir string) (a assembly, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, ".jsii"))
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(raw, &a)
}

// documented finds the provider's version and the attribute's name in the link that each
// property has.
var documented = regexp.MustCompile(`/hashicorp/vault/([0-9.]+)/docs/resources/\w+#(\w+)`)

// resource returns the attributes of a resource. What its Config has can be set. What only
// the class has is computed. Nested blocks are left out.
func (a assembly) resource(class string) (attributes schema.Attributes, version string, err error) {
	attributes = schema.Attributes{}
	known := map[string]bool{}
	config := a.Types[a.Name+"."+class+"Config"].Properties
	if len(config) == 0 {
		return nil, "", fmt.Errorf("%s has no %sConfig", a.Name, class)
	}
	for _, p := range config {
		known[p.Name] = true
		link := documented.FindStringSubmatch(p.Docs.Summary + p.Docs.Remarks)
		kind := p.Type.schemaType()
		if link == nil || kind == "" {
			continue // a meta-argument or a block
		}
		version = link[1]
		attributes[link[2]] = schema.Attribute{
			Type: kind, Required: !p.Optional, Optional: p.Optional,
			Computed:  link[2] == "id",                   // as in every resource of the SDK
			WriteOnly: strings.HasSuffix(link[2], "_wo"), // the provider's rule for names
		}
	}
	for _, p := range a.Types[a.Name+"."+class].Properties {
		kind := p.Type.schemaType()
		if known[strings.TrimSuffix(p.Name, "Input")] || kind == "" || p.Name == "tfResourceType" {
			continue
		}
		attributes[snake(p.Name)] = schema.Attribute{Type: kind, Computed: true}
	}
	return attributes, version, nil
}

var primitives = map[string]string{"string": "string", "number": "number", "boolean": "bool"}

// schemaType names the type, or is empty if the property is a block.
func (t propertyType) schemaType() string {
	switch element := primitives[t.Collection.ElementType.Primitive]; {
	case t.FQN == "cdktf.StringMap":
		return "map(string)"
	case t.Collection.Kind == "array" && element != "":
		return "list(" + element + ")"
	case t.Collection.Kind == "map" && element != "":
		return "map(" + element + ")"
	case len(t.Union.Types) > 0:
		return t.Union.Types[0].schemaType()
	}
	return primitives[t.Primitive]
}

var upper = regexp.MustCompile(`[A-Z]`)

func snake(camel string) string {
	return strings.ToLower(upper.ReplaceAllString(camel, "_$0"))
}

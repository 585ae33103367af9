// SPDX-License-Identifier: MPL-2.0

package examples

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// language has what Terraform's language itself allows in a block.
var language = map[string][]string{
	"resource":  {"depends_on", "count", "for_each", "provider", "lifecycle"},
	"ephemeral": {"depends_on", "count", "for_each", "provider", "lifecycle"},
	"variable":  {"type", "description", "default", "sensitive", "ephemeral", "nullable"},
}

// vaultProvider is the schema that the Vault provider publishes: by kind of block, by type.
type vaultProvider struct {
	Resources, Ephemeral map[string]map[string]struct{ Required, Optional bool }
}

func readVaultProvider(t *testing.T) (p vaultProvider) {
	t.Helper()
	raw, err := os.ReadFile("../../acceptance/consumers/terraform/schema/vault.json")
	if err == nil {
		err = json.Unmarshal(raw, &p)
	}
	if err != nil || len(p.Resources) == 0 || len(p.Ephemeral) == 0 {
		t.Fatal("no schema of the Vault provider:", err)
	}
	return p
}

// TestTerraformFiles checks the arguments of each file against the published schema. It
// needs no Terraform. With one, acceptance/consumers/terraform runs the files.
func TestTerraformFiles(t *testing.T) {
	for _, dir := range []string{"", "read-key"} {
		files, err := filepath.Glob(filepath.Join("../../examples/terraform", dir, "*.tf"))
		if err != nil || len(files) == 0 {
			t.Fatal("no files:", err)
		}
		c := terraformCheck{T: t, provider: readVaultProvider(t), defined: map[string]bool{}}
		for _, file := range files {
			c.file(file)
		}
		for _, name := range c.used {
			if !c.defined[name] {
				t.Errorf("%s is used but not defined", name)
			}
		}
	}
}

// terraformCheck collects the resources and variables that the files of a module define
// and use.
type terraformCheck struct {
	*testing.T
	provider vaultProvider
	defined  map[string]bool
	used     []string
}

func (c *terraformCheck) file(file string) {
	parsed, diagnostics := hclparse.NewParser().ParseHCLFile(file)
	if diagnostics.HasErrors() {
		c.Error(diagnostics)
		return
	}
	for _, block := range parsed.Body.(*hclsyntax.Body).Blocks {
		switch block.Type {
		case "resource":
			c.defined[block.Labels[0]+"."+block.Labels[1]] = true
			c.arguments(file, block, c.provider.Resources)
		case "ephemeral":
			c.defined["ephemeral."+block.Labels[0]+"."+block.Labels[1]] = true
			c.arguments(file, block, c.provider.Ephemeral)
		case "variable":
			c.defined["var."+block.Labels[0]] = true
			c.names(file, block, language["variable"])
		}
	}
}

// arguments checks a block of the provider: known names, no required one missing, and all
// references.
func (c *terraformCheck) arguments(file string, block *hclsyntax.Block, types map[string]map[string]struct{ Required, Optional bool }) {
	schema, known := types[block.Labels[0]]
	if !known {
		c.Errorf("%s: the provider has no %s %s", file, block.Type, block.Labels[0])
		return
	}
	names := slices.Clone(language[block.Type])
	for name, a := range schema {
		if a.Required || a.Optional {
			names = append(names, name)
		}
		if a.Required && block.Body.Attributes[name] == nil {
			c.Errorf("%s: %v has no %s", file, block.Labels, name)
		}
	}
	c.names(file, block, names)
	for _, attribute := range block.Body.Attributes {
		for _, reference := range attribute.Expr.Variables() {
			c.use(reference)
		}
	}
}

func (c *terraformCheck) names(file string, block *hclsyntax.Block, known []string) {
	used := slices.Collect(maps.Keys(block.Body.Attributes))
	for _, nested := range block.Body.Blocks {
		used = append(used, nested.Type)
	}
	for _, name := range used {
		if !slices.Contains(known, name) {
			c.Errorf("%s: %v has no argument %s", file, block.Labels, name)
		}
	}
}

// use records what a reference such as ephemeral.vault_generic_secret.ecgrid.data names.
func (c *terraformCheck) use(reference hcl.Traversal) {
	name, parts := reference.RootName(), 1
	switch name {
	case "path", "each":
		return
	case "ephemeral":
		parts = 2
	}
	for _, step := range reference[1 : parts+1] {
		name += "." + step.(hcl.TraverseAttr).Name
	}
	c.used = append(c.used, name)
}

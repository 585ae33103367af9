package examples

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// arguments are those of Terraform and of the provider (documentation of 5.12) that the
// examples may use.
var arguments = map[string][]string{
	"resource":               {"depends_on", "for_each", "lifecycle"},
	"vault_plugin":           {"type", "name", "command", "version", "sha256", "args", "env", "oci_image", "runtime"},
	"vault_mount":            {"path", "type", "plugin_version", "description", "default_lease_ttl_seconds", "max_lease_ttl_seconds", "options"},
	"vault_generic_endpoint": {"path", "data_json", "data_json_wo", "data_json_wo_version", "disable_read", "disable_delete", "ignore_absent_fields", "write_fields"},
	"vault_policy":           {"name", "policy"},
	"variable":               {"type", "description", "default", "sensitive", "ephemeral", "nullable"},
}

func TestTerraformFiles(t *testing.T) {
	files, err := filepath.Glob("../../examples/terraform/*.tf")
	if err != nil || len(files) == 0 {
		t.Fatal("no files:", err)
	}
	parser := hclparse.NewParser()
	c := terraformCheck{T: t, defined: map[string]bool{}}
	for _, file := range files {
		parsed, diagnostics := parser.ParseHCLFile(file)
		if diagnostics.HasErrors() {
			t.Error(diagnostics)
			continue
		}
		for _, block := range parsed.Body.(*hclsyntax.Body).Blocks {
			c.block(file, block)
		}
	}
	for _, name := range c.used {
		if !c.defined[name] {
			t.Errorf("%s is used but not defined", name)
		}
	}
}

// terraformCheck collects the resources and variables that the files define and use.
type terraformCheck struct {
	*testing.T
	defined map[string]bool
	used    []string
}

func (c *terraformCheck) block(file string, block *hclsyntax.Block) {
	known := arguments[block.Type]
	switch block.Type {
	case "resource":
		if arguments[block.Labels[0]] == nil {
			c.Errorf("%s: no resource %s", file, block.Labels[0])
		}
		known = append(slices.Clone(known), arguments[block.Labels[0]]...)
		c.defined[block.Labels[0]+"."+block.Labels[1]] = true
	case "variable":
		c.defined["var."+block.Labels[0]] = true
	default:
		return
	}
	for name, attribute := range block.Body.Attributes {
		if !slices.Contains(known, name) {
			c.Errorf("%s: %v has no argument %s", file, block.Labels, name)
		}
		if block.Type == "variable" {
			continue // the type of a variable looks like a reference
		}
		for _, reference := range attribute.Expr.Variables() {
			if root := reference.RootName(); root != "path" && root != "each" {
				c.used = append(c.used, root+"."+reference[1].(hcl.TraverseAttr).Name)
			}
		}
	}
	for _, nested := range block.Body.Blocks {
		if !slices.Contains(known, nested.Type) {
			c.Errorf("%s: %v has no block %s", file, block.Labels, nested.Type)
		}
	}
}

package examples

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// arguments are those of the provider's documentation as of 5.12, and of Terraform
// itself, as far as the examples could use them.
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
	defined := map[string]bool{}
	var used []string
	for _, file := range files {
		parsed, diagnostics := parser.ParseHCLFile(file)
		if diagnostics.HasErrors() {
			t.Error(diagnostics)
			continue
		}
		for _, block := range parsed.Body.(*hclsyntax.Body).Blocks {
			known := arguments[block.Type]
			switch block.Type {
			case "resource":
				if arguments[block.Labels[0]] == nil {
					t.Errorf("%s: no resource %s", file, block.Labels[0])
				}
				known = append(slices.Clone(known), arguments[block.Labels[0]]...)
				defined[block.Labels[0]+"."+block.Labels[1]] = true
			case "variable":
				defined["var."+block.Labels[0]] = true
			default:
				continue
			}
			for name, attribute := range block.Body.Attributes {
				if !slices.Contains(known, name) {
					t.Errorf("%s: %v has no argument %s", file, block.Labels, name)
				}
				if block.Type == "variable" {
					continue // its type looks like a reference
				}
				for _, reference := range attribute.Expr.Variables() {
					if root := reference.RootName(); root != "path" && root != "each" {
						used = append(used, root+"."+reference[1].(hcl.TraverseAttr).Name)
					}
				}
			}
			for _, nested := range block.Body.Blocks {
				if !slices.Contains(known, nested.Type) {
					t.Errorf("%s: %v has no block %s", file, block.Labels, nested.Type)
				}
			}
		}
	}
	for _, name := range used {
		if !defined[name] {
			t.Errorf("%s is used and nowhere defined", name)
		}
	}
}

// SPDX-License-Identifier: MPL-2.0

// Package examples checks the files of examples/ without a Vault: manifests against the
// published schemas, and Terraform files with HashiCorp's parser.
package examples

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"
)

// published is a module with CRDs. It is downloaded and not compiled, so it is not in
// go.mod.
type published struct {
	module, sum string
	crds        []string
}

// operators are the newest versions whose modules can be downloaded.
var operators = []published{
	{
		module: "sigs.k8s.io/secrets-store-csi-driver@v1.4.0",
		sum:    "h1:R9JVcKOs11fEuiOLlH1BWMeyb6WYzvElRVkq1BWJkr4=",
		crds:   []string{"config/crd/bases/secrets-store.csi.x-k8s.io_secretproviderclasses.yaml"},
	},
	{
		module: "github.com/hashicorp/vault-secrets-operator@v0.10.0",
		sum:    "h1:BjOTBJRqx1SLo7NeyqNJWRPDyfRscbqPtGU1U2LzArg=",
		crds: []string{
			"chart/crds/secrets.hashicorp.com_vaultconnections.yaml",
			"chart/crds/secrets.hashicorp.com_vaultauths.yaml",
			"chart/crds/secrets.hashicorp.com_vaultdynamicsecrets.yaml",
		},
	},
	{
		module: "github.com/external-secrets/external-secrets@v1.3.2",
		sum:    "h1:u2J8RjlHIeF0oZCqtl92adI/uZWUwOesJIDkfql6LqQ=",
		crds: []string{
			"config/crds/bases/generators.external-secrets.io_vaultdynamicsecrets.yaml",
			"config/crds/bases/external-secrets.io_externalsecrets.yaml",
		},
	},
}

// fetch returns the module's directory in the module cache.
func (p published) fetch() (string, error) {
	cmd := exec.Command("go", "mod", "download", "-json", p.module)
	cmd.Dir = os.TempDir() // outside of any module
	out, err := cmd.Output()
	var download struct{ Dir, Sum, Error string }
	if jsonErr := json.Unmarshal(out, &download); jsonErr != nil || download.Error != "" {
		return "", fmt.Errorf("%s: %v %s", p.module, err, download.Error)
	}
	if download.Sum != p.sum {
		return "", fmt.Errorf("%s has the checksum %s, want %s", p.module, download.Sum, p.sum)
	}
	return download.Dir, nil
}

// customResources returns the schemas by "apiVersion kind".
func customResources() (map[string]*jsonschema.Schema, error) {
	all := map[string]*jsonschema.Schema{}
	for _, p := range operators {
		dir, err := p.fetch()
		if err != nil {
			return nil, err
		}
		for _, file := range p.crds {
			if err := addCRD(all, filepath.Join(dir, filepath.FromSlash(file))); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return all, nil
}

func addCRD(all map[string]*jsonschema.Schema, file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var crd struct {
		Spec struct {
			Group    string
			Names    struct{ Kind string }
			Versions []struct {
				Name       string
				Served     bool
				Deprecated bool
				Schema     struct{ OpenAPIV3Schema map[string]any }
			}
		}
	}
	if err := yaml.Unmarshal(raw, &crd); err != nil {
		return err
	}
	for _, v := range crd.Spec.Versions {
		if !v.Served || v.Deprecated {
			continue
		}
		root := v.Schema.OpenAPIV3Schema
		closeObjects(root)
		// Kubernetes defines metadata itself.
		root["properties"].(map[string]any)["metadata"] = map[string]any{"type": "object"}
		name := crd.Spec.Group + "/" + v.Name + " " + crd.Spec.Names.Kind
		compiler := jsonschema.NewCompiler()
		compiler.DefaultDraft(jsonschema.Draft4) // OpenAPI 3.0 is based on it
		if err := compiler.AddResource("crd.json", root); err != nil {
			return err
		}
		if all[name], err = compiler.Compile("crd.json"); err != nil {
			return err
		}
	}
	return nil
}

// closeObjects makes a schema refuse unknown fields. The API server would drop them with a
// warning.
func closeObjects(schema any) {
	switch s := schema.(type) {
	case map[string]any:
		_, named := s["properties"].(map[string]any)
		_, open := s["additionalProperties"]
		if preserve, _ := s["x-kubernetes-preserve-unknown-fields"].(bool); s["type"] == "object" && named && !open && !preserve {
			s["additionalProperties"] = false
		}
		for _, sub := range s {
			closeObjects(sub)
		}
	case []any:
		for _, sub := range s {
			closeObjects(sub)
		}
	}
}

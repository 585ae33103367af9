// SPDX-License-Identifier: MPL-2.0

package eso

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"vault-plugin-ecgrid/acceptance/consumertest"
)

// newest is a later release. Its CRDs are checked, but its code is not run: it consists of
// modules that have no released versions, so that go cannot get them.
const (
	newest    = "github.com/external-secrets/external-secrets@v1.3.2"
	newestSum = "h1:u2J8RjlHIeF0oZCqtl92adI/uZWUwOesJIDkfql6LqQ="
)

// definition is a kind as the API server knows it from a CRD.
type definition struct {
	structural *schema.Structural
	validator  validation.SchemaCreateValidator
}

// admit does what the API server does with a new object: it refuses what the CRD does not
// allow, and sets the defaults. Unknown fields are refused, as with strict validation. The
// CRDs have no CEL rules.
func (d definition) admit(object map[string]any) error {
	dropped := pruning.PruneWithOptions(object, d.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	if len(dropped) > 0 {
		return errors.New("unknown fields: " + strings.Join(dropped, ", "))
	}
	defaulting.Default(object, d.structural)
	return validation.ValidateCustomResource(nil, object, d.validator).ToAggregate()
}

// definitions returns the kinds of a release by "apiVersion kind".
func definitions(t *testing.T, release string) map[string]definition {
	t.Helper()
	all := map[string]definition{}
	for _, name := range []string{"generators.external-secrets.io_vaultdynamicsecrets.yaml", "external-secrets.io_externalsecrets.yaml"} {
		raw, err := os.ReadFile(filepath.Join(release, "config", "crds", "bases", name))
		consumertest.Must(t, err)
		if strings.Contains(string(raw), "x-kubernetes-validations") {
			t.Errorf("%s has CEL rules, which are not checked", name)
		}
		var external apiextensionsv1.CustomResourceDefinition
		consumertest.Must(t, yaml.Unmarshal(raw, &external))
		var crd apiextensions.CustomResourceDefinition
		consumertest.Must(t, apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&external, &crd, nil))
		for _, v := range crd.Spec.Versions {
			if !v.Served {
				continue
			}
			found, err := apiextensions.GetSchemaForVersion(&crd, v.Name)
			consumertest.Must(t, err)
			var d definition
			d.structural, err = schema.NewStructural(found.OpenAPIV3Schema)
			consumertest.Must(t, err)
			d.validator, _, err = validation.NewSchemaValidator(found.OpenAPIV3Schema)
			consumertest.Must(t, err)
			all[crd.Spec.Group+"/"+v.Name+" "+crd.Spec.Names.Kind] = d
		}
	}
	return all
}

// copied is the release that runs, as esocopy has left it.
func copied() string { return filepath.Join(consumertest.Root(), "bin", ".external-secrets") }

// downloaded returns the directory of a module that is not compiled, so go.sum lacks it.
func downloaded(t *testing.T, module, sum string) string {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", module)
	cmd.Dir = os.TempDir() // outside of any module
	out, err := cmd.Output()
	consumertest.Must(t, err)
	var answer struct{ Dir, Sum string }
	consumertest.Must(t, json.Unmarshal(out, &answer))
	if answer.Sum != sum {
		t.Fatalf("%s has the checksum %s, want %s", module, answer.Sum, sum)
	}
	return answer.Dir
}

func exampleText(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(consumertest.Root(), "examples", "kubernetes", "external-secrets.yaml"))
	consumertest.Must(t, err)
	return string(raw)
}

// parse admits the objects of a manifest.
func parse(manifest string, kinds map[string]definition) (objects []unstructured.Unstructured, err error) {
	for document := range strings.SplitSeq(manifest, "\n---\n") {
		var o unstructured.Unstructured
		if err := yaml.UnmarshalStrict([]byte(document), &o.Object); err != nil {
			return nil, err
		}
		d, ok := kinds[o.GetAPIVersion()+" "+o.GetKind()]
		if !ok {
			return nil, errors.New("no CRD of " + o.GetAPIVersion() + " " + o.GetKind())
		}
		if err := d.admit(o.Object); err != nil {
			return nil, err
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// TestManifest checks the example, and that mistakes in it would be found.
func TestManifest(t *testing.T) {
	t.Parallel()
	for name, release := range map[string]string{"the release that runs": copied(), newest: downloaded(t, newest, newestSum)} {
		kinds, manifest := definitions(t, release), exampleText(t)
		if _, err := parse(manifest, kinds); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for right, wrong := range map[string]string{
			"external-secrets.io/v1\n": "external-secrets.io/v2\n",
			"resultType: Data":         "resultType: All",
			"mountPath:":               "mount:",
			"refreshInterval: ":        "refreshinterval: ",
			"  path: ":                 "  pathh: ",
			"      name: vault-ca":     "      nam: vault-ca",
		} {
			changed := strings.Replace(manifest, right, wrong, 1)
			if _, err := parse(changed, kinds); changed == manifest || err == nil {
				t.Errorf("%s: the example with %q passes", name, wrong)
			}
		}
	}
}

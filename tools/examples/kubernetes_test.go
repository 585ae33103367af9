// SPDX-License-Identifier: MPL-2.0

package examples

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// kubernetesTypes are built into Kubernetes. They are decoded strictly.
var kubernetesTypes = map[string]func() any{
	"v1 ServiceAccount":  func() any { return new(corev1.ServiceAccount) },
	"apps/v1 Deployment": func() any { return new(appsv1.Deployment) },
}

func schemas(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	all, err := customResources()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestManifests(t *testing.T) {
	custom := schemas(t)
	files, err := filepath.Glob("../../examples/kubernetes/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no manifests:", err)
	}
	seen := map[string]bool{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range strings.Split(string(raw), "\n---\n") {
			kind, err := valid(custom, document)
			if err != nil {
				t.Errorf("%s: %s: %v", filepath.Base(file), kind, err)
			}
			seen[kind] = true
		}
	}
	for kind := range custom {
		if !seen[kind] {
			t.Errorf("no example of %s", kind)
		}
	}
}

// TestMistakesAreFound is the positive control of TestManifests.
func TestMistakesAreFound(t *testing.T) {
	custom := schemas(t)
	for file, mistakes := range map[string]map[string]string{
		"vault-secrets-operator.yaml": {
			"allowStaticCreds: true": "allowStaticCreds: sometimes",
			"  path: static-creds":   "  pathh: static-creds",
			"skipTLSVerify: false":   "skipTLSVerify: never",
			"method: kubernetes":     "method: password",
			"excludeRaw: true":       "excludeRaw: true\n      nothing: true",
		},
		"external-secrets.yaml": {
			"resultType: Data":    "resultType: All",
			"mountPath:":          "mount:",
			"refreshInterval: 5m": "refreshinterval: 5m",
		},
		"agent-injector.yaml": {
			"serviceAccountName:":         "serviceAccountNam:",
			"runAsUser: 10001":            "runAsUser: one",
			"agent-inject-perms":          "agent-inject-permissions",
			"vault.hashicorp.com/role":    "vault.hashicorp.com/vault-role",
			"shareProcessNamespace: true": "shareProcessNamespace: yes please",
			"audience: vault":             "audiences: vault",
		},
		"csi.yaml": {
			"provider: vault":    "providers: vault",
			"audience: vault":    "audiences: vault",
			"roleName:":          "role:",
			"secretKey: api_key": "secretName: api_key",
			"objectName:":        "name:",
			"readOnly: true":     "readOnly: always",
		},
	} {
		raw, err := os.ReadFile(filepath.Join("../../examples/kubernetes", file))
		if err != nil {
			t.Fatal(err)
		}
		mistakesAreFound(t, string(raw), mistakes, func(manifest string) bool {
			return slices.ContainsFunc(strings.Split(manifest, "\n---\n"), func(document string) bool {
				_, err := valid(custom, document)
				return err != nil
			})
		})
	}
}

func valid(custom map[string]*jsonschema.Schema, document string) (kind string, err error) {
	var object struct {
		APIVersion, Kind string
		Metadata         struct{ Name, Namespace string }
		Spec             struct{ Parameters map[string]string }
	}
	if err := yaml.Unmarshal([]byte(document), &object); err != nil {
		return "", err
	}
	kind = object.APIVersion + " " + object.Kind
	if object.Metadata.Name == "" || object.Metadata.Namespace == "" {
		return kind, errors.New("no name or namespace")
	}
	if schema := custom[kind]; schema != nil {
		var instance any
		if err := yaml.UnmarshalStrict([]byte(document), &instance); err != nil {
			return kind, err
		}
		return kind, errors.Join(schema.Validate(instance), providerKnows(object.Spec.Parameters))
	}
	decode := kubernetesTypes[kind]
	if decode == nil {
		return kind, errors.New("there is no schema for this kind")
	}
	decoded := decode()
	if err := yaml.UnmarshalStrict([]byte(document), decoded); err != nil {
		return kind, err
	}
	if deployment, is := decoded.(*appsv1.Deployment); is {
		return kind, injectorKnows(deployment.Spec.Template.Annotations)
	}
	return kind, nil
}

// annotation matches those of agent-inject/agent/annotations.go in hashicorp/vault-k8s that
// the examples use. Those of the last line end with the secret's name.
var annotation = regexp.MustCompile(`^vault\.hashicorp\.com/(` + strings.Join([]string{
	"agent-inject", "role", "agent-init-first", "agent-pre-populate", "agent-run-as-same-user",
	"agent-service-account-token-volume-name", "tls-secret", "ca-cert", "template-config-exit-on-retry-failure",
	"(agent-inject-secret|agent-inject-perms|agent-inject-template|agent-inject-command|error-on-missing-key)-[a-z-]+",
}, "|") + `)$`)

func injectorKnows(annotations map[string]string) error {
	for name := range annotations {
		if strings.HasPrefix(name, "vault.hashicorp.com/") && !annotation.MatchString(name) {
			return fmt.Errorf("unknown Injector annotation %s", name)
		}
	}
	return nil
}

// providerParameters are those of internal/config/config.go in hashicorp/vault-csi-provider
// that the examples may use.
var providerParameters = []string{
	"vaultAddress", "vaultNamespace", "vaultCACertPath", "vaultAuthMountPath", "roleName", "audience", "objects",
}

// providerKnows checks a SecretProviderClass for Vault's provider. Its CRD allows any
// parameter.
func providerKnows(parameters map[string]string) error {
	for name := range parameters {
		if !slices.Contains(providerParameters, name) {
			return fmt.Errorf("unknown parameter %s", name)
		}
	}
	var objects []struct {
		ObjectName     string      `json:"objectName"`
		SecretPath     string      `json:"secretPath"`
		SecretKey      string      `json:"secretKey"`
		FilePermission os.FileMode `json:"filePermission"`
	}
	if err := yaml.UnmarshalStrict([]byte(parameters["objects"]), &objects); err != nil {
		return fmt.Errorf("objects: %w", err)
	}
	for _, o := range objects {
		if o.ObjectName == "" || o.SecretPath == "" || o.SecretKey == "" {
			return errors.New("an object lacks its name, path or key")
		}
	}
	return nil
}

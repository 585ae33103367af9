// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
)

// TestKubernetesReads reads the paths of the manifests of examples/kubernetes with the role
// and the policy of its README. tools/examples checks what needs no Vault, and
// acceptance/consumers runs the operators.
func TestKubernetesReads(t *testing.T) {
	t.Parallel()
	m := exampleVault(t)
	m.configure(t, nil)
	readme := exampleFile(t, "kubernetes/README.md")
	role := oneMatch(t, readme, `\nvault write (ecgrid/roles/\S+ .*)\n`)
	m.run(t, append([]string{"write"}, strings.Fields(role)...)...)
	policy := oneMatch(t, readme, `(?s)\nvault policy write edi-gateway - <<EOF\n(.*?)EOF\n`)
	m.ok(t, http.MethodPut, "sys/policies/acl/edi-gateway", fields{"policy": policy})
	login := m.withPolicies(t, "edi-gateway")

	vso := exampleFile(t, "kubernetes/vault-secrets-operator.yaml")
	eso := exampleFile(t, "kubernetes/external-secrets.yaml")
	injector := exampleFile(t, "kubernetes/agent-injector.yaml")
	csi := exampleFile(t, "kubernetes/csi.yaml")
	for name, read := range map[string]string{
		"Vault Secrets Operator": path(oneMatch(t, vso, `\n  mount: (ecgrid)\n`), oneMatch(t, vso, `\n  path: (\S+)`)),
		"External Secrets":       oneMatch(t, eso, `\n  path: /(\S+)`),
		"Agent Injector":         oneMatch(t, injector, `agent-inject-secret-ecgrid-key: (\S+)`),
		"CSI driver":             oneMatch(t, csi, `secretPath: (\S+)`),
	} {
		for range 2 {
			a := login.read(t, read)
			if a.Data["api_key"] != m.key(simulator.UserID5001) {
				t.Errorf("%s: %s is not the user's key", name, read)
			}
			if a.LeaseID != "" || a.Data["ttl"] == nil {
				t.Errorf("%s: the answer has a lease, or no ttl", name)
			}
			m.ok(t, http.MethodPost, m.at("rotate-key/5001"), nil)
		}
	}
}

// oneMatch returns the group of a pattern that matches exactly once.
func oneMatch(t *testing.T, text, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1)
	if len(found) != 1 {
		t.Fatalf("%q is in the example %d times", pattern, len(found))
	}
	return found[0][1]
}

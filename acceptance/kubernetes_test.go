package acceptance

import (
	"net/http"
	"regexp"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

// TestKubernetesReads sends the requests that the Kubernetes operators send for the
// manifests of examples/kubernetes, with the policy of its README. tools/examples checks
// what needs no Vault.
func TestKubernetesReads(t *testing.T) {
	t.Parallel()
	m := exampleVault(t)
	m.configure(t, nil)
	m.writeExamplePolicy(t, "team-5001")
	login := m.withPolicies(t, "team-5001")

	vso := exampleFile(t, "kubernetes/vault-secrets-operator.yaml")
	eso := exampleFile(t, "kubernetes/external-secrets.yaml")
	injector := exampleFile(t, "kubernetes/agent-injector.yaml")
	for name, read := range map[string]string{
		"Vault Secrets Operator": path(oneMatch(t, vso, `\n  mount: (\S+)\n  path: `), oneMatch(t, vso, `\n  path: (\S+)`)),
		"External Secrets":       oneMatch(t, eso, `\n  path: /(\S+)`),
		"Agent Injector":         oneMatch(t, injector, `agent-inject-secret-ecgrid-key: (\S+)`),
	} {
		a := login.read(t, read)
		if a.Data["api_key"] != m.key(simulator.UserID5001) {
			t.Errorf("%s: %s is not the user's key", name, read)
		}
		if !a.Renewable || a.LeaseID == "" {
			t.Errorf("%s: the lease cannot be renewed", name)
		}
		// The Vault Secrets Operator renews. After a rotation that is refused, and it
		// reads again.
		renew := fields{"lease_id": a.LeaseID, "increment": a.LeaseDuration}
		login.ok(t, http.MethodPut, "sys/leases/renew", renew)
		m.ok(t, http.MethodPost, m.at("rotate-key/5001"), nil)
		login.wantStatus(t, http.StatusBadRequest, http.MethodPut, "sys/leases/renew", renew)
		if again := login.read(t, read); again.Data["api_key"] != m.key(simulator.UserID5001) {
			t.Errorf("%s: %s is not the new key", name, read)
		}
	}
}

// TestInjectorTemplate renders the template of the annotation with a real Agent, as the
// Injector does.
func TestInjectorTemplate(t *testing.T) {
	t.Parallel()
	m := exampleMount(t, fields{"ttl": agentTTL})
	template := oneMatch(t, exampleFile(t, "kubernetes/agent-injector.yaml"), `agent-inject-template-ecgrid-key: \|-\n\s+(.+)\n`)
	f := newFileAgent(t, m, `echo >>`)
	f.config = regexp.MustCompile(`(?m)^  contents = .*$`).ReplaceAllLiteralString(f.config, "  contents = <<EOT\n"+template+"\nEOT")
	f.start()
	for range 2 {
		eventually(t, 20*time.Second, "the key is rendered", func() bool {
			return f.content() == m.key(simulator.UserID5001)+"\n" // the line break is the heredoc's
		})
		f.rotateKey()
	}
	f.checkRunning()
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

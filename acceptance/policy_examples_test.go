// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
)

const list = "LIST"

// request is one request to Vault.
type request struct {
	method, path string
	body         any
}

// policyTable lists the requests that each policy of examples/policies allows, in an order
// in which they work. The policy denies all others in everyRequest.
var policyTable = map[string][]request{
	"team-5001":    {{http.MethodGet, "ecgrid/keys/5001", nil}},
	"team-by-role": {{http.MethodGet, "ecgrid/creds/gateway", nil}, {http.MethodGet, "ecgrid/static-creds/gateway", nil}},
	"auditors": {
		{http.MethodGet, "ecgrid/config", nil},
		{list, "ecgrid/keys", nil},
		{list, "ecgrid/roles", nil},
		{http.MethodGet, "ecgrid/roles/gateway", nil},
		{http.MethodGet, "ecgrid/roles/other", nil},
		{http.MethodGet, "ecgrid/status", nil},
		{http.MethodGet, "ecgrid/info", nil},
		{http.MethodGet, "ecgrid/metrics", nil},
	},
	"monitoring": {{http.MethodGet, "ecgrid/metrics", nil}},
	"operators": {
		{http.MethodGet, "ecgrid/config", nil},
		{http.MethodPost, "ecgrid/config", fields{"ttl": "1h"}},
		{http.MethodPatch, "ecgrid/config", fields{"ttl": "2h"}},
		{list, "ecgrid/keys", nil},
		{list, "ecgrid/roles", nil},
		{http.MethodPost, "ecgrid/roles/new", fields{"user_id": 5002}},
		{http.MethodGet, "ecgrid/roles/gateway", nil},
		{http.MethodGet, "ecgrid/roles/other", nil},
		{http.MethodPost, "ecgrid/roles/gateway", fields{"ttl": "1h"}},
		{http.MethodPatch, "ecgrid/roles/gateway", fields{"ttl": "2h"}},
		{http.MethodPost, "ecgrid/rotate-key/5001", nil},
		{http.MethodPost, "ecgrid/rotate-key/5002", nil},
		{http.MethodPost, "ecgrid/rotate-role/gateway", nil},
		{http.MethodPost, "ecgrid/rotate-root", nil},
		{http.MethodGet, "ecgrid/status", nil},
		{http.MethodGet, "ecgrid/info", nil},
		{http.MethodGet, "ecgrid/metrics", nil},
		{http.MethodDelete, "ecgrid/roles/new", nil},
		{http.MethodDelete, "ecgrid/roles/gateway", nil},
		{http.MethodDelete, "ecgrid/config", nil},
	},
}

// everyRequest has each operation of the engine, and requests that might get around a
// policy.
var everyRequest = slices.Concat(policyTable["operators"], []request{
	{http.MethodGet, "ecgrid/keys/5001", nil},
	{http.MethodGet, "ecgrid/keys/5002", nil},
	{http.MethodGet, "ecgrid/keys/05001", nil},
	{http.MethodGet, "ecgrid/keys/5001/", nil},
	{http.MethodGet, "ecgrid/keys/1001", nil},
	{http.MethodGet, "ecgrid/creds/gateway", nil},
	{http.MethodGet, "ecgrid/creds/other", nil},
	{http.MethodGet, "ecgrid/creds/gateway/x", nil},
	{http.MethodGet, "ecgrid/static-creds/gateway", nil},
	{http.MethodGet, "ecgrid/static-creds/other", nil},
	{http.MethodGet, "ecgrid/static-creds/gateway/x", nil},
	{http.MethodPost, "ecgrid/keys/5001", fields{"ttl": "1m"}},
	{http.MethodPost, "ecgrid/creds/gateway", nil},
	{http.MethodGet, "sys/policies/acl/team-5001", nil},
	{list, "sys/leases/lookup/ecgrid/keys/5001", nil},
	{http.MethodPost, "sys/leases/revoke-prefix/ecgrid", nil},
	{http.MethodGet, "sys/raw/logical", nil},
	{http.MethodGet, "ecgrid/openapi", nil},
})

// TestExamplePolicies sends every request with each policy of examples/policies.
func TestExamplePolicies(t *testing.T) {
	t.Parallel()
	m := exampleVault(t)
	m.configure(t, nil)
	m.ok(t, http.MethodPost, m.at("roles/gateway"), fields{"user_id": 5001})
	m.ok(t, http.MethodPost, m.at("roles/other"), fields{"user_id": 5002})

	tested := slices.Collect(maps.Keys(policyTable))
	for _, name := range append(tested, "by-identity") {
		m.writeExamplePolicy(t, name)
	}
	files, err := filepath.Glob(filepath.Join(repoRoot(), "examples", "policies", "*.hcl"))
	if err != nil || len(files) != len(tested)+1 {
		t.Errorf("examples/policies has %d policies (%v), %d are tested", len(files), err, len(tested)+1)
	}

	m.checkDenied(t)
	for _, name := range []string{"team-5001", "team-by-role", "auditors", "monitoring", "operators"} { // operators end with a delete
		m.checkAllowed(t, name)
	}
}

// checkDenied sends the denied requests with each policy.
func (m *mount) checkDenied(t *testing.T) {
	t.Helper()
	for name, allowed := range policyTable {
		client := m.withPolicies(t, name)
		for _, r := range everyRequest {
			if !slices.ContainsFunc(allowed, r.same) {
				if a := client.send(t, r); a.Status != http.StatusForbidden {
					t.Errorf("%s: %s %s: HTTP %d: %s", name, r.method, r.path, a.Status, a.Body)
				}
			}
		}
	}
	if n := m.Count(keyOp); n != 0 {
		t.Errorf("ECGrid was asked for %d keys by denied requests", n)
	}
}

// checkAllowed sends the allowed requests. Only the teams' policies may read keys.
func (m *mount) checkAllowed(t *testing.T, policy string) {
	t.Helper()
	client := m.withPolicies(t, policy)
	for _, r := range policyTable[policy] {
		a := client.send(t, r)
		if !a.OK() {
			t.Errorf("%s: %s %s: HTTP %d: %s", policy, r.method, r.path, a.Status, a.Body)
		}
		key, isKey := a.Data["api_key"]
		if team := strings.HasPrefix(policy, "team-"); team != isKey || team && key != m.key(simulator.UserID5001) {
			t.Errorf("%s: %s %s answers with a key: %v", policy, r.method, r.path, isKey)
		}
		if found := search(a.Body, m.secrets()); !isKey && found != "" {
			t.Errorf("%s: %s %s answers with a secret: %s", policy, r.method, r.path, found)
		}
	}
}

// Operators cannot read keys, even with a second policy that allows it.
func TestOperatorsNeverReadKeys(t *testing.T) {
	t.Parallel()
	m := exampleVault(t)
	m.configure(t, nil)
	m.ok(t, http.MethodPost, m.at("roles/gateway"), fields{"user_id": 5001})
	m.writeExamplePolicy(t, "operators")
	for name, pattern := range map[string]string{"all": "ecgrid/*", "keys": "ecgrid/keys/*", "creds": "ecgrid/creds/*", "static-creds": "ecgrid/static-creds/*"} {
		m.ok(t, http.MethodPut, path("sys/policies/acl", name), fields{"policy": fmt.Sprintf(`path %q { capabilities = ["read"] }`, pattern)})
	}
	client := m.withPolicies(t, "operators", "all", "keys", "creds", "static-creds")
	client.read(t, m.at("config"))
	for _, p := range []string{"keys/5001", "keys/5002", "creds/gateway", "static-creds/gateway"} {
		client.wantStatus(t, http.StatusForbidden, http.MethodGet, m.at(p), nil)
	}
}

// The policy takes the UserID from the entity's metadata.
func TestPolicyByIdentity(t *testing.T) {
	t.Parallel()
	m := exampleVault(t)
	m.configure(t, nil)
	m.writeExamplePolicy(t, "by-identity")
	m.ok(t, http.MethodPost, "sys/auth/userpass", fields{"type": "userpass"})
	accessor, _ := m.read(t, "sys/auth/userpass").Data["accessor"].(string)

	loginAs := func(name string, metadata fields) *client {
		t.Helper()
		entity := m.ok(t, http.MethodPost, "identity/entity", fields{"name": name, "metadata": metadata})
		m.ok(t, http.MethodPost, "identity/entity-alias", fields{"name": name, "canonical_id": entity.Data["id"], "mount_accessor": accessor})
		password := m.newSecret("Password-of-" + name)
		m.ok(t, http.MethodPost, path("auth/userpass/users", name), fields{"password": password, "token_policies": []string{"by-identity"}})
		return m.withToken(m.ok(t, http.MethodPost, path("auth/userpass/login", name), fields{"password": password}).Auth.ClientToken)
	}
	for name, c := range map[string]struct {
		metadata fields
		reads    []string
	}{
		"of-5001":           {fields{"ecgrid_user_id": "5001"}, []string{"5001"}},
		"of-5002":           {fields{"ecgrid_user_id": "5002"}, []string{"5002"}},
		"of-other-metadata": {fields{"team": "5001"}, nil},
		"without-metadata":  {nil, nil},
		"of-an-empty-text":  {fields{"ecgrid_user_id": ""}, nil},
		"of-all":            {fields{"ecgrid_user_id": "*"}, []string{"5001", "5002"}}, // as the example warns
	} {
		client := loginAs(name, c.metadata)
		for _, id := range []string{"5001", "5002"} {
			if slices.Contains(c.reads, id) {
				client.read(t, m.at("keys", id))
			} else {
				client.wantStatus(t, http.StatusForbidden, http.MethodGet, m.at("keys", id), nil)
			}
		}
		client.wantStatus(t, http.StatusForbidden, list, m.at("keys"), nil)
		client.wantStatus(t, http.StatusForbidden, http.MethodGet, m.at("config"), nil)
	}
}

func (r request) same(other request) bool { return r.method == other.method && r.path == other.path }

func (c *client) send(t *testing.T, r request) answer {
	t.Helper()
	a, err := c.do(r.method, r.path, r.body)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// writeExamplePolicy writes a policy of examples/policies.
func (m *mount) writeExamplePolicy(t *testing.T, name string) {
	t.Helper()
	m.ok(t, http.MethodPut, path("sys/policies/acl", name), fields{"policy": exampleFile(t, "policies/"+name+".hcl")})
}

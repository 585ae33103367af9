package acceptance

import (
	"encoding/json"
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

// request is one that a policy of examples/policies allows or denies.
type request struct {
	method, path string
	body         fields
}

// policyTable says what each policy of examples/policies allows, in an order in
// which it can be done. Everything else in everyPath is denied.
var policyTable = map[string][]request{
	"team-5001":    {{http.MethodGet, "ecgrid/keys/5001", nil}},
	"team-by-role": {{http.MethodGet, "ecgrid/creds/gateway", nil}},
	"auditors": {
		{http.MethodGet, "ecgrid/config", nil},
		{list, "ecgrid/keys", nil},
		{list, "ecgrid/roles", nil},
		{http.MethodGet, "ecgrid/roles/gateway", nil},
		{http.MethodGet, "ecgrid/roles/other", nil},
		{http.MethodGet, "ecgrid/status", nil},
		{http.MethodGet, "ecgrid/info", nil},
	},
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
		{http.MethodDelete, "ecgrid/roles/new", nil},
		{http.MethodDelete, "ecgrid/roles/gateway", nil},
		{http.MethodDelete, "ecgrid/config", nil},
	},
}

// everyPath is each operation of the engine, and the ways round it.
var everyPath = slices.Concat(policyTable["operators"], []request{
	{http.MethodGet, "ecgrid/keys/5001", nil},
	{http.MethodGet, "ecgrid/keys/5002", nil},
	{http.MethodGet, "ecgrid/keys/05001", nil},
	{http.MethodGet, "ecgrid/keys/5001/", nil},
	{http.MethodGet, "ecgrid/keys/1001", nil},
	{http.MethodGet, "ecgrid/creds/gateway", nil},
	{http.MethodGet, "ecgrid/creds/other", nil},
	{http.MethodGet, "ecgrid/creds/gateway/x", nil},
	{http.MethodPost, "ecgrid/keys/5001", fields{"ttl": "1m"}},
	{http.MethodPost, "ecgrid/creds/gateway", nil},
	{http.MethodGet, "sys/policies/acl/team-5001", nil},
	{list, "sys/leases/lookup/ecgrid/keys/5001", nil},
	{http.MethodPost, "sys/leases/revoke-prefix/ecgrid", nil},
	{http.MethodGet, "sys/raw/logical", nil},
	{http.MethodGet, "ecgrid/openapi", nil},
})

// TestExamplePolicies asks each policy of examples/policies for everything.
func TestExamplePolicies(t *testing.T) {
	t.Parallel()
	m := exampleVault(t)
	m.configure(t, nil)
	m.ok(t, http.MethodPost, m.at("roles/gateway"), fields{"user_id": 5001})
	m.ok(t, http.MethodPost, m.at("roles/other"), fields{"user_id": 5002})

	tested := slices.Collect(maps.Keys(policyTable))
	for _, name := range append(tested, "by-identity") {
		m.examplePolicy(t, name)
	}
	files, err := filepath.Glob(filepath.Join(repoRoot(), "examples", "policies", "*.hcl"))
	if err != nil || len(files) != len(tested)+1 {
		t.Errorf("examples/policies has %d policies (%v), %d are tested", len(files), err, len(tested)+1)
	}

	// What is denied, for all of them, before anything is changed.
	for name, allowed := range policyTable {
		client := m.tokenOf(t, name)
		for _, r := range everyPath {
			if !slices.ContainsFunc(allowed, r.same) {
				if a := client.ask(t, r); a.Status != http.StatusForbidden {
					t.Errorf("%s: %s %s: HTTP %d: %s", name, r.method, r.path, a.Status, a.body)
				}
			}
		}
	}
	if n := m.Count(keyOp); n != 0 {
		t.Errorf("ECGrid was asked for %d keys by requests that are denied", n)
	}

	// What is allowed: the readers before the operators, who end with a delete.
	for _, name := range []string{"team-5001", "team-by-role", "auditors", "operators"} {
		client := m.tokenOf(t, name)
		for _, r := range policyTable[name] {
			a := client.ask(t, r)
			if a.Status < 200 || a.Status > 299 {
				t.Errorf("%s: %s %s: HTTP %d: %s", name, r.method, r.path, a.Status, a.body)
			}
			key, isKey := a.Data["api_key"]
			if team := strings.HasPrefix(name, "team-"); team != isKey || team && key != m.key(simulator.UserID5001) {
				t.Errorf("%s: %s %s answers with a key: %v", name, r.method, r.path, isKey)
			}
			if where := search(a.body, m.secrets()); !isKey && where != "" {
				t.Errorf("%s: %s %s answers with a secret: %s", name, r.method, r.path, where)
			}
		}
	}
}

// TestOperatorsNeverReadKeys: not with a second policy that gives all, either.
func TestOperatorsNeverReadKeys(t *testing.T) {
	t.Parallel()
	m := exampleVault(t)
	m.configure(t, nil)
	m.ok(t, http.MethodPost, m.at("roles/gateway"), fields{"user_id": 5001})
	m.examplePolicy(t, "operators")
	for name, pattern := range map[string]string{"all": "ecgrid/*", "keys": "ecgrid/keys/*", "creds": "ecgrid/creds/*"} {
		m.ok(t, http.MethodPut, path("sys/policies/acl", name), fields{"policy": fmt.Sprintf(`path %q { capabilities = ["read"] }`, pattern)})
	}
	client := m.tokenOf(t, "operators", "all", "keys", "creds")
	client.read(t, m.at("config"))
	for _, p := range []string{"keys/5001", "keys/5002", "creds/gateway"} {
		client.refused(t, http.StatusForbidden, http.MethodGet, m.at(p), nil)
	}
}

// TestPolicyByIdentity: the entity's metadata says whose key it is.
func TestPolicyByIdentity(t *testing.T) {
	t.Parallel()
	m := exampleVault(t)
	m.configure(t, nil)
	m.examplePolicy(t, "by-identity")
	m.ok(t, http.MethodPost, "sys/auth/userpass", fields{"type": "userpass"})
	accessor, _ := m.read(t, "sys/auth/userpass").Data["accessor"].(string)

	// enter logs in as somebody with this metadata, and nil for none.
	enter := func(name string, metadata fields) *client {
		t.Helper()
		entity := m.ok(t, http.MethodPost, "identity/entity", fields{"name": name, "metadata": metadata})
		m.ok(t, http.MethodPost, "identity/entity-alias", fields{"name": name, "canonical_id": entity.Data["id"], "mount_accessor": accessor})
		password := m.invent("Password-of-" + name)
		m.ok(t, http.MethodPost, path("auth/userpass/users", name), fields{"password": password, "token_policies": []string{"by-identity"}})
		return m.as(m.ok(t, http.MethodPost, path("auth/userpass/login", name), fields{"password": password}).Auth.ClientToken)
	}
	for name, c := range map[string]struct {
		metadata fields
		reads    []string
	}{
		"of-5001":          {fields{"ecgrid_user_id": "5001"}, []string{"5001"}},
		"of-5002":          {fields{"ecgrid_user_id": "5002"}, []string{"5002"}},
		"of-another-sort":  {fields{"team": "5001"}, nil},
		"of-nobody":        {nil, nil},
		"of-an-empty-text": {fields{"ecgrid_user_id": ""}, nil},
		"of-all":           {fields{"ecgrid_user_id": "*"}, []string{"5001", "5002"}}, // as the example warns
	} {
		client := enter(name, c.metadata)
		for _, id := range []string{"5001", "5002"} {
			if slices.Contains(c.reads, id) {
				client.read(t, m.at("keys", id))
			} else {
				client.refused(t, http.StatusForbidden, http.MethodGet, m.at("keys", id), nil)
			}
		}
		client.refused(t, http.StatusForbidden, list, m.at("keys"), nil)
		client.refused(t, http.StatusForbidden, http.MethodGet, m.at("config"), nil)
	}
}

func (r request) same(other request) bool { return r.method == other.method && r.path == other.path }

// ask sends it, whatever comes; Vault wants a type for a patch.
func (c *client) ask(t *testing.T, r request) answer {
	t.Helper()
	if r.method != http.MethodPatch {
		a, err := c.do(r.method, r.path, r.body)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	body, err := jsonBody(r.body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(r.method, c.vault.addr+"/v1/"+r.path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", c.token)
	req.Header.Set("Content-Type", "application/merge-patch+json")
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	a := answer{Status: resp.StatusCode}
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil && resp.StatusCode != http.StatusNoContent {
		t.Fatal(err)
	}
	return a
}

// examplePolicy writes a policy as examples/policies has it.
func (m *mount) examplePolicy(t *testing.T, name string) {
	t.Helper()
	m.ok(t, http.MethodPut, path("sys/policies/acl", name), fields{"policy": exampleFile(t, "policies/"+name+".hcl")})
}

func (m *mount) tokenOf(t *testing.T, policies ...string) *client {
	t.Helper()
	a := m.ok(t, http.MethodPost, "auth/token/create", fields{"policies": policies})
	return m.as(a.Auth.ClientToken)
}

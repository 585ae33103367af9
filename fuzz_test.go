// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
	"vault-plugin-ecgrid/internal/ecgrid"
)

const (
	// fuzzSecret begins every credential that a fuzz target sends. Nothing may repeat it.
	fuzzSecret = "canary-8c1f-"
	// fuzzNumber is a credential that was sent as a number.
	fuzzNumber = 48151623
	// fuzzValue begins values of other fields. A refusal and the log must not repeat it, since
	// somebody may have sent a secret in the wrong field.
	fuzzValue = "canary-2b7d-"
	// fuzzPassword is the only one that ECGrid accepts.
	fuzzPassword = fuzzSecret + "right"
)

// fuzzGrid is an ECGrid that accepts one password and answers every call.
type fuzzGrid struct{ ecgrid.Client }

func (fuzzGrid) Login(_ context.Context, _, password string) (ecgrid.LoginResult, error) {
	if password != fuzzPassword {
		return ecgrid.LoginResult{}, &ecgrid.Error{Op: "Login", Kind: ecgrid.ErrAuthentication, Sent: true}
	}
	return ecgrid.LoginResult{SessionID: fuzzSecret + "session"}, nil
}
func (fuzzGrid) Logout(context.Context, ecgrid.Credential) error { return nil }
func (fuzzGrid) WhoAmI(context.Context, ecgrid.Credential) (ecgrid.Session, error) {
	return ecgrid.Session{UserID: 1001}, nil
}
func (fuzzGrid) UserGetAPIKey(context.Context, ecgrid.Credential, int32) (string, error) {
	return fuzzSecret + "key", nil
}
func (fuzzGrid) Version(context.Context) (string, error) { return "v4.1", nil }
func (fuzzGrid) Close()                                  {}

// fuzzMount is a mount without gRPC, so that a fuzz target makes many.
type fuzzMount struct {
	t       *testing.T
	backend logical.Backend
	storage *logical.InmemStorage
	log     *logRecorder
}

func newFuzzMount(t *testing.T) *fuzzMount {
	t.Helper()
	m := &fuzzMount{t: t, storage: new(logical.InmemStorage), log: new(logRecorder)}
	system := logical.TestSystemView()
	system.ReplicationStateVal = consts.ReplicationPerformanceDisabled | consts.ReplicationDRDisabled
	p := &Plugin{Version: "v1.2.3", Commit: "test", Clock: backend.SystemClock{}, Random: rand.Reader,
		Connect: func(ecgrid.Endpoint) (ecgrid.Client, error) { return fuzzGrid{}, nil }}
	var err error
	m.backend, err = p.Factory(t.Context(), &logical.BackendConfig{
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: m.log}),
		System: system, StorageView: m.storage, BackendUUID: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.backend.Cleanup(context.Background()) })
	return m
}

// send sends a request, and fails the test if the answer or the log repeats a secret, or if
// the failure has no meaning.
func (m *fuzzMount) send(op logical.Operation, path string, data fields) (*logical.Response, int) {
	m.t.Helper()
	resp, err := m.backend.HandleRequest(m.t.Context(), &logical.Request{Operation: op, Path: path, Data: data, Storage: m.storage, MountPoint: "ecgrid/"})
	status := statusOf(resp, err)
	if status == http.StatusInternalServerError {
		m.t.Errorf("%s %s: an error without a meaning: %T", op, path, err)
	}
	answer, refusal := "", fmt.Sprint(err)
	if resp != nil {
		answer = fmt.Sprint(resp.Data, resp.Warnings)
	}
	number := strconv.Itoa(fuzzNumber)
	for _, secret := range []string{fuzzSecret, number, fmt.Sprint(float64(fuzzNumber))} {
		if strings.Contains(answer+refusal+m.log.String(), secret) {
			m.t.Errorf("%s %s: the answer or the log contains a credential", op, path)
		}
	}
	if strings.Contains(refusal+m.log.String(), fuzzValue) || resp.IsError() && strings.Contains(answer, fuzzValue) {
		m.t.Errorf("%s %s: a refusal or the log contains a value", op, path)
	}
	if err != nil && (resp != nil || err.Error() == "") {
		m.t.Errorf("%s %s: a response beside the error, or no message", op, path)
	}
	return resp, status
}

// stored is the config and the roles in storage.
func (m *fuzzMount) stored() map[string]string {
	m.t.Helper()
	keys, err := logical.CollectKeys(m.t.Context(), m.storage)
	if err != nil {
		m.t.Fatal(err)
	}
	all := map[string]string{}
	for _, key := range keys {
		entry, err := m.storage.Get(m.t.Context(), key)
		if err != nil {
			m.t.Fatal(err)
		}
		if entry != nil && (key == configPath || strings.HasPrefix(key, rolesPattern)) {
			all[key] = string(entry.Value)
		}
	}
	return all
}

// fuzzField is a field of a request: its name and kind by number.
type fuzzField struct {
	name, kind uint8
	text       string
}

// fuzzKinds make a value as it comes out of JSON.
var fuzzKinds = []func(text string) any{
	func(text string) any { return text },
	func(text string) any {
		if n, err := strconv.ParseFloat(text, 64); err == nil && !strings.ContainsAny(text, "IiNn") { // JSON has no infinity
			return n
		}
		return float64(len(text))
	},
	func(text string) any { return len(text)%2 == 1 },
	func(string) any { return nil },
	func(text string) any { return []any{text} },
	func(text string) any { return map[string]any{"value": text} },
	func(text string) any { return fuzzValue + text },
}

// fuzzRequest makes a request from fields. Every credential is the right password or begins
// with the canary, so that answers can be searched for it.
func fuzzRequest(schema map[string]*framework.FieldSchema, sent ...fuzzField) fields {
	names := append(slices.Sorted(maps.Keys(schema)), "unknown")
	data := fields{}
	for _, field := range sent {
		name := names[int(field.name)%len(names)]
		text := strings.ToValidUTF8(field.text, "\uFFFD")
		data[name] = fuzzKinds[int(field.kind)%len(fuzzKinds)](text)
		if user, ok := data[name].(string); ok && name == "username" { // the message of a refused Login names it
			data[name] = strings.TrimPrefix(user, fuzzValue)
		}
		if name != "password" && name != fieldAPIKey {
			continue
		}
		switch data[name].(type) {
		case string:
			data[name] = fuzzSecret + text
		case float64:
			data[name] = float64(fuzzNumber)
		}
	}
	return data
}

// nameOf is the number of a field, for the seeds.
func nameOf(schema map[string]*framework.FieldSchema, name string) uint8 {
	return uint8(slices.Index(slices.Sorted(maps.Keys(schema)), name))
}

// seedFields are all fields with a value of each kind, and these values besides.
func seedFields(schema map[string]*framework.FieldSchema, values map[string][]string) (seeds []fuzzField) {
	for name := range uint8(len(schema) + 1) {
		for kind := range uint8(len(fuzzKinds)) {
			seeds = append(seeds, fuzzField{name, kind, "7"})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		for _, text := range values[name] {
			seeds = append(seeds, fuzzField{nameOf(schema, name), 0, text}, fuzzField{nameOf(schema, name), 1, text})
		}
	}
	return seeds
}

var fuzzOperations = []logical.Operation{logical.CreateOperation, logical.UpdateOperation, logical.PatchOperation}

// check sends a write. If it is refused, nothing is stored. If it is accepted, what a read
// returns can be written back and changes nothing.
func (m *fuzzMount) check(op uint8, path string, schema map[string]*framework.FieldSchema, data fields) {
	m.t.Helper()
	before := m.stored()
	if _, status := m.send(fuzzOperations[int(op)%len(fuzzOperations)], path, data); status != http.StatusOK {
		if !maps.Equal(before, m.stored()) {
			m.t.Errorf("a refused write has changed the storage")
		}
		return
	}
	first := m.readBack(path)
	again := fields{}
	for name, value := range first {
		if schema[name] != nil && name != fieldName {
			again[name] = value
		}
	}
	if value, ok := data["verify_connection"]; ok { // a login that was not tried may not work
		again["verify_connection"] = value
	}
	if _, status := m.send(logical.UpdateOperation, path, again); status != http.StatusOK {
		m.t.Errorf("what was read cannot be written back: %d for %v", status, again)
	}
	if second := m.readBack(path); !reflect.DeepEqual(first, second) {
		m.t.Errorf("writing back what was read has changed it:\n%v\n%v", first, second)
	}
}

// readBack reads a path as a client of the JSON API does.
func (m *fuzzMount) readBack(path string) (data fields) {
	m.t.Helper()
	resp, status := m.send(logical.ReadOperation, path, nil)
	if status != http.StatusOK || resp == nil {
		m.t.Fatalf("a read after a write: %d", status)
	}
	raw, err := json.Marshal(resp.Data)
	if err == nil {
		err = json.Unmarshal(raw, &data)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return data
}

// FuzzConfigPatch writes three fields to config, with and without a stored config.
func FuzzConfigPatch(f *testing.F) {
	schema := configFields.requestSchema()
	for i, seed := range seedFields(schema, map[string][]string{
		"url": {"https://example.com/x?y=z", "http://127.0.0.1:1", "ftp://x", "https://u:p@h"}, "transport": {"rest", "SOAP"},
		"password": {"right", "a\nb", ""}, "api_key": {"", "a b"}, "ttl": {"1h", "1.5", "9223372036854775807", "-1s"}, "max_ttl": {"0", "1m"},
		"request_timeout": {"20", "21s"}, "max_concurrent_calls": {"1e99", "257"}, "ca_cert": {"-----BEGIN CERTIFICATE-----"},
		"rotation_schedule": {"0 3 * * SAT", "TZ=UTC 0 3 * * *"}, "rotation_period": {"24h", "59"}, "rotation_window": {"1h"},
	}) {
		op := uint8(i)
		f.Add(op, i%4 != 0, seed.name, seed.kind, seed.text, nameOf(schema, "username"), uint8(0), "jo", nameOf(schema, "password"), uint8(0), "right")
		f.Add(op, i%4 == 0, seed.name, seed.kind, seed.text, seed.name, seed.kind, seed.text, seed.name, seed.kind, seed.text)
	}
	f.Add(uint8(0), true, nameOf(schema, "username"), uint8(0), "0", nameOf(schema, "password"), uint8(0), "0", nameOf(schema, "verify_connection"), uint8(0), "0")
	f.Fuzz(func(t *testing.T, op uint8, configured bool, n1, k1 uint8, t1 string, n2, k2 uint8, t2 string, n3, k3 uint8, t3 string) {
		m := newFuzzMount(t)
		if configured {
			if _, status := m.send(logical.CreateOperation, configPath, fields{"username": "jo", "password": fuzzPassword}); status != http.StatusOK {
				t.Fatalf("the first config: %d", status)
			}
		}
		m.check(op, configPath, schema, fuzzRequest(schema, fuzzField{n1, k1, t1}, fuzzField{n2, k2, t2}, fuzzField{n3, k3, t3}))
	})
}

// FuzzRolePatch writes two fields to a role, with and without a stored role.
func FuzzRolePatch(f *testing.F) {
	schema := roleFields.requestSchema()
	for i, seed := range seedFields(schema, map[string][]string{
		"user_id": {"5001", "05001", "1.5", "2147483648", "-1"}, "ttl": {"0", "2h"}, "max_ttl": {"1m"}, "rotation_period": {"60", "59"},
		"rotation_schedule": {"TZ=UTC", "*/5 1-3,7 ? JAN-MAR MON"}, "rotation_window": {"2h"}, "description": {"\u0000", "x"},
	}) {
		op := uint8(i)
		f.Add(op, i%4 != 0, "team", seed.name, seed.kind, seed.text, nameOf(schema, "user_id"), uint8(0), "5002")
		f.Add(op, i%4 == 0, "team", seed.name, seed.kind, seed.text, seed.name, seed.kind, seed.text)
	}
	f.Add(uint8(0), false, "a/../b", uint8(0), uint8(0), "", uint8(1), uint8(0), "")
	f.Fuzz(func(t *testing.T, op uint8, exists bool, name string, n1, k1 uint8, t1 string, n2, k2 uint8, t2 string) {
		m := newFuzzMount(t)
		path := rolesPattern + name
		if exists {
			if _, status := m.send(logical.CreateOperation, path, fields{"user_id": "5001"}); status != http.StatusOK {
				return // not the path of a role
			}
		}
		m.check(op, path, schema, fuzzRequest(schema, fuzzField{n1, k1, t1}, fuzzField{n2, k2, t2}))
	})
}

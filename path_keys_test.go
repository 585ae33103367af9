// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/simulator"
)

func TestReadKey(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(fields{"ttl": "1h", "max_ttl": "2h"})
	for _, tt := range []struct {
		data     fields
		want     time.Duration
		warnings int
	}{
		{nil, time.Hour, 0},
		{fields{"ttl": ""}, time.Hour, 0},
		{fields{"ttl": "0"}, time.Hour, 0},
		{fields{"ttl": "30m"}, 30 * time.Minute, 0},
		{fields{"ttl": "60"}, time.Minute, 0},
		{fields{"ttl": "3h"}, 2 * time.Hour, 1},
	} {
		resp := m.must(logical.ReadOperation, "keys/5001", tt.data)
		if len(resp.Data) != 2 || resp.Data["api_key"] != m.user(5001).APIKey || resp.Data["user_id"] != float64(5001) {
			t.Errorf("%v: wrong data", tt.data)
		}
		if resp.Secret.TTL != tt.want || resp.Secret.MaxTTL != 2*time.Hour || !resp.Secret.Renewable || len(resp.Warnings) != tt.warnings {
			t.Errorf("%v: leased for %s of %s, warnings %v", tt.data, resp.Secret.TTL, resp.Secret.MaxTTL, resp.Warnings)
		}
	}
	if n := m.sim.Count("Login"); n != 1 {
		t.Errorf("%d logins", n)
	}
}

func TestReadKeyRefusals(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.refused(http.StatusBadRequest, logical.ReadOperation, "keys/5001", nil)
	m.configure(nil)
	for path, status := range map[string]int{
		"keys/05001":      http.StatusBadRequest,
		"keys/+5001":      http.StatusBadRequest,
		"keys/5001 ":      http.StatusBadRequest,
		"keys/0x1389":     http.StatusBadRequest,
		"keys/5001/":      http.StatusBadRequest,
		"keys//5001":      http.StatusBadRequest,
		"keys/٥٠٠١":       http.StatusBadRequest,
		"keys/0":          http.StatusBadRequest,
		"keys/-1":         http.StatusBadRequest,
		"keys/2147483648": http.StatusBadRequest,
		"keys/4999":       http.StatusNotFound,
		"keys/5003":       http.StatusNotFound, // without a key
		"keys/6001":       foreignStatus(),
	} {
		m.refused(status, logical.ReadOperation, path, nil)
	}
	for _, data := range []fields{
		{"tttl": "1h"}, {"ttl": "soon"}, {"ttl": "-1"}, {"ttl": []any{"1h"}}, {"ttl": "1500ms"},
	} {
		m.refused(http.StatusBadRequest, logical.ReadOperation, "keys/5001", data)
	}
	// A parameter must not override the user ID in the path.
	if resp := m.must(logical.ReadOperation, "keys/5001", fields{"user_id": "5002"}); resp.Data["user_id"] != 5001.0 {
		t.Errorf("read the key of user %v", resp.Data["user_id"])
	}
}

func TestReadKeyFaults(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault  simulator.Fault
		status int
	}{
		"HTML":            {simulator.Fault{Answer: simulator.AnswerHTML, Echo: true}, http.StatusBadGateway},
		"half an answer":  {simulator.Fault{Answer: simulator.AnswerHalf}, http.StatusBadGateway},
		"50 MB":           {simulator.Fault{Answer: simulator.AnswerHuge}, http.StatusBadGateway},
		"entities":        {simulator.Fault{Answer: simulator.AnswerEntities}, http.StatusBadGateway},
		"redirect":        {simulator.Fault{Answer: simulator.AnswerRedirect, URL: "http://127.0.0.1:1/"}, http.StatusBadGateway},
		"empty body":      {simulator.Fault{Answer: simulator.AnswerEmpty}, http.StatusBadGateway},
		"wrong namespace": {simulator.Fault{Answer: simulator.AnswerWrongNamespace}, http.StatusBadGateway},
		"wrong operation": {simulator.Fault{Answer: simulator.AnswerWrongOp}, http.StatusBadGateway},
		"UTF-16":          {simulator.Fault{Answer: simulator.AnswerUTF16}, http.StatusBadGateway},
		"system error":    {simulator.Fault{Cause: simulator.SystemError, Echo: true}, http.StatusBadGateway},
		"empty result":    {simulator.Fault{Answer: simulator.AnswerEmptyResult}, http.StatusNotFound},
		"absent result":   {simulator.Fault{Answer: simulator.AnswerAbsentResult}, http.StatusNotFound},
		"reset":           {simulator.Fault{Answer: simulator.AnswerReset}, http.StatusServiceUnavailable},
		"503":             {simulator.Fault{Answer: simulator.AnswerStatus}, http.StatusServiceUnavailable},
		"drip":            {simulator.Fault{Answer: simulator.AnswerDrip}, http.StatusGatewayTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newTestMount(t)
			m.configure(fields{"request_timeout": "1s"})
			tt.fault.Op = "UserGetAPIKey"
			clear := m.sim.Inject(tt.fault)
			m.refused(tt.status, logical.ReadOperation, "keys/5001", nil)
			clear()
			m.must(logical.ReadOperation, "keys/5001", nil)
		})
	}
}

func TestReadKeyUnreachable(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	_ = m.sim.Close()
	m.refused(http.StatusServiceUnavailable, logical.ReadOperation, "keys/5001", nil)
}

// Two mounts of one process do not share their cached keys.
func TestCacheIsPerMount(t *testing.T) {
	t.Parallel()
	first, second := newTestMount(t), newTestMount(t)
	second.plugin = first.plugin
	second.backend = second.serve()
	for _, m := range []*testMount{first, second} {
		m.configure(fields{"key_cache_ttl": "1h"})
	}
	for range 2 {
		for _, m := range []*testMount{first, second} {
			resp := m.must(logical.ReadOperation, "keys/5001", nil)
			if resp.Data["api_key"] != m.user(5001).APIKey {
				t.Error("a read returned the key of the other mount")
			}
		}
	}
	if first.sim.Count("UserGetAPIKey") != 1 || second.sim.Count("UserGetAPIKey") != 1 {
		t.Error("the cache was not used")
	}
}

func TestListKeys(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	resp := m.must(logical.ListOperation, "keys/", nil)
	info := resp.Data["key_info"].(fields)
	for _, key := range resp.Data["keys"].([]any) {
		user := info[key.(string)].(fields)
		for _, name := range []string{"login_name", "network_id", "mailbox_id", "auth_level", "status"} {
			if user[name] == nil || user[name] == "" {
				t.Errorf("user %v: no %s", key, name)
			}
		}
	}
	if info["5001"].(fields)["login_name"] != m.user(5001).LoginName {
		t.Error("user 5001 has the wrong login_name")
	}
}

// manyUsers is an ECGrid with that many users.
type manyUsers struct {
	ecgrid.Client
	users int
}

func (c manyUsers) UserList(context.Context, ecgrid.Credential) ([]ecgrid.User, error) {
	users := make([]ecgrid.User, c.users)
	for i := range users {
		users[i] = ecgrid.User{UserID: int32(c.users - i), LoginName: "a-login-name", NetworkID: 100, MailboxID: 501, AuthLevel: "MailboxUser", Status: "Active"}
	}
	return users, nil
}

func TestListManyKeys(t *testing.T) {
	t.Parallel()
	for _, users := range []int{maxKeyInfo, maxKeyInfo + 1, 100_000} {
		t.Run(strconv.Itoa(users), func(t *testing.T) {
			t.Parallel()
			m := newTestMount(t)
			connect := m.plugin.Connect
			m.plugin.Connect = func(e ecgrid.Endpoint) (ecgrid.Client, error) {
				client, err := connect(e)
				return manyUsers{client, users}, err
			}
			m.restart()
			m.configure(nil)
			resp := m.must(logical.ListOperation, "keys/", nil)
			keys := resp.Data["keys"].([]any)
			info := resp.Data["key_info"].(fields)
			described := min(users, maxKeyInfo)
			if len(keys) != users || len(info) != described {
				t.Errorf("%d keys, %d of them described", len(keys), len(info))
			}
			for i, key := range keys {
				if _, has := info[key.(string)]; key != strconv.Itoa(i+1) || has != (i < described) {
					t.Fatalf("key %d is %v, described %v", i, key, has)
				}
			}
			if warned := len(resp.Warnings) > 0; warned != (described < users) {
				t.Errorf("warnings %q", resp.Warnings)
			}
		})
	}
}

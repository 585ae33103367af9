package ecgrid

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/simulator"
)

func TestReadKey(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(map[string]any{fieldTTL: "1h", fieldMaxTTL: "2h"})
	for _, tt := range []struct {
		ttl      any
		want     time.Duration
		warnings int
	}{
		{nil, time.Hour, 0},
		{"", time.Hour, 0},
		{"0", time.Hour, 0},
		{"30m", 30 * time.Minute, 0},
		{"60", time.Minute, 0},
		{"3h", 2 * time.Hour, 1},
	} {
		data := map[string]any{}
		if tt.ttl != nil {
			data[fieldTTL] = tt.ttl
		}
		resp := m.must(logical.ReadOperation, "keys/5001", data)
		m.validated(logical.ReadOperation, "keys/5001", resp)
		if len(resp.Data) != 2 || resp.Data[fieldAPIKey] != m.user(5001).APIKey || resp.Data[fieldUserID] != float64(5001) {
			t.Errorf("ttl %v: wrong data", tt.ttl)
		}
		if resp.Secret.TTL != tt.want || resp.Secret.MaxTTL != 2*time.Hour || !resp.Secret.Renewable || len(resp.Warnings) != tt.warnings {
			t.Errorf("ttl %v: leased for %s of %s, warnings %v", tt.ttl, resp.Secret.TTL, resp.Secret.MaxTTL, resp.Warnings)
		}
		for name, value := range resp.Secret.InternalData {
			if text, isText := value.(string); !isText || m.holdsSecret(text) {
				t.Errorf("the lease remembers %s as no string, or as a secret", name)
			}
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
		"keys/6001":       http.StatusForbidden,
	} {
		m.refused(status, logical.ReadOperation, path, nil)
	}
	for _, data := range []map[string]any{
		{"tttl": "1h"}, {fieldTTL: "soon"}, {fieldTTL: "-1"}, {fieldTTL: []any{"1h"}}, {fieldTTL: "1500ms"},
	} {
		m.refused(http.StatusBadRequest, logical.ReadOperation, "keys/5001", data)
	}
	// The path says whose key it is, whatever else is sent.
	resp := m.must(logical.ReadOperation, "keys/5001", map[string]any{fieldUserID: "5002"})
	if resp.Data[fieldUserID] != float64(5001) {
		t.Error("a parameter passed by the path's user ID")
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
			m.configure(map[string]any{fieldRequestTimeout: "1s"})
			tt.fault.Op = "UserGetAPIKey"
			clear := m.sim.Inject(tt.fault)
			m.refused(tt.status, logical.ReadOperation, "keys/5001", nil)
			clear()
			m.must(logical.ReadOperation, "keys/5001", nil)
			if m.holdsSecret(m.log.String()) {
				t.Error("the log holds a secret")
			}
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

func TestRefusedLogin(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(map[string]any{fieldSessionIdleTimeout: "0"})
	m.sim.SetPassword(simulator.AdminUserID, "An0ther-password!")
	m.refused(http.StatusBadRequest, logical.ReadOperation, "keys/5001", nil)
	m.refused(http.StatusServiceUnavailable, logical.ReadOperation, "keys/5001", nil)
	if n := m.sim.Count("Login"); n != 2 {
		t.Errorf("%d logins, want the first and one refused", n)
	}
	m.must(logical.UpdateOperation, "config", m.login(nil))
	m.must(logical.ReadOperation, "keys/5001", nil)
}

// ECGrid locks accounts: whatever is done meanwhile, and however often the process
// begins anew, there are never more than three refused logins in 15 minutes.
func TestRefusedLoginsArePaced(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	clock := m.freeze()
	m.configure(map[string]any{fieldSessionIdleTimeout: "0"})
	m.sim.SetPassword(simulator.AdminUserID, "An0ther-password!")
	var after []int // refused logins by the end of each minute
	for minute := range 60 {
		_, _ = m.do(logical.ReadOperation, "keys/5001", nil)
		m.must(logical.UpdateOperation, "config", map[string]any{fieldTTL: minute + 60})
		if minute%4 == 0 {
			m.restart()
		}
		_, _ = m.do(logical.ReadOperation, "status", nil)
		m.tick()
		clock.advance(time.Minute)
		after = append(after, m.sim.State().RefusedLogins)
		if begun := minute - 15; begun >= 0 && after[minute]-after[begun] > 3 {
			t.Fatalf("%d refused logins in 15 minutes", after[minute]-after[begun])
		}
	}
	if n := after[len(after)-1]; n < 4 {
		t.Errorf("%d tries in an hour: it would not find out that the password is right again", n)
	}
	m.must(logical.UpdateOperation, "config", m.login(nil))
	m.must(logical.ReadOperation, "keys/5001", nil)
}

// What a killed process had open, the next one logs out before it logs in itself.
func TestKilledProcessLeavesNoSession(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	for range 8 { // more than ECGrid's table of sessions holds
		m.must(logical.ReadOperation, "keys/5001", nil)
		m.restart()
	}
	m.must(logical.ReadOperation, "keys/5001", nil)
	if state := m.sim.State(); state.OpenSessions != 1 || state.MaxOpenSessions != 1 || state.RefusedLogins != 0 {
		t.Errorf("%d sessions, %d at once, %d refused logins", state.OpenSessions, state.MaxOpenSessions, state.RefusedLogins)
	}
	m.backend.Cleanup(t.Context())
	if n := m.sim.OpenSessions(); n != 0 {
		t.Errorf("%d sessions left open", n)
	}
}

func TestConcurrentReadsShareOneLogin(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(map[string]any{fieldVerifyConnection: false})
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if _, err := m.do(logical.ReadOperation, "keys/5001", nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if state := m.sim.State(); m.sim.Count("Login") != 1 || state.MaxOpenSessions != 1 {
		t.Errorf("%d logins, %d sessions at once", m.sim.Count("Login"), state.MaxOpenSessions)
	}
	m.backend.Cleanup(t.Context())
	if n := m.sim.OpenSessions(); n != 0 {
		t.Errorf("%d sessions left open", n)
	}
}

func TestListKeys(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	resp := m.must(logical.ListOperation, "keys/", nil)
	m.validated(logical.ListOperation, "keys/", resp)
	info := resp.Data["key_info"].(map[string]any)
	for _, key := range resp.Data["keys"].([]any) {
		fields := info[key.(string)].(map[string]any)
		for _, name := range []string{"login_name", "network_id", "mailbox_id", "auth_level", "status"} {
			if fields[name] == nil || fields[name] == "" {
				t.Errorf("user %v: no %s", key, name)
			}
		}
	}
	if info["5001"].(map[string]any)["login_name"] != m.user(5001).LoginName {
		t.Error("user 5001 is not shown as itself")
	}
}

// listing is an ECGrid with so many users, whatever else it is asked.
type listing struct {
	ecgrid.Client
	users int
}

func (l listing) UserList(context.Context, string, string) ([]ecgrid.User, error) {
	users := make([]ecgrid.User, l.users)
	for i := range users {
		users[i] = ecgrid.User{UserID: int32(l.users - i), LoginName: "a-login-name", NetworkID: 100, MailboxID: 501, AuthLevel: "MailboxUser", Status: "Active"}
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
				return listing{client, users}, err
			}
			m.restart()
			m.configure(nil)
			resp := m.must(logical.ListOperation, "keys/", nil)
			keys := resp.Data["keys"].([]any)
			info := resp.Data["key_info"].(map[string]any)
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

func TestStatus(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	resp := m.must(logical.ReadOperation, "status", nil)
	m.validated(logical.ReadOperation, "status", resp)
	if resp.Data["login_name"] != simulator.AdminLogin || resp.Data["auth_level"] != "NetworkAdmin" || resp.Data["open_sessions"] != float64(1) {
		t.Errorf("got %v", resp.Data)
	}
	for op, read := range map[string]func(){
		"WhoAmI":   func() { m.refused(http.StatusBadGateway, logical.ReadOperation, "status", nil) },
		"UserList": func() { m.refused(http.StatusBadGateway, logical.ListOperation, "keys/", nil) },
	} { // nothing was asked for that could be missing
		clear := m.sim.Inject(simulator.Fault{Op: op, Cause: simulator.NotFound})
		read()
		clear()
	}
	_ = m.sim.Close()
	m.refused(http.StatusServiceUnavailable, logical.ReadOperation, "status", nil)
}

func TestInfo(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	resp := m.must(logical.ReadOperation, "info", nil)
	m.validated(logical.ReadOperation, "info", resp)
	if resp.Data["version"] != "v1.2.3" || resp.Data["commit"] != "test" {
		t.Errorf("got %v", resp.Data)
	}
	if v := m.backend.(logical.PluginVersioner).PluginVersion().Version; v != "v1.2.3" {
		t.Errorf("the catalog is told %s", v)
	}
}

// What one mount has in memory never answers another, in the same process too.
func TestCacheIsOfOneMount(t *testing.T) {
	t.Parallel()
	first, second := newTestMount(t), newTestMount(t)
	second.plugin = first.plugin
	second.backend = second.serve()
	for _, m := range []*testMount{first, second} {
		m.configure(map[string]any{fieldKeyCacheTTL: "1h"})
	}
	for range 2 {
		for _, m := range []*testMount{first, second} {
			resp := m.must(logical.ReadOperation, "keys/5001", nil)
			if resp.Data[fieldAPIKey] != m.user(5001).APIKey {
				t.Error("a mount was answered with another's key")
			}
		}
	}
	if first.sim.Count("UserGetAPIKey") != 1 || second.sim.Count("UserGetAPIKey") != 1 {
		t.Error("the cache was not used")
	}
}

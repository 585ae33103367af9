package backend

import (
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
)

const testCA = `-----BEGIN CERTIFICATE-----
MIIBdzCCAR2gAwIBAgIBATAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDEwR0ZXN0MB4X
DTI2MDEwMTAwMDAwMFoXDTM2MDEwMTAwMDAwMFowDzENMAsGA1UEAxMEdGVzdDBZ
-----END CERTIFICATE-----
`

func stored(change ...func(*Config)) *Config {
	c := defaultConfig()
	c.Username, c.Password = "login", "right"
	for _, ch := range change {
		ch(&c)
	}
	return &c
}

func TestConfigPatch(t *testing.T) {
	t.Parallel()
	login := ConfigPatch{Username: ptr("login"), Password: ptr("right")}
	withKey := func(c *Config) { c.Username, c.Password, c.APIKey = "", "", "key" }
	ca := testAuthority(t)
	own := func(c *Config) { c.URL = "https://own.example/x" }
	trust := func(c *Config) { c.CACert = ca }
	name := func(c *Config) { c.TLSServerName = "x.example" }
	tests := map[string]struct {
		old   *Config
		patch ConfigPatch
		want  *Config // nil: refused
	}{
		"first write takes the defaults":  {nil, login, stored()},
		"first write with an api_key":     {nil, ConfigPatch{APIKey: ptr("key")}, stored(withKey)},
		"first write without credential":  {nil, ConfigPatch{TTL: ptr(time.Hour)}, nil},
		"username alone":                  {nil, ConfigPatch{Username: ptr("login")}, nil},
		"password alone":                  {nil, ConfigPatch{Password: ptr("right")}, nil},
		"what is omitted stays":           {stored(func(c *Config) { c.TTL = time.Hour }), ConfigPatch{MaxTTL: ptr(2 * time.Hour)}, stored(func(c *Config) { c.TTL, c.MaxTTL = time.Hour, 2*time.Hour })},
		"zero clears":                     {stored(func(c *Config) { c.TTL = time.Hour }), ConfigPatch{TTL: ptr(time.Duration(0))}, stored()},
		"empty url is the default":        {stored(), ConfigPatch{URL: ptr("")}, stored()},
		"empty password":                  {stored(), ConfigPatch{Password: ptr("")}, nil},
		"empty api_key":                   {stored(), ConfigPatch{APIKey: ptr("")}, nil},
		"both kinds":                      {nil, ConfigPatch{Username: ptr("login"), Password: ptr("right"), APIKey: ptr("key")}, nil},
		"api_key and username":            {stored(), ConfigPatch{Username: ptr("login"), APIKey: ptr("key")}, nil},
		"api_key and password":            {stored(), ConfigPatch{Password: ptr("right"), APIKey: ptr("key")}, nil},
		"api_key clears the login":        {stored(), ConfigPatch{APIKey: ptr("key")}, stored(withKey)},
		"login clears the api_key":        {stored(withKey), login, stored()},
		"username beside an api_key":      {stored(withKey), ConfigPatch{Username: ptr("login")}, nil},
		"null api_key and a login":        {stored(withKey), ConfigPatch{Username: ptr("login"), Password: ptr("right"), ClearAPIKey: true}, stored()},
		"null password":                   {stored(), ConfigPatch{ClearPassword: true}, nil},
		"null api_key":                    {stored(withKey), ConfigPatch{ClearAPIKey: true}, nil},
		"empty username":                  {stored(), ConfigPatch{Username: ptr("")}, nil},
		"other username, same password":   {stored(), ConfigPatch{Username: ptr("other")}, stored(func(c *Config) { c.Username = "other" })},
		"ttl above max_ttl":               {stored(), ConfigPatch{TTL: ptr(2 * time.Hour), MaxTTL: ptr(time.Hour)}, nil},
		"ttl above the stored max_ttl":    {stored(func(c *Config) { c.MaxTTL = time.Hour }), ConfigPatch{TTL: ptr(2 * time.Hour)}, nil},
		"ttl of max_ttl":                  {stored(), ConfigPatch{TTL: ptr(time.Hour), MaxTTL: ptr(time.Hour)}, stored(func(c *Config) { c.TTL, c.MaxTTL = time.Hour, time.Hour })},
		"request_timeout too short":       {stored(), ConfigPatch{RequestTimeout: ptr(time.Duration(0))}, nil},
		"request_timeout too long":        {stored(), ConfigPatch{RequestTimeout: ptr(21 * time.Second)}, nil},
		"request_timeout at the end":      {stored(), ConfigPatch{RequestTimeout: ptr(20 * time.Second)}, stored(func(c *Config) { c.RequestTimeout = 20 * time.Second })},
		"no idle time":                    {stored(), ConfigPatch{SessionIdleTimeout: ptr(time.Duration(0))}, stored(func(c *Config) { c.SessionIdleTimeout = 0 })},
		"ca_cert that is none":            {stored(), ConfigPatch{CACert: ptr("none")}, nil},
		"ca_cert that is broken":          {stored(), ConfigPatch{CACert: ptr(testCA)}, nil},
		"tls_server_name that is a URL":   {stored(), ConfigPatch{TLSServerName: ptr("https://x")}, nil},
		"tls_server_name":                 {stored(), ConfigPatch{TLSServerName: ptr("x.example")}, nil},
		"tls_server_name, password":       {stored(), ConfigPatch{TLSServerName: ptr("x.example"), Password: ptr("right")}, stored(func(c *Config) { c.TLSServerName = "x.example" })},
		"tls_server_name, empty password": {stored(), ConfigPatch{TLSServerName: ptr("x.example"), Password: ptr("")}, nil},
		"the same tls_server_name":        {stored(name), ConfigPatch{TLSServerName: ptr("x.example"), TTL: ptr(time.Hour)}, stored(name, func(c *Config) { c.TTL = time.Hour })},
		"ca_cert":                         {stored(), ConfigPatch{CACert: ptr(ca)}, nil},
		"ca_cert, api_key":                {stored(), ConfigPatch{CACert: ptr(ca), APIKey: ptr("key")}, stored(withKey, func(c *Config) { c.CACert, c.APIKey = ca, "key" })},
		"ca_cert, username only":          {stored(), ConfigPatch{CACert: ptr(ca), Username: ptr("login")}, nil},
		"the same ca_cert":                {stored(own, trust), ConfigPatch{CACert: ptr(ca + "\n"), TTL: ptr(time.Hour)}, stored(own, trust, func(c *Config) { c.CACert, c.TTL = ca+"\n", time.Hour })},
		"other ca_cert":                   {stored(own, trust), ConfigPatch{CACert: ptr(ca + ca)}, nil},
		"ca_cert cleared":                 {stored(own, trust), ConfigPatch{CACert: ptr("")}, nil},
		"ca_cert cleared, vendor":         {stored(trust), ConfigPatch{CACert: ptr("")}, stored()},
		"both cleared, vendor":            {stored(trust, name), ConfigPatch{CACert: ptr(""), TLSServerName: ptr("")}, stored()},
		"name cleared, vendor":            {stored(trust, name), ConfigPatch{TLSServerName: ptr("")}, stored(trust)},
		"ca_cert cleared, name stays":     {stored(trust, name), ConfigPatch{CACert: ptr("")}, nil},
		"name cleared":                    {stored(own, name), ConfigPatch{TLSServerName: ptr("")}, nil},
		"between the vendor's":            {stored(), ConfigPatch{URL: ptr("https://rest.ecgrid.io/v2")}, stored(func(c *Config) { c.URL = "https://rest.ecgrid.io/v2" })},
		"between the vendor's, own trust": {stored(trust), ConfigPatch{URL: ptr("https://rest.ecgrid.io/v2")}, nil},
		"between the vendor's, port":      {stored(), ConfigPatch{URL: ptr("https://rest.ecgrid.io:444/v2")}, nil},
		"from the vendor's":               {stored(), ConfigPatch{URL: ptr("https://rest.ecgrid.io.example/v2")}, nil},
		"to the vendor's":                 {stored(own), ConfigPatch{URL: ptr(DefaultURL)}, nil},
		"other host":                      {stored(), ConfigPatch{URL: ptr("https://evil.example/x")}, nil},
		"other host, username only":       {stored(), ConfigPatch{URL: ptr("https://evil.example/x"), Username: ptr("login")}, nil},
		"other port":                      {stored(), ConfigPatch{URL: ptr("https://os.ecgrid.io:8443/v4.1/prod/ECGridOS.asmx")}, nil},
		"other scheme":                    {stored(func(c *Config) { c.URL = "https://localhost:443/x" }), ConfigPatch{URL: ptr("http://localhost:443/x")}, nil},
		"other host with the password":    {stored(), ConfigPatch{URL: ptr("https://new.example/x"), Password: ptr("new")}, stored(func(c *Config) { c.URL, c.Password = "https://new.example/x", "new" })},
		"other host with the api_key":     {stored(withKey), ConfigPatch{URL: ptr("https://new.example/x"), APIKey: ptr("new")}, stored(withKey, func(c *Config) { c.URL, c.APIKey = "https://new.example/x", "new" })},
		"back to the default host":        {stored(func(c *Config) { c.URL = "https://own.example/x" }), ConfigPatch{URL: ptr("")}, nil},
		"other path":                      {stored(), ConfigPatch{URL: ptr("https://os.ecgrid.io/v4.1/test/ECGridOS.asmx")}, stored(func(c *Config) { c.URL = "https://os.ecgrid.io/v4.1/test/ECGridOS.asmx" })},
		"same host spelt otherwise":       {stored(), ConfigPatch{URL: ptr("https://OS.ecgrid.io:443/x")}, stored(func(c *Config) { c.URL = "https://OS.ecgrid.io:443/x" })},
		"password XML cannot carry":       {stored(), ConfigPatch{Password: ptr("a\x00b")}, nil},
		"password with a newline":         {stored(), ConfigPatch{Password: ptr("right\n")}, nil},
		"old api_key to password at host": {stored(withKey), ConfigPatch{URL: ptr("https://new.example/x"), Username: ptr("login"), Password: ptr("right")}, stored(func(c *Config) { c.URL = "https://new.example/x" })},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := tt.patch.apply(tt.old)
			switch {
			case tt.want == nil && !errors.Is(err, ErrInvalid):
				t.Errorf("got %v, want it refused", err)
			case tt.want != nil && err != nil:
				t.Error(err)
			case tt.want != nil && !reflect.DeepEqual(got, *tt.want):
				t.Errorf("got another config than wanted")
			}
		})
	}
}

func TestValidateURL(t *testing.T) {
	t.Parallel()
	for raw, valid := range map[string]bool{
		DefaultURL:                       true,
		"https://127.0.0.1:8443/x":       true,
		"http://127.0.0.1:8080/x":        true,
		"http://127.9.9.9/x":             true,
		"http://[::1]:8080/x":            true,
		"http://localhost/x":             true,
		"http://os.ecgrid.io/x":          false,
		"http://localhost.evil.example/": false,
		"http://127.0.0.1.evil.example/": false,
		"http://0.0.0.0/x":               false,
		"http://10.0.0.1/x":              false,
		"ftp://os.ecgrid.io/x":           false,
		"os.ecgrid.io":                   false,
		"https://":                       false,
		"https:///x":                     false,
		"https:os.ecgrid.io":             false,
		"https://user@os.ecgrid.io/x":    false,
		"https://user:p@os.ecgrid.io/x":  false,
		"https://os.ecgrid.io/x?WSDL":    false,
		"https://os.ecgrid.io/x?":        false,
		"https://os.ecgrid.io/x#f":       false,
		"https://os.ecgrid.io:99999/x":   false,
		"https://os.ecgrid.io:port/x":    false,
		"https://os ecgrid.io/":          false,
		"/x":                             false,
	} {
		if err := validateURL(raw); (err == nil) != valid {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestWriteConfig(t *testing.T) {
	t.Parallel()
	login := ConfigPatch{Username: ptr("login"), Password: ptr("right")}
	tests := map[string]struct {
		before func(f *fakeECGrid, s *logical.InmemStorage)
		patch  ConfigPatch
		want   error // nil: stored
		logins int
	}{
		"login is tried":             {nil, login, nil, 1},
		"login is refused":           {nil, ConfigPatch{Username: ptr("login"), Password: ptr("wrong")}, session.ErrRefused, 1},
		"login is not tried":         {nil, ConfigPatch{Username: ptr("login"), Password: ptr("wrong"), VerifyConnection: ptr(false)}, nil, 0},
		"ECGrid is down":             {func(f *fakeECGrid, _ *logical.InmemStorage) { f.failWith("Login", ecgrid.ErrUnreachable) }, login, ecgrid.ErrUnreachable, 1},
		"lease times need no ECGrid": {func(f *fakeECGrid, _ *logical.InmemStorage) { f.failWith("Login", ecgrid.ErrUnreachable) }, ConfigPatch{TTL: ptr(time.Hour)}, nil, 0},
		"unless it is asked for":     {nil, ConfigPatch{TTL: ptr(time.Hour), VerifyConnection: ptr(true)}, nil, 1},
		"storage is down":            {func(_ *fakeECGrid, s *logical.InmemStorage) { s.Underlying().FailPut(true) }, login, errAny, 0},
		"storage cannot be read":     {func(_ *fakeECGrid, s *logical.InmemStorage) { s.Underlying().FailGet(true) }, login, errAny, 0},
		"what cannot be is not sent": {nil, ConfigPatch{URL: ptr("https://evil.example/")}, ErrInvalid, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, storage := configured(t, f)
				old, err := e.ReadConfig(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if tt.before != nil {
					tt.before(f, storage)
				}
				err = e.WriteConfig(t.Context(), tt.patch, noManager{})
				if (tt.want == nil) != (err == nil) || tt.want != nil && tt.want != errAny && !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if n := f.count("Login"); n != tt.logins {
					t.Errorf("%d logins, want %d", n, tt.logins)
				}
				storage.Underlying().FailPut(false)
				storage.Underlying().FailGet(false)
				now, err := e.ReadConfig(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if tt.want != nil && !reflect.DeepEqual(now, old) {
					t.Error("a write that failed changed the config")
				}
				f.failWith("Login", nil)
				if tt.want != nil {
					if _, err := e.IssueKey(t.Context(), 5001, 0); err != nil {
						t.Errorf("the old config does not work any more: %v", err)
					}
				}
				e.Close()
				if n := f.openSessions(); n != 0 {
					t.Errorf("%d sessions left open", n)
				}
			})
		})
	}
}

// errAny stands for a failure without a meaning of its own.
var errAny = errors.New("any error")

func TestConfigWriteUsesItsOwnSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.cap = 1 // the session to be replaced holds the last place
		e, _ := configured(t, f)
		for range 3 {
			if err := e.WriteConfig(t.Context(), ConfigPatch{Username: ptr("login"), Password: ptr("right")}, noManager{}); err != nil {
				t.Fatal(err)
			}
			if _, err := e.IssueKey(t.Context(), 5001, 0); err != nil {
				t.Fatal(err)
			}
		}
		if n := f.count("Login"); n != 3 {
			t.Errorf("%d logins for 3 writes with a read each", n)
		}
		if err := e.DeleteConfig(t.Context(), noManager{}); err != nil {
			t.Fatal(err)
		}
		if f.openSessions() != 0 {
			t.Error("a deleted config left its session open")
		}
		if _, err := e.IssueKey(t.Context(), 5001, 0); !errors.Is(err, ErrNotConfigured) {
			t.Errorf("after the delete: %v", err)
		}
		if err := e.DeleteConfig(t.Context(), noManager{}); err != nil {
			t.Errorf("second delete: %v", err)
		}
	})
}

func TestConfigWriteEndsThePause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.password = "changed"
		e, _ := configured(t, f)
		if _, err := e.IssueKey(t.Context(), 5001, 0); !errors.Is(err, session.ErrRefused) {
			t.Fatal(err)
		}
		if _, err := e.IssueKey(t.Context(), 5001, 0); !errors.Is(err, session.ErrPaused) {
			t.Fatal(err)
		}
		if err := e.WriteConfig(t.Context(), ConfigPatch{Password: ptr("changed")}, noManager{}); err != nil {
			t.Fatal(err)
		}
		if _, err := e.IssueKey(t.Context(), 5001, 0); err != nil {
			t.Fatal(err)
		}
		e.Close()
	})
}

// Reads that are under way when the config is replaced end well, with the old
// config or the new.
func TestReadsWhileTheConfigChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.latency = 700 * time.Millisecond
		e, _ := configured(t, f)
		go atOnce(40, func(i int) {
			time.Sleep(time.Duration(i) * 100 * time.Millisecond)
			if _, err := e.IssueKey(t.Context(), int32(5001+i%2), 0); err != nil {
				t.Errorf("read %d: %v", i, err)
			}
		})
		for range 4 {
			if err := e.WriteConfig(t.Context(), ConfigPatch{Password: ptr("right")}, noManager{}); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(5 * time.Minute)
		if n := f.openSessions(); n != 0 {
			t.Errorf("%d sessions left open", n)
		}
	})
}

func TestCloseWhileALoginIsTried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.latency = time.Second
		e, _ := configured(t, f)
		done := make(chan error)
		go func() { done <- e.WriteConfig(t.Context(), ConfigPatch{Password: ptr("right")}, noManager{}) }()
		time.Sleep(500 * time.Millisecond)
		e.Close()
		<-done
		if n := f.openSessions(); n != 0 {
			t.Errorf("%d sessions left open", n)
		}
		if _, err := e.IssueKey(t.Context(), 5001, 0); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// A closed account that was put into use after all is not used for ever.
func TestClosedAccountInUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e, _ := configured(t, newFake())
		a, err := e.connect(t.Context(), *stored())
		if err != nil {
			t.Fatal(err)
		}
		e.Close()
		e.connections.inUse = a
		if _, err := e.IssueKey(t.Context(), 5001, 0); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

// The session of a request in flight holds the last place: the write waits for it.
func TestConfigWriteWaitsForAReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.cap, f.latency = 1, 300*time.Millisecond
		e, _ := configured(t, f)
		if _, err := e.IssueKey(t.Context(), 5001, 0); err != nil {
			t.Fatal(err)
		}
		go func() {
			if _, err := e.IssueKey(t.Context(), 5002, 0); err != nil {
				t.Errorf("the reader: %v", err)
			}
		}()
		synctest.Wait()
		if err := e.WriteConfig(t.Context(), ConfigPatch{Password: ptr("right")}, noManager{}); err != nil {
			t.Errorf("the write: %v", err)
		}
		e.Close()
	})
}

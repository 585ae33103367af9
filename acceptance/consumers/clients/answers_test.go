// SPDX-License-Identifier: MPL-2.0

package clients

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/consumertest"
)

const (
	goodKey  = "good-key-0123456789"
	badKey   = "bad-key-0123456789"
	goodUser = `{"success":true,"data":{"userId":5001,"login":"orders"}}`
	// timeout is how long the programs wait for an answer.
	timeout = 10 * time.Second
)

// step is a state of the world, and what a program then prints.
type step struct {
	name   string
	set    func(*answers)
	prints string // in an error; "" is any
}

// answers is what one program gets.
type answers struct {
	t      *testing.T
	front  *front
	ecgrid string // the name of its ECGrid at the front
	vault  string // the name of its Vault at the front
	file   string // with the key or with Vault's token
}

func (a *answers) ecgridSays(status int, body string) { a.front.handle(a.ecgrid, fixed(status, body)) }
func (a *answers) vaultSays(status int, body string)  { a.front.handle(a.vault, fixed(status, body)) }
func (a *answers) write(content string)               { replace(a.t, a.file, content) }

// fixed is a server that always answers the same. A redirect leads to /elsewhere.
func fixed(status int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status/100 == 3 {
			w.Header().Set("Location", "https://"+r.Host+"/elsewhere/")
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// withhold makes a server complete no answer until it is over, and waits until the server
// is reached.
func (a *answers) withhold(name string, begin func(http.ResponseWriter), over chan struct{}) {
	reached := make(chan struct{})
	var once sync.Once
	a.front.handle(name, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		once.Do(func() { close(reached) })
		for {
			begin(w)
			select {
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			case <-over:
				panic(http.ErrAbortHandler)
			case <-time.After(time.Second):
			}
		}
	}))
	select {
	case <-reached:
	case <-time.After(patience):
		a.t.Fatal("no call after", patience)
	}
}

// silence sends nothing.
func silence(http.ResponseWriter) {}

// drip sends a header, and then a byte each time.
func drip(w http.ResponseWriter) {
	_, _ = io.WriteString(w, " ")
	_ = http.NewResponseController(w).Flush()
}

const oneLine = "must hold one line of visible ASCII characters"

var fileSteps = []step{
	{"no file", func(*answers) {}, "/secret-file"},
	{"two lines", func(a *answers) { a.write(badKey + "\n" + badKey + "\n") }, oneLine},
	{"an empty file", func(a *answers) { a.write("\n") }, oneLine},
	{"a key with a NUL", func(a *answers) { a.write(badKey + "\x00") }, oneLine},
	{"not UTF-8", func(a *answers) { a.write(badKey + "\xff") }, oneLine},
	{"a redirect", func(a *answers) { a.write(goodKey); a.ecgridSays(307, "") }, "HTTP 307"},
	{"a proxy", func(a *answers) { a.ecgridSays(200, "<html>"+goodKey) }, "malformed"},
	{"no user", func(a *answers) { a.ecgridSays(200, `{"success":true,"data":null}`) }, "malformed"},
	{"an array", func(a *answers) { a.ecgridSays(200, `[]`) }, "malformed"},
	{"too many calls", func(a *answers) { a.ecgridSays(429, `{"success":false,"data":null}`) }, "HTTP 429"},
}

var apiSteps = []step{
	{"no token", func(a *answers) { a.ecgridSays(200, goodUser) }, "/secret-file"},
	{"two tokens", func(a *answers) { a.write(badKey + "\n" + badKey) }, oneLine},
	{"denied", func(a *answers) { a.write("a-token"); a.vaultSays(403, `{"errors":["permission denied"]}`) }, "permission denied"},
	{"a key of two lines", func(a *answers) { a.vaultSays(200, `{"data":{"api_key":"`+badKey+`\nx"}}`) }, oneLine},
	{"no key", func(a *answers) { a.vaultSays(200, `{"data":{"user_id":5001}}`) }, oneLine},
	{"a proxy", func(a *answers) { a.vaultSays(200, "<html>"+badKey) }, "read"},
}

// subject is a program in TestAnswers, and the answers that it gets.
type subject struct {
	*running
	answers
	asks  string // the server that the next call begins with
	steps []step
}

// TestAnswers: bad files and bad answers give an error without a secret, and none stops the
// program. ECGrid and Vault are made up here.
func TestAnswers(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	var all []*subject
	for _, p := range runnable(t) {
		all = append(all, f.newSubject(t, p, viaFile, fileSteps), f.newSubject(t, p, viaAPI, apiSteps))
	}
	for i := range max(len(fileSteps), len(apiSteps)) {
		goThrough(t, all, i)
	}
	withoutAnswers(t, "silence", all, silence)
	withoutAnswers(t, "a header, and then a byte each second", all, drip)
	for _, m := range all {
		m.front.handle(m.ecgrid, fixed(200, goodUser))
		m.front.handle(m.vault, wellAsked(t, `{"data":{"api_key":"`+goodKey+`","user_id":5001}}`))
	}
	for _, m := range all {
		before := len(m.lines(t, 0))
		m.await(t, "good answers", before, rounds(2, func(line string) bool { return strings.TrimSpace(line) == "ok orders" }))
		consumertest.CheckLog(t, m.log(), badKey, goodKey, "a-token")
		for _, c := range f.callsOf(m.ecgrid, 0) {
			if c.key != goodKey || c.path != "users/me" {
				t.Errorf("%s: GET /%s with a key of %d bytes", m.id, c.path, len(c.key))
			}
		}
	}
	if calls := f.callsOf("elsewhere", 0); len(calls) > 0 {
		t.Errorf("a redirect was followed %d times", len(calls))
	}
}

func (f *front) newSubject(t *testing.T, p program, mode string, steps []step) *subject {
	id := p.dir + "-" + mode
	m := &subject{answers: answers{t, f, id, id + "-vault", filepath.Join(t.TempDir(), "secret-file")}, asks: id, steps: steps}
	env := []string{"ECGRID_URL=" + f.urlOf(p, m.ecgrid) + "/", "ECGRID_API_KEY_FILE=" + m.file}
	if mode == viaAPI {
		m.asks = m.vault // the program has no key
		env = []string{
			"ECGRID_URL=" + f.urlOf(p, m.ecgrid), "VAULT_ADDR=" + f.urlOf(p, m.vault), "VAULT_CACERT=" + f.caFile,
			"VAULT_TOKEN_FILE=" + m.file, "VAULT_NAMESPACE=team-a", "ECGRID_VAULT_PATH=" + vaultPath,
		}
	}
	m.running = p.start(t, id, f.caFile, env...)
	return m
}

// goThrough brings all programs through their step of that number, if they have one.
func goThrough(t *testing.T, all []*subject, number int) {
	t.Helper()
	before := map[string]int{}
	for _, m := range all {
		if number < len(m.steps) {
			m.steps[number].set(&m.answers)
			before[m.id] = len(m.lines(t, 0))
		}
	}
	for _, m := range all {
		if number < len(m.steps) {
			s := m.steps[number]
			// More than one round: at least one call began after the change.
			m.await(t, s.name, before[m.id], func(lines []string) bool { return count(lines, says(s.prints)) > callers })
		}
	}
}

// withoutAnswers checks that no program waits long for the end of an answer.
func withoutAnswers(t *testing.T, what string, all []*subject, begin func(http.ResponseWriter)) {
	t.Helper()
	before, began, over := map[string]int{}, time.Now(), make(chan struct{})
	defer close(over)
	for _, m := range all {
		m.withhold(m.asks, begin, over)
		before[m.id] = len(m.lines(t, 0))
	}
	for _, m := range all {
		m.running.await(t, what, before[m.id], func(lines []string) bool { return count(lines, failed) > 0 })
	}
	if took := time.Since(began); took > timeout+consumertest.Slack {
		t.Errorf("%s: calls fail only after %v", what, took)
	}
}

// wellAsked is a Vault that checks what it is asked.
func wellAsked(t *testing.T, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, want := range map[string]string{"X-Vault-Token": "a-token", "X-Vault-Request": "true", "X-Vault-Namespace": "team-a"} {
			if got := r.Header.Get(name); strings.Trim(got, "/") != want {
				t.Errorf("%s is %q", name, got)
			}
		}
		if r.Method != http.MethodGet || r.URL.Path != "/v1/ecgrid/static-creds/"+consumertest.Role {
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
		fixed(200, body).ServeHTTP(w, r)
	})
}

// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

// logLines collects a request log.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) add(e simulator.LogEntry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, e.String())
}

func (l *logLines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines
}

// last returns the newest line without its duration, and fails the test unless n lines
// were written.
func (l *logLines) last(t *testing.T, n int) string {
	t.Helper()
	all := l.all()
	if len(all) != n {
		t.Fatalf("%d lines, want %d", len(all), n)
	}
	line, duration, ok := strings.Cut(all[n-1], " ms=")
	if !ok || duration == "" {
		t.Errorf("no duration in %q", all[n-1])
	}
	return line
}

// Each request writes one line with what happened.
func TestLog(t *testing.T) {
	t.Parallel()
	const at = "time=2026-01-02T03:04:05.120Z "
	var log logLines
	s := newSim(t, simulator.Options{Clock: newClock().Now, Log: log.add})
	admin := user(t, s, simulator.AdminUserID)
	wrong := "not-the-password"
	for i, c := range []struct {
		what string
		do   func()
		want string
	}{
		{"a call over SOAP", func() { tryLogin(s, admin.LoginName, admin.Password) }, "transport=soap op=Login user=1001 status=200 outcome=ok"},
		{"a refused login", func() { tryLogin(s, admin.LoginName, wrong) }, "transport=soap op=Login user=1001 status=500 outcome=login-refused"},
		{"an unknown user", func() { restLogin(t, s, wrong, wrong) }, "transport=rest op=Login user=- status=401 outcome=login-refused"},
		{"a call with a key", func() { rest(t, s, "X-API-Key: "+admin.APIKey, "GET", "/users/key/5001", "") }, "transport=rest op=UserGetAPIKey user=1001 status=200 outcome=ok"},
		{"an unknown key", func() { rest(t, s, "X-API-Key: "+wrong, "GET", "/users/me", "") }, "transport=rest op=WhoAmI user=- status=401 outcome=session-dead"},
		{"a malformed request", func() { rest(t, s, "", "POST", "/auth/login", "{") }, "route=POST:/v2/auth/login user=- status=400 outcome=bad-request"},
		{"an unknown path", func() { send(s, httptest.NewRequest("GET", "/"+wrong, nil)) }, "route=- user=- status=404 outcome=bad-request"},
		{"the WSDL", func() { send(s, httptest.NewRequest("GET", simulator.SOAPPath+"?wsdl", nil)) }, "route=/v4.1/prod/ECGridOS.asmx user=- status=200 outcome=ok"},
		{"an admin endpoint", func() { send(s, httptest.NewRequest("POST", "/simulator/kill/0", nil)) }, "route=POST:/simulator/kill/{id} user=- status=200 outcome=ok"},
	} {
		c.do()
		if got := log.last(t, i+1); got != at+c.want {
			t.Errorf("%s: %q, want %q", c.what, got, at+c.want)
		}
	}
	all := strings.Join(log.all(), "\n")
	wantNoSecret(t, s, all)
	if strings.Contains(all, wrong) {
		t.Error("the log has text that a request sent")
	}
}

// The line of a call with a fault names the fault, also if the connection was cut.
func TestLogOfFaults(t *testing.T) {
	t.Parallel()
	var log logLines
	s := start(t, simulator.Options{Log: log.add, Record: true}, simulator.ServerOptions{})
	for i, c := range []struct {
		fault simulator.Fault
		want  string
	}{
		{simulator.Fault{Answer: simulator.AnswerReset}, "status=- outcome=none fault=reset"},
		{simulator.Fault{Answer: simulator.AnswerResetAfter}, "status=- outcome=ok fault=reset-after"},
		{simulator.Fault{Answer: simulator.AnswerHalf}, "status=200 outcome=ok fault=half"},
		{simulator.Fault{Cause: simulator.AccessDenied}, "status=500 outcome=access-denied fault=access-denied"},
		{simulator.Fault{Delay: time.Nanosecond}, "status=200 outcome=ok fault=timing"},
	} {
		clear := s.Inject(c.fault)
		_, _, _ = post(t, s.SOAP, "Version") // some answers fail
		clear()
		deadline := time.Now().Add(10 * time.Second)
		for len(log.all()) <= i && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond) // the line is written after the answer
		}
		if got := log.last(t, i+1); !strings.HasSuffix(got, " transport=soap op=Version user=- "+c.want) {
			t.Errorf("%+v: %q, want %q", c.fault, got, c.want)
		}
	}
}

func TestParseLatency(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]simulator.Latency{
		"": {}, "0s": {}, "50ms": {Min: 50 * time.Millisecond, Max: 50 * time.Millisecond},
		"10ms-1s": {Min: 10 * time.Millisecond, Max: time.Second},
	} {
		if got, err := simulator.ParseLatency(text); err != nil || got != want {
			t.Errorf("%q is %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"50", "-5ms", "5ms-", "5ms-1ms", "1ms-2ms-3ms", "soon"} {
		if got, err := simulator.ParseLatency(text); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
}

// The latency is that of calls, and the delay of a fault comes on top.
func TestLatency(t *testing.T) {
	t.Parallel()
	const least = 20 * time.Millisecond
	s := newSim(t, simulator.Options{Latency: simulator.Latency{Min: least, Max: least + time.Millisecond}})
	s.Inject(simulator.Fault{Op: "WhoAmI", Delay: least})
	started := time.Now()
	soapCall(s, "Version")
	if d := time.Since(started); d < least {
		t.Errorf("a call took %v", d)
	}
	started = time.Now()
	soapCall(s, "WhoAmI", "SessionID", "")
	if d := time.Since(started); d < 2*least {
		t.Errorf("a call with a delay took %v", d)
	}
}

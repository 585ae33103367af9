// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

// TestAnswerTwice reads from the connection, since net/http hides a second answer.
func TestAnswerTwice(t *testing.T) {
	t.Parallel()
	for name, so := range map[string]simulator.ServerOptions{"plain": {}, "TLS": {TLS: true}} {
		for pause, interval := range map[string]time.Duration{"at once": 0, "with a pause": time.Millisecond} {
			t.Run(name+", "+pause, func(t *testing.T) {
				t.Parallel()
				s := start(t, simulator.Options{Record: true}, so)
				s.Inject(simulator.Fault{Op: "GenerateAPIKey", Times: 1, Answer: simulator.AnswerTwice, Interval: interval})
				admin := user(t, s.Simulator, simulator.AdminUserID)
				conn := dial(t, s)
				r := newRequest(t.Context(), t, s.SOAP, "GenerateAPIKey", "SessionID", admin.APIKey, "UserID", "5001")
				if err := r.Write(conn); err != nil {
					t.Fatal(err)
				}
				from := bufio.NewReader(conn)
				for i := range 2 {
					resp, err := http.ReadResponse(from, r)
					if err != nil {
						t.Fatalf("answer %d: %v", i+1, err)
					}
					body, err := io.ReadAll(resp.Body)
					key := user(t, s.Simulator, simulator.UserID5001).APIKey
					if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != v11.contentType || !bytes.Contains(body, []byte("<GenerateAPIKeyResult>"+key+"<")) {
						t.Errorf("answer %d: HTTP %d, %v, or without the key", i+1, resp.StatusCode, err)
					}
				}
				if n := s.Count("GenerateAPIKey"); n != 1 {
					t.Errorf("%d calls", n)
				}
				if x := s.Exchanges()[0]; x.Status != http.StatusOK || bytes.Count(x.Response, []byte("</soap:Envelope>")) != 2 {
					t.Errorf("recorded HTTP %d, or not both answers", x.Status)
				}
			})
		}
	}
}

func dial(t *testing.T, s *simulator.Server) net.Conn {
	t.Helper()
	u, err := url.Parse(s.SOAP)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if u.Scheme == "http" {
		return conn
	}
	config := clientFor(t, s.CACert).Transport.(*http.Transport).TLSClientConfig
	config.ServerName = u.Hostname()
	return tls.Client(conn, config)
}

// keepAliveCaller calls operations on one connection. timeout is for each call.
func keepAliveCaller(t *testing.T, s *simulator.Server) func(op string, timeout time.Duration) error {
	t.Helper()
	client := clientFor(t, nil)
	return func(op string, timeout time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		resp, err := client.Do(newRequest(ctx, t, s.SOAP, op))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
}

// There is no answer, the connection stays open, and only Apply applies the operation.
func TestAnswerSilent(t *testing.T) {
	t.Parallel()
	for _, apply := range []bool{false, true} {
		s := start(t, simulator.Options{}, simulator.ServerOptions{})
		admin, before := user(t, s.Simulator, simulator.AdminUserID), user(t, s.Simulator, simulator.UserID5001)
		s.Inject(simulator.Fault{Op: "GenerateAPIKey", Answer: simulator.AnswerSilent, Apply: apply})
		ctx, hangUp := context.WithCancel(t.Context())
		r := newRequest(ctx, t, s.SOAP, "GenerateAPIKey", "SessionID", admin.APIKey, "UserID", "5001")
		ended := make(chan error, 1)
		go func() {
			_, err := clientFor(t, nil).Do(r)
			ended <- err
		}()
		handled := func(st simulator.State) bool { return st.Calls["GenerateAPIKey"] == 1 && st.InFlight == 0 }
		if err := s.AwaitState(t.Context(), handled); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			t.Fatalf("ended with %v", err)
		case <-time.After(50 * time.Millisecond):
		}
		hangUp()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		if done := user(t, s.Simulator, simulator.UserID5001).APIKey != before.APIKey; done != apply {
			t.Errorf("applied: %v, want %v", done, apply)
		}
	}
}

// Requests on a connection that was idle too long do not reach ECGrid. A new connection
// works.
func TestForgottenConnections(t *testing.T) {
	t.Parallel()
	const idle, long = time.Minute, time.Minute
	for name, c := range map[string]struct {
		forgetAfter time.Duration
		between     func(s *simulator.Server, c *clock)
		silent      bool
	}{
		"idle":            {idle, func(_ *simulator.Server, c *clock) { c.Advance(idle) }, true},
		"not yet idle":    {idle, func(_ *simulator.Server, c *clock) { c.Advance(idle - 1) }, false},
		"never":           {0, func(_ *simulator.Server, c *clock) { c.Advance(1000 * idle) }, false},
		"all of a sudden": {0, func(s *simulator.Server, _ *clock) { s.ForgetConnections() }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clk := newClock()
			s := start(t, simulator.Options{Clock: clk.Now}, simulator.ServerOptions{ForgetAfter: c.forgetAfter})
			call := keepAliveCaller(t, s)
			for range 3 { // use keeps the connection alive
				if err := call("Version", long); err != nil {
					t.Fatal(err)
				}
				clk.Advance(idle / 2)
			}
			clk.Advance(-idle / 2)
			c.between(s, clk)
			timeout := long
			if c.silent {
				timeout = 200 * time.Millisecond
			}
			if err := call("Version", timeout); errors.Is(err, context.DeadlineExceeded) != c.silent {
				t.Fatalf("want silent %v, but the call ended with %v", c.silent, err)
			}
			calls, swallowed := 4, 0
			if c.silent {
				calls, swallowed = 3, 1
			}
			if s.Count("Version") != calls || s.Swallowed() != swallowed || s.Connections() != 1 {
				t.Errorf("%d calls, %d swallowed, %d connections", s.Count("Version"), s.Swallowed(), s.Connections())
			}
			if err := call("Version", long); err != nil {
				t.Errorf("on a new connection: %v", err)
			}
		})
	}
}

// TestClientIPs checks whether a session is valid on the same and on another connection.
func TestClientIPs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		clientIP    func(*http.Request) string
		same, other string // the ErrorString on the same and on another connection
	}{
		"of the connection": {simulator.IPOfConnection, "", "SessionTimeout"},
		"each time":         {simulator.NewIPEachTime(), "SessionTimeout", "SessionTimeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSim(t, simulator.Options{ClientIP: c.clientIP})
			id := login(t, s, simulator.AdminUserID)
			whoAmI := func(remote string) answer {
				r := v11.request("WhoAmI", v11.wrap(element("WhoAmI", "SessionID", id)))
				if remote != "" {
					r.RemoteAddr = remote
				}
				return send(s, r)
			}
			wantRefused(t, whoAmI(""), c.same)
			wantRefused(t, whoAmI("192.0.2.1:4711"), c.other)
			calls := s.Calls()
			if first, last := calls[0].ClientIP, calls[2].ClientIP; first == last || net.ParseIP(first) == nil || net.ParseIP(last) == nil {
				t.Errorf("client IPs %q and %q", first, last)
			}
		})
	}
}

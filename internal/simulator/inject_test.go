// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"vault-plugin-ecgrid/internal/simulator"
)

// TestAnswers sends each bad answer over a real connection. GenerateAPIKey shows whether
// the operation was applied.
func TestAnswers(t *testing.T) {
	t.Parallel()
	type got struct {
		resp *http.Response
		body []byte
		err  error
	}
	for _, c := range []struct {
		fault   simulator.Fault
		applied bool
		ok      func(got) bool
	}{
		{simulator.Fault{Answer: simulator.AnswerReset}, false, func(g got) bool { return errors.Is(g.err, syscall.ECONNRESET) || errors.Is(g.err, io.EOF) }},
		{simulator.Fault{Answer: simulator.AnswerReset, Apply: true}, true, func(g got) bool { return g.err != nil }},
		{simulator.Fault{Answer: simulator.AnswerResetAfter}, true, func(g got) bool { return errors.Is(g.err, syscall.ECONNRESET) || errors.Is(g.err, io.EOF) }},
		{simulator.Fault{Answer: simulator.AnswerHTML}, false, func(g got) bool {
			return g.resp.StatusCode == 200 && g.resp.Header.Get("Content-Type") == "text/html; charset=utf-8" && bytes.Contains(g.body, []byte("<br>"))
		}},
		{simulator.Fault{Answer: simulator.AnswerHTML, Status: 502, Apply: true}, true, func(g got) bool { return g.resp.StatusCode == 502 && bytes.Contains(g.body, []byte("<html>")) }},
		{simulator.Fault{Answer: simulator.AnswerHTML, Echo: true}, false, func(g got) bool { return bytes.Contains(g.body, []byte("<GenerateAPIKey")) }},
		{simulator.Fault{Answer: simulator.AnswerStatus}, false, func(g got) bool { return g.resp.StatusCode == 503 }},
		{simulator.Fault{Answer: simulator.AnswerStatus, Status: 429, Header: http.Header{"Retry-After": {"7"}}}, false, func(g got) bool {
			return g.resp.StatusCode == 429 && g.resp.Header.Get("Retry-After") == "7"
		}},
		{simulator.Fault{Answer: simulator.AnswerRedirect, URL: "http://elsewhere.test/a"}, false, func(g got) bool {
			return g.resp.StatusCode == 302 && g.resp.Header.Get("Location") == "http://elsewhere.test/a"
		}},
		{simulator.Fault{Answer: simulator.AnswerRedirect, URL: "http://elsewhere.test/a", Status: 307}, false, func(g got) bool { return g.resp.StatusCode == 307 }},
		{simulator.Fault{Answer: simulator.AnswerEmpty}, false, func(g got) bool { return g.resp.StatusCode == 200 && len(g.body) == 0 }},
		{simulator.Fault{Answer: simulator.AnswerHuge}, false, func(g got) bool { return len(g.body) > 50<<20 && g.err == nil }},
		{simulator.Fault{Answer: simulator.AnswerHuge, Bytes: 100_000}, false, func(g got) bool { return len(g.body) > 100_000 && len(g.body) < 101_000 }},
		{simulator.Fault{Answer: simulator.AnswerEntities}, false, func(g got) bool {
			return bytes.Contains(g.body, []byte("<!DOCTYPE")) && bytes.Contains(g.body, []byte("<GenerateAPIKeyResult>&l9;<")) && bytes.Contains(g.body, []byte(`<!ENTITY l9 "&l8;`))
		}},
		{simulator.Fault{Answer: simulator.AnswerHalf}, true, func(g got) bool {
			return g.resp != nil && g.resp.StatusCode == 200 && errors.Is(g.err, io.ErrUnexpectedEOF) && len(g.body) > 100 && g.resp.ContentLength > int64(len(g.body))
		}},
		{simulator.Fault{Answer: simulator.AnswerDrip, Interval: time.Nanosecond}, true, func(g got) bool { return g.err == nil && bytes.HasSuffix(g.body, []byte("</soap:Envelope>")) }},
		{simulator.Fault{Answer: simulator.AnswerEmptyResult}, true, func(g got) bool { return bytes.Contains(g.body, []byte("><GenerateAPIKeyResult /></Gen")) }},
		{simulator.Fault{Answer: simulator.AnswerAbsentResult}, true, func(g got) bool {
			return bytes.Contains(g.body, []byte(`<GenerateAPIKeyResponse xmlns="https://os.ecgrid.io/"></GenerateAPIKeyResponse>`))
		}},
		{simulator.Fault{Answer: simulator.AnswerWrongNamespace}, true, func(g got) bool {
			return bytes.Contains(g.body, []byte(`<GenerateAPIKeyResponse xmlns="http://www.ecgridos.net/"><GenerateAPIKeyResult>`))
		}},
		{simulator.Fault{Answer: simulator.AnswerWrongOp}, true, func(g got) bool {
			return bytes.Contains(g.body, []byte(`<UserGetAPIKeyResponse xmlns="https://os.ecgrid.io/"><UserGetAPIKeyResult>`))
		}},
		{simulator.Fault{Answer: simulator.AnswerUTF16}, true, func(g got) bool {
			return bytes.HasPrefix(g.body, []byte("\xff\xfe<\x00?\x00")) && strings.HasSuffix(g.resp.Header.Get("Content-Type"), "utf-16")
		}},
		{simulator.Fault{Answer: simulator.AnswerLatin1}, true, func(g got) bool {
			return !utf8.Valid(g.body) && bytes.Contains(g.body, []byte(`encoding="iso-8859-1"`)) && bytes.Contains(g.body, []byte("GenerateAPIKeyResult>"))
		}},
		{simulator.Fault{Answer: simulator.AnswerGzip}, true, func(g got) bool {
			z, err := gzip.NewReader(bytes.NewReader(g.body))
			if err != nil {
				return false
			}
			plain, err := io.ReadAll(z)
			return err == nil && g.resp.Header.Get("Content-Encoding") == "gzip" && bytes.Contains(plain, []byte("GenerateAPIKeyResult>"))
		}},
		{simulator.Fault{Header: http.Header{"Set-Cookie": {"a=b"}}}, true, func(g got) bool { return g.resp.Header.Get("Set-Cookie") == "a=b" && g.resp.StatusCode == 200 }},
		{simulator.Fault{Cause: simulator.SystemError, Message: "my words", Code: 99}, false, func(g got) bool {
			return g.resp.StatusCode == 500 && bytes.Contains(g.body, []byte("<faultstring>my words</faultstring>")) && bytes.Contains(g.body, []byte("<ErrorCode>99<"))
		}},
		{simulator.Fault{Cause: simulator.AccessDenied, Echo: true}, false, func(g got) bool { return bytes.Contains(g.body, []byte("Cannot process: &lt;?xml")) }},
		{simulator.Fault{Cause: simulator.AccessDenied, Answer: simulator.AnswerLatin1}, false, func(g got) bool { return g.resp.StatusCode == 500 && !utf8.Valid(g.body) }},
	} {
		t.Run(string(c.fault.Answer)+string(c.fault.Cause), func(t *testing.T) {
			t.Parallel()
			s := start(t, simulator.Options{}, simulator.ServerOptions{})
			admin, before := user(t, s.Simulator, simulator.AdminUserID).APIKey, user(t, s.Simulator, simulator.UserID5001).APIKey
			c.fault.Op, c.fault.Times = "GenerateAPIKey", 1
			s.Inject(c.fault)
			var g got
			g.resp, g.body, g.err = post(t, s.SOAP, "GenerateAPIKey", "SessionID", admin, "UserID", "5001")
			if g.resp == nil {
				g.resp = &http.Response{} // the conditions read it
			}
			if !c.ok(g) {
				t.Errorf("HTTP %d with %d bytes and error %v is the wrong answer", g.resp.StatusCode, len(g.body), g.err)
			}
			if applied := user(t, s.Simulator, simulator.UserID5001).APIKey != before; applied != c.applied {
				t.Errorf("applied: %v, want %v", applied, c.applied)
			}
			if resp, _, err := post(t, s.SOAP, "Version"); err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("the next call: %v", err)
			}
		})
	}
}

func TestAnswersOverTLS(t *testing.T) {
	t.Parallel()
	s := start(t, simulator.Options{Record: true}, simulator.ServerOptions{TLS: true})
	client := clientFor(t, s.CACert)
	for a, want := range map[simulator.Answer]error{simulator.AnswerReset: syscall.ECONNRESET, simulator.AnswerHalf: io.ErrUnexpectedEOF} {
		s.Inject(simulator.Fault{Answer: a, Times: 1})
		resp, err := client.Do(newRequest(t.Context(), t, s.SOAP, "Version"))
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", a, err, want)
		}
	}
	statuses := map[int]string{}
	for _, x := range s.Exchanges() {
		statuses[x.Status] = x.Op
	}
	if len(statuses) != 2 || statuses[0] != "Version" || statuses[http.StatusOK] != "Version" {
		t.Errorf("recorded %v, not one cut before its status and one after", statuses)
	}
}

func TestFaultSelection(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	down := func(op string) bool { return soapCall(s, op).status == http.StatusServiceUnavailable }
	fault := simulator.Fault{Op: "Version", Answer: simulator.AnswerStatus, Skip: 1, Times: 2}
	s.Inject(fault)
	for i, want := range []bool{false, true, true, false} {
		if down("WhoAmI") {
			t.Error("another operation failed")
		}
		if down("Version") != want {
			t.Errorf("call %d: want failed %v", i+1, want)
		}
	}
	clear := s.Inject(simulator.Fault{Answer: simulator.AnswerStatus})
	for range 3 {
		if !down("Version") || !down("WhoAmI") {
			t.Error("a fault for all calls missed one")
		}
	}
	clear()
	clear()
	if down("Version") {
		t.Error("not cleared")
	}
	s.Inject(simulator.Fault{Answer: simulator.AnswerStatus})
	s.ClearFaults()
	if down("Version") {
		t.Error("ClearFaults left one")
	}
	injected := 0
	for _, c := range s.Calls() {
		if c.Injected {
			injected++
		}
	}
	if injected != 8 {
		t.Errorf("%d calls are marked as injected, want 8", injected)
	}
}

func TestCallsHaveTheirCause(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	s.Inject(simulator.Fault{Op: "Version", Cause: simulator.SystemError})
	s.Inject(simulator.Fault{Op: "WhoAmI", Header: http.Header{"Set-Cookie": {"a=b"}}})
	s.Inject(simulator.Fault{Op: "Logout", Answer: simulator.AnswerStatus})
	want := map[string]simulator.Cause{"Version": simulator.SystemError, "WhoAmI": simulator.SessionDead, "Logout": "", "Login": simulator.LoginRefused}
	for op := range want {
		soapCall(s, op)
	}
	for _, c := range s.Calls() {
		if c.Refused != want[c.Op] || !c.Answered || c.Injected != (c.Op != "Login") {
			t.Errorf("%s: refused %q, answered %v, injected %v", c.Op, c.Refused, c.Answered, c.Injected)
		}
	}
}

func TestInjectRefusesUnknownNames(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	for _, f := range []simulator.Fault{{Op: "Version", ApplyLate: time.Second}, {Answer: "x"}, {Cause: "x"}, {Shape: "x"}, {Op: "x"}, {Transport: "x"}, {Op: "Refresh", Transport: "soap"}, {Cause: simulator.RateLimited}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v was accepted", f)
				}
			}()
			s.Inject(f)
		}()
	}
}

func TestBeforeAndAfter(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	id := login(t, s, simulator.AdminUserID)
	s.Inject(simulator.Fault{Op: "UserGetAPIKey", Times: 1, Before: func(s *simulator.Simulator) { s.KillSessions(0) }})
	wantRefused(t, soapCall(s, "UserGetAPIKey", "SessionID", id, "UserID", "5001"), "SessionTimeout")

	key := user(t, s, simulator.AdminUserID).APIKey
	before := user(t, s, simulator.UserID5001).APIKey
	s.Inject(simulator.Fault{Op: "UserGetAPIKey", Times: 1, After: func(s *simulator.Simulator) { s.ReplaceKey(simulator.UserID5001) }})
	if got := result(t, s, "UserGetAPIKey", "SessionID", key, "UserID", "5001"); got != before {
		t.Error("After ran before the operation")
	}
	if user(t, s, simulator.UserID5001).APIKey == before {
		t.Error("After did not run")
	}
}

// A client that hangs up during a delay does not cancel its call.
func TestDelayOutlivesTheClient(t *testing.T) {
	t.Parallel()
	s := start(t, simulator.Options{}, simulator.ServerOptions{})
	admin, before := user(t, s.Simulator, simulator.AdminUserID), user(t, s.Simulator, simulator.UserID5001).APIKey
	s.Inject(simulator.Fault{Op: "GenerateAPIKey", Delay: time.Hour})
	ctx, hangUp := context.WithCancel(t.Context())
	r := newRequest(ctx, t, s.SOAP, "GenerateAPIKey", "SessionID", admin.APIKey, "UserID", "5001")
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := http.DefaultClient.Do(r); !errors.Is(err, context.Canceled) {
			t.Errorf("the call ended with %v", err)
		}
	})
	if err := s.Await(t.Context(), "GenerateAPIKey", 1); err != nil {
		t.Fatal(err)
	}
	if st := s.State(); st.InFlight != 1 || user(t, s.Simulator, simulator.UserID5001).APIKey != before {
		t.Errorf("%d calls in flight, or applied already", st.InFlight)
	}
	hangUp()
	wg.Wait()
	if err := s.AwaitState(t.Context(), func(st simulator.State) bool { return st.InFlight == 0 }); err != nil {
		t.Fatal(err)
	}
	if user(t, s.Simulator, simulator.UserID5001).APIKey == before {
		t.Error("not applied")
	}
}

func TestDelaysWait(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	for _, f := range []simulator.Fault{{Delay: 30 * time.Millisecond}, {DelayAnswer: 30 * time.Millisecond}} {
		clear := s.Inject(f)
		began := time.Now()
		if soapCall(s, "Version").status != http.StatusOK || time.Since(began) < 30*time.Millisecond {
			t.Errorf("%+v did not wait", f)
		}
		clear()
	}
}

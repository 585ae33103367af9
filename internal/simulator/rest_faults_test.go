// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

// restSend calls a listening simulator and follows no redirect.
func restSend(t *testing.T, base, credential, method, path string) (*http.Response, string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	name, value, _ := strings.Cut(credential, ": ")
	r.Header.Set(name, value)
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(r)
	if err != nil {
		return &http.Response{}, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// TestRESTAnswers sends each bad answer over a real connection. The new key shows whether
// the operation was applied. In the wanted body, KEY is that key.
func TestRESTAnswers(t *testing.T) {
	t.Parallel()
	type f = simulator.Fault
	reset := func(err error) bool { return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) }
	for _, c := range []struct {
		fault   f
		applied bool
		status  int
		body    string // "…" in the middle stands for anything
		err     func(error) bool
	}{
		{f{Answer: simulator.AnswerReset}, false, 0, "", reset},
		{f{Answer: simulator.AnswerReset, Apply: true}, true, 0, "", reset},
		{f{Answer: simulator.AnswerResetAfter}, true, 0, "", reset},
		{f{Answer: simulator.AnswerHTML, Status: 502}, false, 502, "<!DOCTYPE html>…</html>\n", nil},
		{f{Answer: simulator.AnswerHTML, Echo: true}, false, 200, "<!DOCTYPE html>…POST /v2/users/key-generate/5001 ADMIN </body></html>\n", nil},
		{f{Answer: simulator.AnswerStatus}, false, 503, "Service Unavailable\n", nil},
		{f{Answer: simulator.AnswerStatus, Status: 429, Header: http.Header{"Retry-After": {"7"}}}, false, 429,
			`{"success":false,"data":null,"errorCode":"RateLimitExceeded","message":"Rate limit exceeded"}` + "\n", nil},
		{f{Answer: simulator.AnswerStatus, Status: 401}, false, 401, `{"success":false,"data":null,"errorCode":"InvalidAPIKey","message":"Invalid API key"}` + "\n", nil},
		{f{Answer: simulator.AnswerStatus, Status: 418, ErrorCode: "InternalError"}, false, 418, `{"success":false,"data":null,"errorCode":"InternalError","message":""}` + "\n", nil},
		{f{Answer: simulator.AnswerRedirect, URL: "http://elsewhere.test/a", Status: 307}, false, 307, "", nil},
		{f{Answer: simulator.AnswerEmpty}, false, 200, "", nil},
		{f{Answer: simulator.AnswerHuge, Bytes: 100_000}, false, 200, `{"success":true,"data":"` + strings.Repeat("A", 100_000) + `","errorCode":"","message":""}`, nil},
		{f{Answer: simulator.AnswerEntities}, false, 200, `{"success":true,"data":[[[[[[[[[…]]]]]]]],"errorCode":"","message":""}`, nil},
		{f{Answer: simulator.AnswerHalf}, true, 200, `{"success":true,"data":"`, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		{f{Answer: simulator.AnswerTruncated}, true, 200, `{"success":true,"data":"`, nil},
		{f{Answer: simulator.AnswerDrip, Interval: time.Nanosecond}, true, 200, `{"success":true,"data":"KEY"}` + "\n", nil},
		{f{Answer: simulator.AnswerEmptyResult}, true, 200, `{"success":true,"data":""}` + "\n", nil},
		{f{Answer: simulator.AnswerAbsentResult}, true, 200, `{"success":true}` + "\n", nil},
		{f{Answer: simulator.AnswerNullResult}, true, 200, `{"success":true,"data":null}` + "\n", nil},
		{f{Answer: simulator.AnswerWrongType}, true, 200, `{"success":true,"data":[["KEY"]]}` + "\n", nil},
		{f{Answer: simulator.AnswerTwoResults}, true, 200, `{"success":true,"data":null,"data":"KEY"}` + "\n", nil},
		{f{Answer: simulator.AnswerWrongNamespace}, true, 200, `{"d":{"success":true,"data":"KEY"}}` + "\n", nil},
		{f{Answer: simulator.AnswerWrongOp}, true, 200, `{"success":true,"data":"…"}` + "\n", nil},
		{f{Answer: simulator.AnswerUTF16}, true, 200, "\xff\xfe{\x00\"\x00s\x00…}\x00\n\x00", nil},
		{f{Answer: simulator.AnswerLatin1}, true, 200, "{\"note\":\"caf\xe9\",\"success\":true,\"data\":\"KEY\"}\n", nil},
		{f{Answer: simulator.AnswerGzip}, true, 200, "\x1f\x8b", nil},
		{f{Header: http.Header{"Set-Cookie": {"a=b"}}}, true, 200, `{"success":true,"data":"KEY"}` + "\n", nil},
		{f{Cause: simulator.SystemError, Message: "my words"}, false, 500, `{"success":false,"data":null,"errorCode":"InternalError","message":"my words"}` + "\n", nil},
		{f{Cause: simulator.SessionDead}, false, 401, `{"success":false,"data":null,"errorCode":"InvalidAPIKey","message":"Invalid API key"}` + "\n", nil},
		{f{Cause: simulator.NotFound, Status: 200}, false, 200, `{"success":false,"data":null,"errorCode":"ObjectNotFound","message":"Not found"}` + "\n", nil},
		{f{Cause: simulator.AccessDenied, Status: 404, ErrorCode: "InvalidSession"}, false, 404, `{"success":false,"data":null,"errorCode":"InvalidSession","message":"Access denied"}` + "\n", nil},
		{f{Cause: simulator.AccessDenied, Echo: true}, false, 403, `{"success":false,"data":null,"errorCode":"AccessDenied","message":"Cannot process: POST /v2/users/key-generate/5001 ADMIN "}` + "\n", nil},
		{f{Cause: simulator.AccessDenied, Answer: simulator.AnswerAbsentResult}, false, 403, `{"success":false,"errorCode":"AccessDenied","message":"Access denied"}` + "\n", nil},
	} {
		t.Run(string(c.fault.Answer)+string(c.fault.Cause), func(t *testing.T) {
			t.Parallel()
			s := start(t, simulator.Options{}, simulator.ServerOptions{})
			admin, before := user(t, s.Simulator, simulator.AdminUserID).APIKey, user(t, s.Simulator, simulator.UserID5001).APIKey
			c.fault.Op, c.fault.Times = "GenerateAPIKey", 1
			s.Inject(c.fault)
			resp, body, err := restSend(t, s.REST, "X-API-Key: "+admin, "POST", "/users/key-generate/5001")
			if c.err == nil && err != nil || c.err != nil && !c.err(err) || resp.StatusCode != c.status {
				t.Errorf("HTTP %d, %v, want %d", resp.StatusCode, err, c.status)
			}
			now := user(t, s.Simulator, simulator.UserID5001).APIKey
			head, tail, open := strings.Cut(strings.NewReplacer("KEY", now, "ADMIN", admin).Replace(c.body), "…")
			partial := open || c.fault.Answer == simulator.AnswerHalf || c.fault.Answer == simulator.AnswerTruncated || c.fault.Answer == simulator.AnswerGzip
			if !strings.HasPrefix(body, head) || !strings.HasSuffix(body, tail) || !partial && body != head {
				t.Errorf("%d bytes are the wrong answer", len(body))
			}
			if (now != before) != c.applied {
				t.Errorf("applied: %v, want %v", now != before, c.applied)
			}
			for name, values := range c.fault.Header {
				if resp.Header.Get(name) != values[0] {
					t.Errorf("%s is missing", name)
				}
			}
			wantAlive(t, s.Simulator, "X-API-Key: "+admin, "the next call")
		})
	}
}

// The counterparts of the result depend on its kind.
func TestRESTSpoiledData(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	admin := user(t, s, simulator.AdminUserID).APIKey
	for _, c := range []struct {
		answer             simulator.Answer
		method, path, body string
		want               string
	}{
		{simulator.AnswerEmptyResult, "GET", "/users/me", "", `{"success":true,"data":{}}`},
		{simulator.AnswerEmptyResult, "POST", "/users/list", "{}", `{"success":true,"data":[]}`},
		{simulator.AnswerEmptyResult, "POST", "/users/reset/5001", "", `{"success":true,"data":""}`},
		{simulator.AnswerEmptyResult, "POST", "/auth/logout", "", `{"success":true,"data":"","errorCode":"","message":""}`},
		{simulator.AnswerAbsentResult, "POST", "/auth/session", "", `{"success":true,"errorCode":"","message":""}`},
		{simulator.AnswerWrongOp, "GET", "/users/key/1001", "", `{"success":true,"data":{"token":"` + admin + `","expiresAt":"2099-01-01T00:00:00Z","userId":1}}`},
	} {
		clear := s.Inject(simulator.Fault{Answer: c.answer})
		if a := send(s, restRequest(c.method, c.path, admin, c.body)); strings.TrimSpace(a.body) != c.want {
			t.Errorf("%s of %s is wrong", c.answer, c.path)
		}
		clear()
	}
}

// The answers that were added for REST have a counterpart in SOAP.
func TestSpoiledResults(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	const r = "<VersionResult>" + simulator.Version + "</VersionResult>"
	for answer, want := range map[simulator.Answer]string{
		simulator.AnswerNullResult: `<VersionResult xsi:nil="true" /></VersionResponse>`,
		simulator.AnswerTwoResults: r + r + "</VersionResponse>",
		simulator.AnswerWrongType:  "<VersionResult><Value>" + r + "</Value></VersionResult></VersionResponse>",
	} {
		s.Inject(simulator.Fault{Answer: answer, Times: 1})
		if a := soapCall(s, "Version"); a.status != http.StatusOK || !strings.Contains(a.body, want) {
			t.Errorf("%s: HTTP %d, or the wrong answer", answer, a.status)
		}
	}
	s.Inject(simulator.Fault{Answer: simulator.AnswerTruncated, Times: 1})
	if a := soapCall(s, "Version"); strings.Contains(a.body, "</soap:Envelope>") || a.body == "" {
		t.Error("not truncated")
	}
}

func TestRESTTwice(t *testing.T) {
	t.Parallel()
	s := start(t, simulator.Options{}, simulator.ServerOptions{})
	s.Inject(simulator.Fault{Op: "Version", Answer: simulator.AnswerTwice, Times: 1})
	conn := dial(t, s)
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.REST+"/auth/version", nil)
	if err != nil {
		t.Fatal(err)
	}
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
		if err != nil || string(body) != `{"success":true,"data":{"version":"2.6"},"errorCode":"","message":""}`+"\n" {
			t.Errorf("answer %d: HTTP %d with %d bytes, %v", i+1, resp.StatusCode, len(body), err)
		}
	}
}

// Delays and silence end if the client hangs up, and the call is still applied.
func TestRESTDelays(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]simulator.Fault{
		"delay":        {Delay: time.Hour},
		"delay answer": {DelayAnswer: time.Hour},
		"silence":      {Answer: simulator.AnswerSilent, Apply: true},
		"apply late":   {ApplyLate: time.Millisecond, Answer: simulator.AnswerSilent},
	} {
		s := newSim(t, simulator.Options{})
		admin, before := user(t, s, simulator.AdminUserID).APIKey, user(t, s, simulator.UserID5001).APIKey
		f.Op = "GenerateAPIKey"
		s.Inject(f)
		const patience = 20 * time.Millisecond
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		began := time.Now()
		send(s, restRequest("POST", "/users/key-generate/5001", admin, "").WithContext(ctx))
		cancel()
		if waited := time.Since(began); waited < patience {
			t.Errorf("%s: answered after %v", name, waited)
		}
		if err := s.AwaitState(t.Context(), func(st simulator.State) bool { return st.Landing == 0 }); err != nil {
			t.Fatal(err)
		}
		if user(t, s, simulator.UserID5001).APIKey == before {
			t.Errorf("%s: not applied", name)
		}
	}
}

// Before and After run around a REST call too.
func TestRESTBeforeAndAfter(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	token := openToken(t, s, user(t, s, simulator.AdminUserID))
	s.Inject(simulator.Fault{Op: "WhoAmI", Times: 1, After: func(s *simulator.Simulator) { s.KillSessions(0) }})
	wantAlive(t, s, token, "After came too early")
	wantDead(t, s, token, "After did not run")
	token = openToken(t, s, user(t, s, simulator.AdminUserID))
	s.Inject(simulator.Fault{Op: "Refresh", Times: 1, Before: func(s *simulator.Simulator) { s.KillSessions(0) }})
	wantCode(t, rest(t, s, token, "POST", "/auth/refresh", quoteFields("token", token[len(bearer):])), 401, "InvalidSession")
}

func TestRESTFaultsByCause(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	for _, c := range []struct {
		cause  simulator.Cause
		status int
		code   string
	}{
		{simulator.SessionDead, 401, "InvalidSession"}, {simulator.LoginRefused, 401, "InvalidSession"},
		{simulator.AccessDenied, 403, "AccessDenied"}, {simulator.NotFound, 404, "ObjectNotFound"},
		{simulator.InvalidParameter, 400, "InvalidParameter"}, {simulator.SystemError, 500, "InternalError"},
	} {
		s.Inject(simulator.Fault{Op: "WhoAmI", Times: 1, Cause: c.cause})
		wantCode(t, rest(t, s, bearer+"x", "GET", "/users/me", ""), c.status, c.code)
	}
}

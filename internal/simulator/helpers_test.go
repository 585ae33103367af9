// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

// clock advances only when a test advances it.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 120_000_000, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newSim(t *testing.T, o simulator.Options) *simulator.Simulator {
	t.Helper()
	s, err := simulator.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func start(t *testing.T, o simulator.Options, so simulator.ServerOptions) *simulator.Server {
	t.Helper()
	s, err := simulator.Start(o, so)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// wire is a SOAP version, independent of the simulator's code.
type wire struct{ name, contentType, envelope, fault string }

var (
	v11   = wire{"1.1", "text/xml; charset=utf-8", "http://schemas.xmlsoap.org/soap/envelope/", "faultcode"}
	v12   = wire{"1.2", "application/soap+xml; charset=utf-8", "http://www.w3.org/2003/05/soap-envelope", "Value"}
	wires = []wire{v11, v12}
)

// element is the body of a call. args are pairs of name and value.
func element(op string, args ...string) string {
	var b strings.Builder
	b.WriteString("<" + op + ` xmlns="https://os.ecgrid.io/">`)
	for i := 0; i+1 < len(args); i += 2 {
		b.WriteString("<" + args[i] + ">")
		_ = xml.EscapeText(&b, []byte(args[i+1]))
		b.WriteString("</" + args[i] + ">")
	}
	b.WriteString("</" + op + ">")
	return b.String()
}

func (v wire) wrap(body string) string {
	return `<?xml version="1.0" encoding="utf-8"?><e:Envelope xmlns:e="` + v.envelope + `"><e:Body>` + body + `</e:Body></e:Envelope>`
}

func (v wire) request(op, message string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, simulator.SOAPPath, strings.NewReader(message))
	r.Header.Set("Content-Type", v.contentType)
	if v == v11 {
		r.Header.Set("SOAPAction", `"https://os.ecgrid.io/`+op+`"`)
	}
	return r
}

type answer struct {
	status int
	header http.Header
	body   string
}

func send(h http.Handler, r *http.Request) answer {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

func (v wire) call(h http.Handler, op string, args ...string) answer {
	return send(h, v.request(op, v.wrap(element(op, args...))))
}

func soapCall(h http.Handler, op string, args ...string) answer { return v11.call(h, op, args...) }

// text returns the text of the first element of a name. It returns false if there is none.
func (a answer) text(name string) (string, bool) {
	d := xml.NewDecoder(strings.NewReader(a.body))
	for {
		token, err := d.Token()
		if err != nil {
			return "", false
		}
		if s, ok := token.(xml.StartElement); ok && s.Name.Local == name {
			var text string
			if d.DecodeElement(&text, &s) != nil {
				return "", false
			}
			return text, true
		}
	}
}

// result returns the result of a call that has to succeed.
func result(t *testing.T, h http.Handler, op string, args ...string) string {
	t.Helper()
	a := soapCall(h, op, args...)
	if a.status != http.StatusOK {
		reason, _ := a.text("faultstring")
		t.Fatalf("%s: HTTP %d, %s", op, a.status, reason)
	}
	text, _ := a.text(op + "Result")
	return text
}

// errorString is the ErrorString of an ECGrid fault, or "" for other answers.
func (a answer) errorString() string {
	if a.status != http.StatusInternalServerError {
		return ""
	}
	text, _ := a.text("ErrorString")
	return text
}

func wantRefused(t *testing.T, a answer, errorString string) {
	t.Helper()
	if got := a.errorString(); got != errorString {
		t.Errorf("HTTP %d with error %q, want a fault with %q", a.status, got, errorString)
	}
}

func user(t *testing.T, s *simulator.Simulator, id int32) simulator.User {
	t.Helper()
	u, ok := s.User(id)
	if !ok {
		t.Fatalf("no user %d", id)
	}
	return u
}

func login(t *testing.T, s *simulator.Simulator, id int32) string {
	t.Helper()
	u := user(t, s, id)
	sessionID := result(t, s, "Login", "LoginName", u.LoginName, "Password", u.Password)
	if len(sessionID) != 36 {
		t.Fatalf("a SessionID of %d characters is not a GUID", len(sessionID))
	}
	return sessionID
}

func tryLogin(s *simulator.Simulator, loginName, password string) answer {
	return soapCall(s, "Login", "LoginName", loginName, "Password", password)
}

// newRequest is for a listening simulator.
func newRequest(ctx context.Context, t *testing.T, url, op string, args ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(v11.wrap(element(op, args...))))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", v11.contentType)
	r.Header.Set("SOAPAction", `"https://os.ecgrid.io/`+op+`"`)
	return r
}

// post calls a listening simulator and follows no redirect.
func post(t *testing.T, url, op string, args ...string) (*http.Response, []byte, error) {
	t.Helper()
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(newRequest(t.Context(), t, url, op, args...))
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

func decimal(n int32) string { return fmt.Sprint(n) }

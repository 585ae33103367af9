package soap

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

func TestConnectRefuses(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]ecgrid.Endpoint{
		"nothing":             {},
		"no scheme":           {URL: "canary/path"},
		"other scheme":        {URL: "ftp://canary/"},
		"no host":             {URL: "https:///canary"},
		"port only":           {URL: "https://:443/canary"},
		"credentials":         {URL: "https://canary:canary@host/"},
		"fragment":            {URL: "https://host/#canary"},
		"bad escape":          {URL: "https://host/%zzcanary"},
		"no PEM":              {URL: "https://host/", CACert: "canary"},
		"PEM of other things": {URL: "https://host/", CACert: "-----BEGIN CANARY-----\nAAAA\n-----END CANARY-----\n"},
		"negative timeout":    {URL: "https://host/", RequestTimeout: -1},
		"negative concurrent": {URL: "https://host/", MaxConcurrent: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := Connect(e)
			if err == nil || c != nil {
				t.Fatal("accepted")
			}
			if strings.Contains(strings.ToLower(err.Error()), "canary") {
				t.Error("the error quotes the endpoint")
			}
		})
	}
}

func TestEveryOperation(t *testing.T) {
	t.Parallel()
	c := serve(t, strict)
	for _, op := range everyOp {
		t.Run(op.name, func(t *testing.T) {
			got, err := op.call(t.Context(), c)
			if err != nil || !reflect.DeepEqual(got, op.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, op.want)
			}
		})
	}
}

// A head that says more than it must tells a proxy's log more than it must.
func TestHead(t *testing.T) {
	t.Parallel()
	var head http.Header
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		head = r.Header.Clone()
		if r.URL.RequestURI() != "/v4.1/prod/ECGridOS.asmx" || r.ProtoMajor != 1 || r.ContentLength <= 0 {
			t.Errorf("got %s, HTTP/%d, %d bytes", r.URL, r.ProtoMajor, r.ContentLength)
		}
		strict(w, r)
	})
	if _, err := c.Version(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := http.Header{
		"Content-Type":   {"text/xml; charset=utf-8"},
		"Soapaction":     {`"https://os.ecgrid.io/Version"`},
		"User-Agent":     {"vault-plugin-ecgrid"},
		"Content-Length": head["Content-Length"],
	}
	if !reflect.DeepEqual(head, want) {
		t.Errorf("got %v", head)
	}
}

func TestUnsendable(t *testing.T) {
	t.Parallel()
	c := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("something was sent") })
	const bad = "canary\x01"
	for param, call := range map[string]func(context.Context) error{
		"LoginName":   func(ctx context.Context) error { _, err := c.Login(ctx, bad, "p"); return err },
		"Password":    func(ctx context.Context) error { _, err := c.Login(ctx, "l", "canary\xff"); return err },
		"SessionID":   func(ctx context.Context) error { return c.Logout(ctx, bad) },
		"OldPassword": func(ctx context.Context) error { return c.ChangePassword(ctx, "s", "\uFFFEcanary", bad) },
		"NewPassword": func(ctx context.Context) error { return c.ChangePassword(ctx, "s", "p", bad) },
		"Name":        func(ctx context.Context) error { _, err := c.UserList(ctx, "s", bad); return err },
	} {
		t.Run(param, func(t *testing.T) {
			t.Parallel()
			e := wantFailure(t, call(t.Context()), ecgrid.ErrFault)
			if e.Sent || e.Reason != param+" cannot be sent in XML" {
				t.Errorf("got %+v", e)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	html := "<html><body>" + canaryUpstream + "</body></html>"
	fault := soapFault("soap:Client", "<detail><ErrorCode>2</ErrorCode></detail>")
	good := response("Version", "<VersionResult>4</VersionResult>")
	tests := []struct {
		status int
		body   string
		kind   error
		reason string
		tries  int
	}{
		{200, html, ecgrid.ErrBadAnswer, "not a SOAP envelope", 1},
		{200, fault, ecgrid.ErrAccessDenied, "code 2", 1},
		{500, fault, ecgrid.ErrAccessDenied, "code 2", 1},
		{400, fault, ecgrid.ErrAccessDenied, "code 2", 1},
		{502, fault, ecgrid.ErrAccessDenied, "code 2", 1},
		{500, html, ecgrid.ErrBadAnswer, "HTTP status 500", 3},
		{500, "", ecgrid.ErrBadAnswer, "HTTP status 500", 3},
		{500, good, ecgrid.ErrBadAnswer, "HTTP status 500", 3},
		{500, html + strings.Repeat(" ", maxSmall), ecgrid.ErrBadAnswer, "HTTP status 500", 3},
		{502, html, ecgrid.ErrBadAnswer, "HTTP status 502", 3},
		{504, html, ecgrid.ErrBadAnswer, "HTTP status 504", 3},
		{503, html, ecgrid.ErrUnreachable, "HTTP status 503", 3},
		{503, fault, ecgrid.ErrAccessDenied, "code 2", 1},
		{429, fault, ecgrid.ErrAccessDenied, "code 2", 1},
		{503, soapFault("soap:Server", ""), ecgrid.ErrServerFault, "no code", 1},
		{503, "", ecgrid.ErrUnreachable, "HTTP status 503", 3},
		{503, good, ecgrid.ErrUnreachable, "HTTP status 503", 3},
		{503, fault[:len(fault)-9], ecgrid.ErrUnreachable, "HTTP status 503", 3},
		{503, fault + "x", ecgrid.ErrUnreachable, "HTTP status 503", 3},
		{503, html + strings.Repeat(" ", maxSmall), ecgrid.ErrUnreachable, "HTTP status 503", 3},
		{429, html, ecgrid.ErrUnreachable, "HTTP status 429", 1},
		{429, "", ecgrid.ErrUnreachable, "HTTP status 429", 1},
		{201, good, ecgrid.ErrBadAnswer, "HTTP status 201", 1},
		{202, fault, ecgrid.ErrBadAnswer, "HTTP status 202", 1},
		{204, "", ecgrid.ErrBadAnswer, "HTTP status 204", 1},
		{302, good, ecgrid.ErrBadAnswer, "HTTP status 302", 1},
		{401, html, ecgrid.ErrBadAnswer, "HTTP status 401", 1},
		{404, html, ecgrid.ErrBadAnswer, "HTTP status 404", 1},
		{404, good, ecgrid.ErrBadAnswer, "HTTP status 404", 1},
	}
	for _, test := range tests {
		var tries atomic.Int32
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			tries.Add(1)
			if test.status == 302 {
				w.Header().Set("Location", "/elsewhere")
			}
			answerWith(test.status, test.body)(w, r)
		})
		_, err := c.Version(t.Context())
		e := wantFailure(t, err, test.kind)
		if e.Reason != test.reason || !e.Sent || int(tries.Load()) != test.tries {
			t.Errorf("%d with %.40q: %+v after %d tries, want %q after %d", test.status, test.body, e, tries.Load(), test.reason, test.tries)
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the second host received something")
	}))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, status) })
		for _, op := range everyOp {
			_, err := op.call(t.Context(), c)
			wantFailure(t, err, ecgrid.ErrBadAnswer)
		}
	}
}

func TestCookiesAreNotKept(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if len(r.Cookies()) > 0 {
			t.Error("a cookie came back")
		}
		http.SetCookie(w, &http.Cookie{Name: "ASP.NET_SessionId", Value: "1", Path: "/"})
		strict(w, r)
	})
	for range 3 {
		if _, err := c.Version(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHeadOfAnswer(t *testing.T) {
	t.Parallel()
	good := response("Version", "<VersionResult>4</VersionResult>")
	for name, test := range map[string]struct {
		header, value string
		kind          error
	}{
		"charset":        {"Content-Type", "text/xml; charset=UTF-8", nil},
		"quoted charset": {"Content-Type", `application/xml; charset="utf-8"`, nil},
		"no charset":     {"Content-Type", "text/xml", nil},
		"nonsense":       {"Content-Type", ";;;", nil},
		"other charset":  {"Content-Type", "text/xml; charset=utf-16", ecgrid.ErrBadAnswer},
		"latin":          {"Content-Type", "text/xml; charset=iso-8859-1", ecgrid.ErrBadAnswer},
		"identity":       {"Content-Encoding", "identity", nil},
		"gzip":           {"Content-Encoding", "gzip", ecgrid.ErrBadAnswer},
		"large":          {"X-Large", strings.Repeat("x", maxHeader+8<<10), ecgrid.ErrBadAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set(test.header, test.value)
				io.WriteString(w, good)
			})
			_, err := c.Version(t.Context())
			if test.kind != nil {
				wantFailure(t, err, test.kind)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// raw serves bytes that need not be HTTP: say gets each connection once a whole
// request has come, and closes it.
func raw(t *testing.T, say func(net.Conn)) (*Client, *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int32
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				r, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				io.Copy(io.Discard, r.Body)
				requests.Add(1)
				say(conn)
			})
		}
	})
	c := connect(t, ecgrid.Endpoint{URL: "http://" + l.Addr().String()})
	t.Cleanup(func() { c.Close(); l.Close(); conns.Wait() })
	return c, &requests
}

// Every operation against a server that hangs up: what it is called, that it
// counts as sent, and how often it was sent.
func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		answer string // %s is the whole answer to the operation
		kind   error
		reason string
		reads  int32 // requests of a read
	}{
		{"closed", "", ecgrid.ErrUnreachable, closedEarly, 3},
		{"reset", "reset", ecgrid.ErrUnreachable, "connection reset", 3},
		{"half a head", "HTTP/1.1 200 OK\r\nServer: a\r\n", ecgrid.ErrBadAnswer, halfAnswer, 3},
		{"half a line", "HTTP/1.1 200 OK\r\nContent-Le", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n<soap:Env", ecgrid.ErrBadAnswer, halfAnswer, 3},
		{"all but the length", "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n%s", ecgrid.ErrBadAnswer, halfAnswer, 3},
		{"half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n%s", ecgrid.ErrBadAnswer, halfAnswer, 3},
		{"half an error page", "HTTP/1.1 502 Bad\r\nContent-Length: 999\r\n\r\n<html>", ecgrid.ErrBadAnswer, "HTTP status 502", 3},
		{"half a document", "HTTP/1.1 200 OK\r\n\r\n<soap:Envelope xmlns:soap='" + nsSOAP11 + "'>", ecgrid.ErrBadAnswer, "not well-formed", 1},
		{"not HTTP", "SSH-2.0-" + canaryUpstream + "\r\n", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"no status", "HTTP/1.1 " + canaryUpstream + "\r\n\r\n", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"bad header", "HTTP/1.1 200 OK\r\n" + canaryUpstream + "\r\n\r\n", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"blank in a header's name", "HTTP/1.1 200 OK\r\nContent Length: 3\r\n\r\nabc", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"continued first header", "HTTP/1.1 200 OK\r\n Server: a\r\n\r\n", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"long status", "HTTP/1.1 2000 OK\r\n\r\n%s", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"negative status", "HTTP/1.1 -20 OK\r\n\r\n%s", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"other version", "HTTP/2.0 200 OK\r\n\r\n%s", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"no version", "HTTP 200 OK\r\n\r\n%s", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"bad length", "HTTP/1.1 200 OK\r\nContent-Length: " + canaryUpstream + "\r\n\r\n%s", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"empty length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n%s", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n%s", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n%s", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"unknown encoding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + canaryUpstream + "\r\n\r\n%s", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"two encodings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n%s", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"endless 1xx", strings.Repeat("HTTP/1.1 100 Continue\r\nX: "+strings.Repeat("x", 1<<10)+"\r\n\r\n", 64), ecgrid.ErrBadAnswer, "head of the answer too large", 1},
	}
	for _, test := range tests {
		for _, op := range everyOp {
			t.Run(test.name+"/"+op.name, func(t *testing.T) {
				t.Parallel()
				c, requests := raw(t, func(conn net.Conn) {
					if test.answer == "reset" {
						conn.(*net.TCPConn).SetLinger(0)
						return
					}
					io.WriteString(conn, strings.ReplaceAll(test.answer, "%s", response(op.name, op.result)))
				})
				_, err := op.call(t.Context(), c)
				e := wantFailure(t, err, test.kind)
				if e.Op != op.name || e.Reason != test.reason || !e.Sent {
					t.Errorf("got %+v, want %q, sent", e, test.reason)
				}
				want := int32(1)
				if op.read {
					want = test.reads
				}
				if requests.Load() != want {
					t.Errorf("sent %d times, want %d", requests.Load(), want)
				}
			})
		}
	}
}

// What never got a connection was certainly not sent, and may be tried again,
// whatever the operation.
func TestUnsent(t *testing.T) {
	t.Parallel()
	refuse := func(context.Context, string, string) (net.Conn, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0") // a port that was free just now
		if err != nil {
			return nil, err
		}
		l.Close()
		return net.Dial("tcp", l.Addr().String())
	}
	tests := []struct {
		name   string
		dial   func(context.Context, string, string) (net.Conn, error)
		reason string
	}{
		{"refused", refuse, "connection refused"},
		{"no such name", failDial(&net.DNSError{Name: canaryUpstream, IsNotFound: true}), "name not found"},
		{"no resolver", failDial(&net.DNSError{Name: canaryUpstream}), "name not resolved"},
		{"dial too slow", failDial(&net.OpError{Op: "dial", Err: timeout{}}), "connection not opened in time"},
		{"no route", failDial(&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}), "no route to the host"},
		{"closed while idle", failDial(errors.New("http: server closed idle connection")), closedEarly},
		{"other", failDial(errors.New(canaryUpstream)), "connection failed"},
	}
	for _, test := range tests {
		for _, op := range everyOp {
			t.Run(test.name+"/"+op.name, func(t *testing.T) {
				t.Parallel()
				c := connect(t, ecgrid.Endpoint{URL: "http://ecgrid.test/"})
				var dials int
				c.dialThrough(func(ctx context.Context, network, addr string) (net.Conn, error) {
					dials++
					return test.dial(ctx, network, addr)
				})
				_, err := op.call(t.Context(), c)
				e := wantFailure(t, err, ecgrid.ErrUnreachable)
				if e.Sent || e.Reason != test.reason {
					t.Errorf("got %+v, want %q, unsent", e, test.reason)
				}
				want := 2
				if op.read {
					want = 3
				}
				if dials != want {
					t.Errorf("dialled %d times, want %d", dials, want)
				}
			})
		}
	}
}

func failDial(err error) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) { return nil, err }
}

type timeout struct{}

func (timeout) Error() string   { return canaryUpstream }
func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }

// A second try that succeeds is a success, and no rest of the first is in it.
func TestSecondTry(t *testing.T) {
	t.Parallel()
	var tries atomic.Int32
	first := response("UserList", "<UserListResult><UserIDInfo>"+userInfo+"</UserIDInfo></UserListResult>")
	c, _ := raw(t, func(conn net.Conn) {
		if tries.Add(1) == 1 {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"+first)
			return
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+response("UserList", ""))
	})
	users, err := c.UserList(t.Context(), "s", "")
	if err != nil || len(users) != 0 || tries.Load() != 2 {
		t.Errorf("got %v, %v after %d tries", users, err, tries.Load())
	}
}

// Once a try was sent, the call was sent, even if the last try was not.
func TestSentSpansTries(t *testing.T) {
	t.Parallel()
	c, requests := raw(t, func(net.Conn) {})
	dial := c.kept.DialContext
	var dials int
	c.dialThrough(func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials++; dials > 1 {
			return nil, errors.New("no")
		}
		return dial(ctx, network, addr)
	})
	_, err := c.Version(t.Context())
	if e := wantFailure(t, err, ecgrid.ErrUnreachable); !e.Sent || requests.Load() != 1 || dials != 3 {
		t.Errorf("got %+v after %d requests, %d dials", e, requests.Load(), dials)
	}
}

// A server that closes its connections unannounced leaves dead ones behind: a
// second try does not take the next of them.
func TestSecondTryIsOnAConnectionOfItsOwn(t *testing.T) {
	t.Parallel()
	c := serve(t, http.HandlerFunc(strict))
	c.kept.DialContext = func(context.Context, string, string) (net.Conn, error) { // not fresh's
		ours, theirs := net.Pipe()
		theirs.Close()
		return ours, nil
	}
	if _, err := c.Version(t.Context()); err != nil {
		t.Error(err)
	}
}

// A Login may take longer than other calls: its session has to become known.
func TestLoginTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := servePipes(t, 2*time.Second, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			strict(w, r)
		})
		c.loginTimeout = 10 * time.Second
		if _, err := c.Login(t.Context(), "jo", canaryPassword); err != nil {
			t.Error(err)
		}
		_, err := c.Version(t.Context())
		wantFailure(t, err, ecgrid.ErrTimeout)
		time.Sleep(time.Minute) // the server is done too
	})
}

// What went well leaves its connection to the next call. What did not, a fault too,
// does not: it may have been the second copy of an earlier answer.
func TestConnectionIsReused(t *testing.T) {
	t.Parallel()
	var conns atomic.Int32
	var faulty atomic.Bool
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if faulty.Load() {
			answerWith(500, soapFault("soap:Client", ""))(w, r)
			return
		}
		strict(w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	c := connect(t, ecgrid.Endpoint{URL: s.URL})
	defer c.Close()
	for range 3 {
		for _, op := range reads() {
			op.call(t.Context(), c)
		}
	}
	if conns.Load() != 1 {
		t.Errorf("%d connections for the calls that keep theirs, want 1", conns.Load())
	}
	for _, op := range everyOp {
		before := conns.Load()
		if op.call(t.Context(), c); op.fresh != (conns.Load() == before+1) {
			t.Errorf("%s: %d new connections", op.name, conns.Load()-before)
		}
	}
	for _, op := range reads() {
		faulty.Store(true)
		_, err := op.call(t.Context(), c)
		wantFailure(t, err, ecgrid.ErrFault)
		faulty.Store(false)
		before := conns.Load()
		if _, err := op.call(t.Context(), c); err != nil || conns.Load() != before+1 {
			t.Errorf("%s after a fault: %v, %d new connections", op.name, err, conns.Load()-before)
		}
	}
	c.Close()
	if _, err := c.Version(t.Context()); err != nil {
		t.Errorf("after Close: %v", err)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int32
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-release
		now.Add(-1)
		strict(w, r)
	}))
	defer s.Close()
	c := connect(t, ecgrid.Endpoint{URL: s.URL, MaxConcurrent: 2})
	defer c.Close()
	var calls sync.WaitGroup
	for range 20 {
		calls.Go(func() {
			if _, err := c.Version(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	for now.Load() < 4 {
		runtime.Gosched()
	}
	close(release)
	calls.Wait()
	if most.Load() != 4 {
		t.Errorf("%d at once, want 2 and 2 to spare", most.Load())
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	good := response("Version", "<VersionResult>4</VersionResult>")
	hang := func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); <-r.Context().Done() }
	drip := func(w http.ResponseWriter, r *http.Request) {
		for i := 0; r.Context().Err() == nil; i++ {
			if _, err := io.WriteString(w, good[i%len(good):][:1]); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(time.Second): // of the bubble's clock
			}
		}
	}
	busy := answerWith(503, "")
	tests := []struct {
		name   string
		h      http.HandlerFunc
		ctx    time.Duration
		cause  bool // of the caller's ctx
		kind   error
		within time.Duration
	}{
		{"hang", hang, 0, false, ecgrid.ErrTimeout, 15 * time.Second},
		{"drip", drip, 0, false, ecgrid.ErrTimeout, 15 * time.Second},
		{"hang, caller's deadline", hang, 3 * time.Second, false, ecgrid.ErrTimeout, 3 * time.Second},
		{"hang, caller's deadline and cause", hang, 3 * time.Second, true, ecgrid.ErrTimeout, 3 * time.Second},
		{"drip, caller's deadline", drip, 3500 * time.Millisecond, false, ecgrid.ErrTimeout, 3500 * time.Millisecond},
		// tries end when there is no time for another
		{"busy", busy, 0, false, ecgrid.ErrUnreachable, 300 * time.Millisecond},
		{"busy, caller's deadline", busy, 10 * time.Millisecond, false, ecgrid.ErrUnreachable, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := servePipes(t, 0, test.h)
				ctx := t.Context()
				if test.ctx > 0 {
					var cause error
					if test.cause {
						cause = errors.New(canaryUpstream)
					}
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeoutCause(ctx, test.ctx, cause)
					defer cancel()
				}
				start := time.Now()
				_, err := c.Version(ctx)
				took := time.Since(start)
				e := wantFailure(t, err, test.kind)
				if took > test.within || took < test.within/2 || !e.Sent || errors.Is(err, context.Canceled) {
					t.Errorf("took %v, want %v; %+v", took, test.within, e)
				}
			})
		})
	}
}

// A server that sees our connection close may end its answer in good order. That
// is no half answer of its making; a whole one counts all the same.
func TestAnswerThatEndsWithTheContext(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]error{
		"<soap:Envelope": context.Canceled,
		soapFault("soap:Client", "<detail><ErrorCode>2</ErrorCode></detail>"): ecgrid.ErrAccessDenied,
	} {
		ctx, cancel := context.WithCancel(t.Context())
		f := read(ctx, opVersion, &http.Response{
			StatusCode:    http.StatusOK,
			ProtoMajor:    1,
			ContentLength: -1,
			Body:          io.NopCloser(io.MultiReader(strings.NewReader(body), callAtEnd(cancel))),
		}, &value[string]{parse: (*answer).string})
		if f == nil || !errors.Is(f.kind, want) {
			t.Errorf("%s: got %+v", body, f)
		}
	}
}

type callAtEnd func()

func (f callAtEnd) Read([]byte) (int, error) {
	f()
	return 0, io.EOF
}

// never is a network that drops every packet: it neither connects nor refuses.
func never(ctx context.Context, _, _ string) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A caller with little time is told that it was too little, not that ECGrid is away.
func TestDeadlineWithoutConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := servePipes(t, 20*time.Second, nil)
		c.dialThrough(never)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Login(ctx, "jo", canaryPassword)
		if e := wantFailure(t, err, ecgrid.ErrTimeout); e.Sent {
			t.Error("counts as sent")
		}
		time.Sleep(time.Minute) // the dial that goes on has ended
	})
}

// Dropped packets are no answer to a Login: it fails unsent, and soon enough for
// every try there is to have ended by itself.
func TestDroppedPackets(t *testing.T) {
	t.Parallel()
	// silent opens connections on which no TLS handshake is ever answered.
	silent := func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, theirs)
		return ours, nil
	}
	// late does too, but needs as long for it as it may.
	late := func(ctx context.Context, network, addr string) (net.Conn, error) {
		deadline, _ := ctx.Deadline()
		time.Sleep(time.Until(deadline) - time.Millisecond)
		return silent(ctx, network, addr)
	}
	for _, network := range []struct {
		name string
		dial dialer
	}{{"before the connection", never}, {"before TLS", silent}, {"late, and before TLS", late}} {
		for _, timeout := range []time.Duration{time.Second, 15 * time.Second, 20 * time.Second, time.Minute} {
			for _, op := range everyOp {
				if op.read && network.name != "before the connection" {
					continue // three handshakes may not fit in
				}
				t.Run(network.name+"/"+timeout.String()+"/"+op.name, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						c, err := Connect(ecgrid.Endpoint{URL: "https://ecgrid.test/", RequestTimeout: timeout})
						if err != nil {
							t.Fatal(err)
						}
						defer c.Close()
						var dials atomic.Int32
						c.dialThrough(func(ctx context.Context, n, addr string) (net.Conn, error) {
							dials.Add(1)
							return network.dial(ctx, n, addr)
						})
						start := time.Now()
						_, err = op.call(t.Context(), c)
						took := time.Since(start)
						e := wantFailure(t, err, ecgrid.ErrUnreachable)
						if e.Sent || e.Reason != "connection not opened in time" || dials.Load() < 2 {
							t.Errorf("got %+v after %d dials", e, dials.Load())
						}
						if took > timeout || took == timeout && !op.read || took > 35*time.Second { // a third dial may not fit in
							t.Errorf("took %v", took)
						}
						time.Sleep(time.Minute)
					})
				})
			}
		}
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := servePipes(t, 0, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		})
		for _, op := range everyOp {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(errors.New(canaryUpstream)) })
			_, err := op.call(ctx, c)
			if e := wantFailure(t, err, context.Canceled); !e.Sent {
				t.Errorf("%s: counts as unsent", op.name)
			}
			_, err = op.call(ctx, c)
			if e := wantFailure(t, err, context.Canceled); e.Sent {
				t.Errorf("%s: counts as sent, with a context that had ended", op.name)
			}
		}
	})
}

func TestCancelBetweenTries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := servePipes(t, 0, answerWith(503, ""))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		_, err := c.Version(ctx)
		wantFailure(t, err, context.Canceled)
	})
}

// A caller that hangs up while 50 users are listed leaves nothing behind; that
// is what the bubble checks at its end.
func TestNothingIsLeftBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := servePipes(t, 0, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			head, _, _ := strings.Cut(response("UserList", "<UserListResult>"), "</UserListResponse")
			io.WriteString(w, head)
			for range 50 {
				io.WriteString(w, "<UserIDInfo>"+userInfo+"</UserIDInfo>")
			}
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})
		for range 4 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			users, err := c.UserList(ctx, "s", "")
			wantFailure(t, err, ecgrid.ErrTimeout)
			if users != nil {
				t.Error("half a list")
			}
			cancel()
		}
	})
}

// endless is a body of n bytes.
type endless struct {
	head, unit, tail string
	units            int
}

func (e endless) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	out := bufio.NewWriterSize(w, 32<<10)
	out.WriteString(e.head)
	for range e.units {
		if _, err := out.WriteString(e.unit); err != nil {
			return
		}
	}
	out.WriteString(e.tail)
	out.Flush()
}

var garbage []byte // a global, so that it is really made

// The bounds of a list are those of every list, only tighter, so that it does not
// take hours. Not parallel: it measures the process.
func TestFiftyMegabytes(t *testing.T) {
	const size, mostKept = 50 << 20, 1 << 20
	bounded := *opUserList
	bounded.limit = 8 << 20
	calls := map[string]func(*Client) error{
		"UserList": func(c *Client) error {
			_, _, err := call(t.Context(), c, &bounded, newEnvelope(&bounded, 0), usersWithin(mostKept))
			return err
		},
		"UserGetAPIKey": func(c *Client) error {
			_, err := opNamed(t, "UserGetAPIKey").call(t.Context(), c)
			return err
		},
	}
	head, tail, _ := strings.Cut(response("UserList", "<UserListResult>|</UserListResult>"), "|")
	user := func(login string) string {
		return strings.Replace("<UserIDInfo>"+userInfo+"</UserIDInfo>", "jo", login, 1)
	}
	units := map[string]endless{
		"one text":        {head: head + "<UserIDInfo><LoginName>", unit: strings.Repeat("x", 1<<10)},
		"one CDATA":       {head: head + "<UserIDInfo><LoginName><![CDATA[", unit: strings.Repeat("<", 1<<10)},
		"one comment":     {head: head + "<!--", unit: strings.Repeat("<", 1<<10)},
		"one DTD":         {head: "<!DOCTYPE a [", unit: "<!ENTITY b '" + strings.Repeat("c", 1<<10) + "'>"},
		"one instruction": {head: "<?a ", unit: strings.Repeat("<", 1<<10)},
		"one tag":         {head: head + "<UserIDInfo", unit: " a='" + strings.Repeat("x", 1<<10) + "'"},
		"one name":        {head: head + "<", unit: strings.Repeat("x", 1<<10)},
		"many texts":      {head: head + "<UserIDInfo><LoginName>", unit: "<![CDATA[" + strings.Repeat("x", 1<<10) + "]]>"},
		"deep":            {head: head, unit: "<a>"},
		"white space":     {unit: strings.Repeat(" ", 1<<10)},
		"space and tags":  {head: head, unit: strings.Repeat(" ", 1<<10) + "<a/>"},
		"nil users":       {head: head, unit: "<UserIDInfo xmlns:xsi='" + nsXSI + "' xsi:nil='true'>" + strings.Repeat(" ", 1<<10) + "</UserIDInfo>", tail: tail},
		"unknown fields":  {head: head + "<UserIDInfo>" + userInfo, unit: "<More>" + strings.Repeat("x", 1<<10) + "</More>", tail: "</UserIDInfo>" + tail},
		"one fault":       {head: "<soap:Envelope xmlns:soap='" + nsSOAP11 + "'><soap:Body><soap:Fault><detail>", unit: "<ErrorCode>" + strings.Repeat("x", 1<<10) + "</ErrorCode>"},
		"users":           {head: head, unit: user("jo"), tail: tail},
		"users, long":     {head: head, unit: user(strings.Repeat("x", 60<<10)), tail: tail},
	}
	// A process that works soon has the 4 MiB of heap below which the collector
	// does not start. Only what comes on top of that counts.
	for range 64 << 10 {
		garbage = make([]byte, 1<<10)
	}
	for name, body := range units {
		t.Run(name, func(t *testing.T) {
			body.units = size / len(body.unit)
			c := serve(t, body.ServeHTTP)
			c.timeout = 5 * time.Minute // it is about space, on a busy machine too
			for name, call := range calls {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				err := call(c)
				runtime.ReadMemStats(&after)
				wantFailure(t, err, ecgrid.ErrBadAnswer)
				// What is not released is what the process has from the system. It
				// is at its peak: nothing gives memory back so soon.
				most := int64(5 << 20)
				if strings.Contains(body.unit, "</UserIDInfo>") { // good users are kept for a while
					most += mostKept
				}
				if grown := int64(after.HeapSys-after.HeapReleased) - int64(before.HeapSys-before.HeapReleased); grown > most {
					t.Errorf("%s: the heap grew by %d KiB", name, grown>>10)
				}
				if name == "UserGetAPIKey" && after.TotalAlloc-before.TotalAlloc > 1<<20 {
					t.Errorf("%s: allocated %d KiB", name, (after.TotalAlloc-before.TotalAlloc)>>10)
				}
			}
		})
	}
}

// A length that is too much is refused before a byte of it is read.
func TestAnnouncedLength(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := servePipes(t, 0, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Length", strconv.Itoa(maxList+1))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})
		for _, op := range everyOp {
			start := time.Now()
			_, err := op.call(t.Context(), c)
			if e := wantFailure(t, err, ecgrid.ErrBadAnswer); e.Reason != tooLarge || time.Since(start) != 0 {
				t.Errorf("%s: got %+v after %v", op.name, e, time.Since(start))
			}
		}
	})
}

// mostUsers is how long a list must be complete.
const mostUsers = 100_000

// The longest list there has to be is read whole, and held about once. Not
// parallel: it measures the process.
func TestHundredThousandUsers(t *testing.T) {
	name := strings.Repeat("n", 50)
	head, tail, _ := strings.Cut(response("UserList", "<UserListResult>|</UserListResult>"), "|")
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		out := bufio.NewWriterSize(w, 32<<10)
		out.WriteString(head)
		for i := range mostUsers {
			fmt.Fprintf(out, "\n  <UserIDInfo><UserID>%d</UserID><LoginName>%s%d</LoginName><NetworkID>7</NetworkID>"+
				"<MailboxID>8</MailboxID><Status>Active</Status></UserIDInfo>", i+1, name, i+1)
		}
		out.WriteString(tail)
		out.Flush()
	})
	c.timeout = 5 * time.Minute // it is about space, on a busy machine too
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	users, err := c.UserList(t.Context(), "s", "")
	runtime.ReadMemStats(&after)
	if err != nil || len(users) != mostUsers {
		t.Fatalf("got %d users, %v", len(users), err)
	}
	for i, u := range users {
		want := ecgrid.User{UserID: int32(i + 1), LoginName: name + strconv.Itoa(i+1), NetworkID: 7, MailboxID: 8, Status: "Active"}
		if u != want {
			t.Fatalf("got %+v, want %+v", u, want)
		}
	}
	if grown := int64(after.HeapSys-after.HeapReleased) - int64(before.HeapSys-before.HeapReleased); grown > 2*maxKept {
		t.Errorf("the heap grew by %d KiB", grown>>10)
	}
}

// So many users find room though each has much to say.
func TestListBoundsLeaveRoom(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100)
	record := "\r\n      <UserIDInfo>"
	for _, name := range []string{"LoginName", "RecoveryQuestion", "FirstName", "LastName", "Company", "EMail", "Phone", "CellPhone"} {
		record += "\r\n        <" + name + ">" + long + "</" + name + ">"
	}
	for field := range strings.SplitSeq(userInfo, "</") {
		record += "\r\n        " + field
	}
	record += "\r\n      </UserIDInfo>"
	if need := mostUsers * len(record); need > maxList {
		t.Errorf("%d users of %d bytes each are %d MiB, the bound is %d", mostUsers, len(record), need>>20, maxList>>20)
	}
	if need := mostUsers * (userSize + len(long) + len("Preproduction") + len("NetworkAdmin")); need > maxKept {
		t.Errorf("%d users take %d MiB, the bound is %d", mostUsers, need>>20, maxKept>>20)
	}
}

// authority makes certificates for the TLS tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

func (a *authority) issue(t *testing.T, name string, until time.Duration) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(until),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	tests := []struct {
		name       string
		endpoint   ecgrid.Endpoint
		signer     *authority
		until      time.Duration
		newest     uint16
		plain      bool
		wantReason string
	}{
		{name: "own authority", endpoint: ecgrid.Endpoint{CACert: ours.pem, TLSServerName: "ecgrid.test"}, signer: ours},
		{name: "two authorities", endpoint: ecgrid.Endpoint{CACert: theirs.pem + ours.pem, TLSServerName: "ecgrid.test"}, signer: ours},
		{name: "TLS 1.2", endpoint: ecgrid.Endpoint{CACert: ours.pem, TLSServerName: "ecgrid.test"}, signer: ours, newest: tls.VersionTLS12},
		{name: "TLS 1.1", endpoint: ecgrid.Endpoint{CACert: ours.pem, TLSServerName: "ecgrid.test"}, signer: ours, newest: tls.VersionTLS11, wantReason: "TLS handshake failed"},
		{name: "unknown authority", endpoint: ecgrid.Endpoint{TLSServerName: "ecgrid.test"}, signer: ours, wantReason: "TLS certificate not trusted"},
		{name: "other authority", endpoint: ecgrid.Endpoint{CACert: theirs.pem, TLSServerName: "ecgrid.test"}, signer: ours, wantReason: "TLS certificate not trusted"},
		{name: "name of the URL", endpoint: ecgrid.Endpoint{CACert: ours.pem}, signer: ours, wantReason: "TLS certificate is for another name"},
		{name: "other name", endpoint: ecgrid.Endpoint{CACert: ours.pem, TLSServerName: "canary.test"}, signer: ours, wantReason: "TLS certificate is for another name"},
		{name: "expired", endpoint: ecgrid.Endpoint{CACert: ours.pem, TLSServerName: "ecgrid.test"}, signer: ours, until: -time.Hour, wantReason: "TLS certificate expired or not yet valid"},
		{name: "no TLS", endpoint: ecgrid.Endpoint{CACert: ours.pem, TLSServerName: "ecgrid.test"}, plain: true, wantReason: "no TLS on that port"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var conns atomic.Int32
			s := httptest.NewUnstartedServer(http.HandlerFunc(strict))
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					conns.Add(1)
				}
			}
			if test.plain {
				s.Start()
			} else {
				until := orDefault(test.until, time.Hour)
				s.TLS = &tls.Config{
					Certificates: []tls.Certificate{test.signer.issue(t, "ecgrid.test", until)},
					MinVersion:   tls.VersionTLS10, MaxVersion: test.newest,
				}
				s.EnableHTTP2 = true // offered, and not taken: strict is asked over HTTP/1.1
				s.StartTLS()
			}
			defer s.Close()
			u, _ := url.Parse(s.URL)
			test.endpoint.URL = "https://" + u.Host
			c := connect(t, test.endpoint)
			defer c.Close()
			for _, op := range everyOp {
				before := conns.Load()
				_, err := op.call(t.Context(), c)
				if test.wantReason == "" {
					if err != nil {
						t.Fatalf("%s: %v", op.name, err)
					}
					continue
				}
				e := wantFailure(t, err, ecgrid.ErrUnreachable)
				if e.Sent || e.Reason != test.wantReason || conns.Load() != before+1 {
					t.Fatalf("%s: %+v after %d connections, want %q after 1", op.name, e, conns.Load()-before, test.wantReason)
				}
			}
		})
	}
}

// An own authority stands instead of the system's, not beside them.
func TestOwnAuthorityIsTheOnlyOne(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	want := x509.NewCertPool()
	want.AddCert(ours.cert)
	c := connect(t, ecgrid.Endpoint{URL: "https://ecgrid.test/", CACert: ours.pem})
	for _, transport := range []*http.Transport{c.kept, c.fresh} {
		if !transport.TLSClientConfig.RootCAs.Equal(want) || transport.TLSClientConfig.InsecureSkipVerify {
			t.Error("others are trusted, too")
		}
	}
}

func BenchmarkUserGetAPIKey(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(strict))
	defer s.Close()
	c := connect(b, ecgrid.Endpoint{URL: s.URL})
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.UserGetAPIKey(b.Context(), canarySession, 5001); err != nil {
			b.Fatal(err)
		}
	}
}

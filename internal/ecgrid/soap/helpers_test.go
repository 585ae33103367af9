package soap

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// TestMain keeps what net/http prints of unasked answers out of the tests' output,
// as the plugin keeps it out of Vault's log.
func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	m.Run()
}

// What the tests send and must never find in an error. They are canaries, not
// credentials of anything.
const (
	canarySession  = "canary-session-1"
	canaryPassword = "canary-password-2"
	canaryUpstream = "canary-upstream-3"
)

// opCase is one operation, as a caller has it and as the WSDL has it.
type opCase struct {
	name    string
	call    func(ctx context.Context, c *Client) (any, error)
	request string // what stands in <Op>
	result  string // what may stand in <OpResponse>
	want    any
	read    bool // may be repeated
	fresh   bool // on a connection of its own
}

var everyOp = []opCase{
	{
		name:    "Login",
		call:    func(ctx context.Context, c *Client) (any, error) { return c.Login(ctx, "jo", canaryPassword) },
		request: "<LoginName>jo</LoginName><Password>" + canaryPassword + "</Password>",
		result:  "<LoginResult>s-1</LoginResult>",
		want:    "s-1",
		fresh:   true,
	}, {
		name:    "Logout",
		call:    func(ctx context.Context, c *Client) (any, error) { return nil, c.Logout(ctx, canarySession) },
		request: "<SessionID>" + canarySession + "</SessionID>",
		result:  "<LogoutResult>1200</LogoutResult>",
		read:    true,
	}, {
		name:    "WhoAmI",
		call:    func(ctx context.Context, c *Client) (any, error) { return c.WhoAmI(ctx, canarySession) },
		request: "<SessionID>" + canarySession + "</SessionID>",
		result:  "<WhoAmIResult>" + sessionInfo + "</WhoAmIResult>",
		want: ecgrid.Session{
			ECGridOSVersion: "4.1", UserID: 5001, LoginName: "jo", AuthLevel: "NetworkAdmin",
			OpenSessions: 2, TimeOut: 60, NetworkID: 7, MailboxID: 8,
		},
		read: true,
	}, {
		name:    "UserGetAPIKey",
		call:    func(ctx context.Context, c *Client) (any, error) { return c.UserGetAPIKey(ctx, canarySession, 5001) },
		request: "<SessionID>" + canarySession + "</SessionID><UserID>5001</UserID>",
		result:  "<UserGetAPIKeyResult>k-1</UserGetAPIKeyResult>",
		want:    "k-1",
		read:    true,
	}, {
		name:    "GenerateAPIKey",
		call:    func(ctx context.Context, c *Client) (any, error) { return c.GenerateAPIKey(ctx, canarySession, -1) },
		request: "<SessionID>" + canarySession + "</SessionID><UserID>-1</UserID>",
		result:  "<GenerateAPIKeyResult>k-2</GenerateAPIKeyResult>",
		want:    "k-2",
		fresh:   true,
	}, {
		name: "ChangePassword",
		call: func(ctx context.Context, c *Client) (any, error) {
			return nil, c.ChangePassword(ctx, canarySession, canaryPassword, "new")
		},
		request: "<SessionID>" + canarySession + "</SessionID><OldPassword>" + canaryPassword +
			"</OldPassword><NewPassword>new</NewPassword>",
		result: "<ChangePasswordResult>true</ChangePasswordResult>",
		fresh:  true,
	}, {
		name:    "UserInfo",
		call:    func(ctx context.Context, c *Client) (any, error) { return c.UserInfo(ctx, canarySession, 5001) },
		request: "<SessionID>" + canarySession + "</SessionID><UserID>5001</UserID>",
		result:  "<UserInfoResult>" + userInfo + "</UserInfoResult>",
		want:    jo,
		read:    true,
	}, {
		name:    "UserList",
		call:    func(ctx context.Context, c *Client) (any, error) { return c.UserList(ctx, canarySession, "") },
		request: "<SessionID>" + canarySession + "</SessionID><Name></Name>",
		result:  "<UserListResult><UserIDInfo>" + userInfo + "</UserIDInfo></UserListResult>",
		want:    []ecgrid.User{jo},
		read:    true,
	}, {
		name:    "Version",
		call:    func(ctx context.Context, c *Client) (any, error) { return c.Version(ctx) },
		request: "",
		result:  "<VersionResult>v4.1 (Build 472)</VersionResult>",
		want:    "v4.1 (Build 472)",
		read:    true,
	},
}

func opNamed(t testing.TB, name string) opCase {
	for _, op := range everyOp {
		if op.name == name {
			return op
		}
	}
	t.Fatalf("no operation %s", name)
	return opCase{}
}

// sessionInfo and userInfo are whole records, in the order of the WSDL, dates as
// .NET writes them.
const sessionInfo = "<ECGridOSVersion>4.1</ECGridOSVersion><SessionID>" + canarySession + "</SessionID>" +
	"<SessionEventID>9</SessionEventID><UserID>5001</UserID><LoginName>jo</LoginName><FirstName>Jo</FirstName>" +
	"<TimeZoneOffset>-5</TimeZoneOffset><AuthLevel>NetworkAdmin</AuthLevel><LastLogin>2024-01-02T03:04:05.67</LastLogin>" +
	"<OpenSessions>2</OpenSessions><TimeOut>60</TimeOut><NetworkID>7</NetworkID><MailboxID>8</MailboxID><ip>192.0.2.1</ip>"

const userInfo = "<UserID>5001</UserID><LoginName>jo</LoginName><RecoveryQuestion>?</RecoveryQuestion>" +
	"<CellCarrier>NoChange</CellCarrier><TimeZoneOffset>-5</TimeZoneOffset><NetworkID>7</NetworkID><MailboxID>8</MailboxID>" +
	"<AuthLevel>MailboxUser</AuthLevel><Created>2024-01-02T03:04:05</Created><Modified>2024-01-02T03:04:05</Modified>" +
	"<LastLogin>0001-01-01T00:00:00</LastLogin><Status>Active</Status><LockedOut>true</LockedOut><OpenSessions>0</OpenSessions>"

var jo = ecgrid.User{
	UserID: 5001, LoginName: "jo", NetworkID: 7, MailboxID: 8, AuthLevel: "MailboxUser", Status: "Active", LockedOut: true,
}

// response wraps what stands in <OpResponse> as .asmx does.
func response(op, result string) string {
	return soapBody(`<` + op + `Response xmlns="https://os.ecgrid.io/">` + result + `</` + op + `Response>`)
}

func soapBody(body string) string {
	return `<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/" ` +
		`xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema">` +
		`<soap:Body>` + body + `</soap:Body></soap:Envelope>`
}

func soapFault(code, detail string) string {
	return soapBody(`<soap:Fault><faultcode>` + code + `</faultcode><faultstring>` + canaryUpstream + `</faultstring>` + detail + `</soap:Fault>`)
}

// answerWith is a handler that always says the same.
func answerWith(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/xml; charset=utf-8")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// strict answers each operation as the WSDL has it and refuses every request
// that is not byte for byte as expected.
func strict(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	for _, op := range everyOp {
		want := `<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/">` +
			`<soap:Body><` + op.name + ` xmlns="https://os.ecgrid.io/">` + op.request + `</` + op.name + `></soap:Body></soap:Envelope>`
		if r.Method == "POST" && r.Header.Get("SOAPAction") == `"https://os.ecgrid.io/`+op.name+`"` &&
			r.Header.Get("Content-Type") == "text/xml; charset=utf-8" && string(body) == want {
			answerWith(200, response(op.name, op.result))(w, r)
			return
		}
	}
	http.Error(w, "not a request of the WSDL", http.StatusBadRequest)
}

// connect makes a client whose waits take no time.
func connect(t testing.TB, e ecgrid.Endpoint) *Client {
	t.Helper()
	c, err := Connect(e)
	if err != nil {
		t.Fatal(err)
	}
	c.wait = func(ctx context.Context, _ time.Duration) bool { return ctx.Err() == nil }
	t.Cleanup(c.Close)
	return c
}

// serve makes a client of a server of its own.
func serve(t testing.TB, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c := connect(t, ecgrid.Endpoint{URL: s.URL + "/v4.1/prod/ECGridOS.asmx"})
	t.Cleanup(c.Close) // before the server's, which waits for connections
	return c
}

// wantFailure checks an error as every error of a call must be.
func wantFailure(t testing.TB, err error, kind error) *ecgrid.Error {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got %v, want %v", err, kind)
	}
	e, ok := err.(*ecgrid.Error)
	if !ok {
		t.Fatalf("%T is not an *ecgrid.Error", err)
	}
	kinds := 0
	for _, k := range []error{
		ecgrid.ErrSessionExpired, ecgrid.ErrAuthentication, ecgrid.ErrAccessDenied, ecgrid.ErrNotFound,
		ecgrid.ErrFault, ecgrid.ErrServerFault, ecgrid.ErrEmptyResult, ecgrid.ErrBadAnswer,
		ecgrid.ErrUnreachable, ecgrid.ErrTimeout,
	} {
		if errors.Is(err, k) {
			kinds++
		}
	}
	if kinds != 1 {
		t.Errorf("%v is %d of the sentinels, want 1", err, kinds)
	}
	if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, "canary") || strings.Contains(text, "127.0.0.1") {
		t.Error("an error holds a secret, text from upstream or an address")
	}
	return e
}

// parse runs the parser alone on the answer to op.
func parse[T any](op, body string, read func(*answer) (T, error)) (T, bool, error) {
	in := newInput(strings.NewReader(body), maxSmall)
	defer in.release()
	r := value[T]{parse: read}
	err := newAnswer(in).read(op, true, &r)
	return r.v, r.found, err
}

// pipes is a network in memory, for tests in a synctest bubble: there, a timeout
// takes no time and a goroutine that stays behind fails the test.
type pipes struct {
	accept chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func newPipes() *pipes {
	return &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.accept <- server:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// servePipes is serve within a bubble. The client's waits are real, so fake.
func servePipes(t *testing.T, timeout time.Duration, h http.HandlerFunc) *Client {
	t.Helper()
	p := newPipes()
	s := &http.Server{Handler: h}
	go s.Serve(p)
	c, err := Connect(ecgrid.Endpoint{URL: "http://ecgrid.test/", RequestTimeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	c.dialThrough(p.dial)
	t.Cleanup(func() { c.Close(); s.Close() })
	return c
}

// dialer opens a connection, as net.Dialer does.
type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// firewall stands between a client and its server. What it forgets goes nowhere,
// without a word to either side.
type firewall struct {
	dial dialer

	mu    sync.Mutex
	conns []*lossyConn
	dials int
	// onDial, where there is one, may refuse the connection.
	onDial func(dials int) error
}

func (f *firewall) open(ctx context.Context, network, addr string) (net.Conn, error) {
	f.mu.Lock()
	f.dials++
	dials, onDial := f.dials, f.onDial
	f.mu.Unlock()
	if onDial != nil {
		if err := onDial(dials); err != nil {
			return nil, err
		}
	}
	inner, err := f.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	conn := &lossyConn{Conn: inner}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns = append(f.conns, conn)
	return conn, nil
}

// forget makes every connection there is so far a black hole.
func (f *firewall) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		c.lost.Store(true)
	}
}

func (f *firewall) dialled() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dials
}

type lossyConn struct {
	net.Conn
	lost atomic.Bool
}

func (c *lossyConn) Write(b []byte) (int, error) {
	if c.lost.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// serveFirewalled is servePipes behind a firewall.
func serveFirewalled(t *testing.T, timeout time.Duration, h http.HandlerFunc) (*Client, *firewall) {
	t.Helper()
	p := newPipes()
	s := &http.Server{Handler: h}
	go s.Serve(p)
	c, err := Connect(ecgrid.Endpoint{URL: "http://ecgrid.test/", RequestTimeout: timeout, MaxConcurrent: 16})
	if err != nil {
		t.Fatal(err)
	}
	f := &firewall{dial: p.dial}
	c.dialThrough(f.open)
	t.Cleanup(func() { c.Close(); s.Close() })
	return c, f
}

// texts gives all character data of a document, as any parser would.
func texts(t testing.TB, doc []byte) (s string, err error) {
	t.Helper()
	dec := xml.NewDecoder(strings.NewReader(string(doc)))
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			return s, nil
		}
		if err != nil {
			return "", err
		}
		if c, ok := tok.(xml.CharData); ok {
			s += string(c)
		}
	}
}

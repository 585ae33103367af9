// SPDX-License-Identifier: MPL-2.0

package fakegrid

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"errors"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	rootLogin     = "root@example.com"
	firstPassword = "First-Passw0rd"
	nextPassword  = "Next-Passw0rd"
)

var (
	limits    = Limits{Sessions: 5, SessionIdle: time.Minute, LockAfter: 4}
	testUsers = []User{
		{ID: 1, Login: rootLogin, Password: firstPassword, AuthLevel: "NetworkAdmin", NetworkID: 9},
		{ID: 2, Login: "two", Password: "Two-Passw0rd", AuthLevel: "General", NetworkID: 9, MailboxID: 3},
		{ID: 3, Login: "far", Password: "Far-Passw0rd", AuthLevel: "General", NetworkID: 8},
	}
)

// TestMain silences net/http, which prints unexpected answers with their keys.
func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	m.Run()
}

func TestSessionLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGrid(limits, testUsers)
		for range limits.Sessions {
			if _, err := g.login(rootLogin, firstPassword, "ip"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := g.login(rootLogin, firstPassword, "ip"); !errors.Is(err, errRefused) {
			t.Errorf("a sixth session: %v", err)
		}
		time.Sleep(limits.SessionIdle + time.Second)
		s, err := g.login(rootLogin, firstPassword, "ip")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.caller(s.id, "another"); !errors.Is(err, errDeadSession) {
			t.Errorf("used from another address: %v", err)
		}
		if n := g.MaxOpenSessions(rootLogin); n != limits.Sessions {
			t.Errorf("at most %d sessions were open", n)
		}
	})
}

func TestRefusedLoginsLockOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGrid(limits, testUsers)
		for range limits.LockAfter {
			_, _ = g.login(rootLogin, "wrong", "ip")
		}
		if _, err := g.login(rootLogin, firstPassword, "ip"); !errors.Is(err, errRefused) {
			t.Errorf("locked out: %v", err)
		}
		time.Sleep(lockWindow + time.Second)
		if _, err := g.login(rootLogin, firstPassword, "ip"); err != nil {
			t.Errorf("after the lock-out: %v", err)
		}
		if n := len(g.Refusals()); n != limits.LockAfter+1 {
			t.Errorf("%d refusals", n)
		}
	})
}

func TestLateChangePassword(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGrid(limits, testUsers)
		var late error
		g.applyAfter(10*time.Second, func() { late = g.changePassword(1, firstPassword, "Late-Passw0rd") })
		time.Sleep(5 * time.Second)
		if err := g.changePassword(1, firstPassword, nextPassword); err != nil || g.PendingChanges() != 1 {
			t.Fatal(err, g.PendingChanges())
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if !errors.Is(late, errOldPassword) || g.PendingChanges() != 0 {
			t.Errorf("the late one: %v", late)
		}
		spans := g.Passwords(rootLogin)
		if len(spans) != 2 || spans[1].Value != nextPassword || !spans[0].Dead(spans[1].From) || spans[1].Dead(time.Now()) {
			t.Error("the history is wrong")
		}
	})
}

func TestPasswordRule(t *testing.T) {
	t.Parallel()
	for password, good := range map[string]bool{
		firstPassword: true, "Sh0rt-a": false, "no-upper-1": false, "NO-LOWER-1": false, "No-Digits-": false, "NoOther12": false,
	} {
		if passwordAllowed(password) != good {
			t.Errorf("%q: %t", password, !good)
		}
	}
}

func TestRequestsAreReadStrictly(t *testing.T) {
	t.Parallel()
	const good = `<s:Envelope xmlns:s="` + soapNS + `"><s:Body><UserGetAPIKey xmlns="` + space + `"><SessionID>x</SessionID><UserID>2</UserID></UserGetAPIKey></s:Body></s:Envelope>`
	swap := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for name, c := range map[string]struct {
		action, body string
		bad          bool
	}{
		"good":                {body: good},
		"optional left out":   {body: swap("<SessionID>x</SessionID>", "")},
		"declaration":         {body: `<?xml version="1.0"?>` + good},
		"unquoted action":     {action: space + "UserGetAPIKey", body: good, bad: true},
		"another action":      {action: `"` + space + `Logout"`, body: good, bad: true},
		"order":               {body: swap("<SessionID>x</SessionID><UserID>2</UserID>", "<UserID>2</UserID><SessionID>x</SessionID>"), bad: true},
		"no user":             {body: swap("<UserID>2</UserID>", ""), bad: true},
		"twice":               {body: swap("<UserID>2</UserID>", "<UserID>2</UserID><UserID>2</UserID>"), bad: true},
		"no int":              {body: swap(">2<", ">2.0<"), bad: true},
		"wrong namespace":     {body: swap(space, "http://www.ecgridos.net/"), bad: true},
		"unqualified":         {body: swap("<SessionID>", `<SessionID xmlns="">`), bad: true},
		"text between":        {body: swap("<UserID>", "and<UserID>"), bad: true},
		"document type":       {body: "<!DOCTYPE x>" + good, bad: true},
		"SOAP 1.2 envelope":   {body: swap(soapNS, "http://www.w3.org/2003/05/soap-envelope"), bad: true},
		"half":                {body: good[:len(good)/2], bad: true},
		"two bodies' content": {body: swap("</s:Body>", "<x/></s:Body>"), bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			action := c.action
			if action == "" {
				action = `"` + space + `UserGetAPIKey"`
			}
			r, _ := http.NewRequest(http.MethodPost, "https://x"+endpoint, nil)
			r.Header.Set("Content-Type", "text/xml; charset=utf-8")
			r.Header.Set("SOAPAction", action)
			req, err := read(r, []byte(c.body))
			if (err != nil) != c.bad || !c.bad && req.id != 2 {
				t.Errorf("%v", err)
			}
		})
	}
}

// Answers in every style have the same meaning.
func TestStyles(t *testing.T) {
	t.Parallel()
	d := newRandom(7)
	const value = "k/é&<]]>'\"+="
	for range 2000 {
		root, err := parse(d.result("UserGetAPIKey", leaf("UserGetAPIKeyResult", value)))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := bodyOf(root)
		if err != nil || answer.name != (xml.Name{Space: space, Local: "UserGetAPIKeyResponse"}) || len(answer.children) != 1 {
			t.Fatal(err)
		}
		if result := answer.children[0]; result.name.Space != space || result.text.String() != value {
			t.Fatalf("%q", result.text.String())
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	d := newRandom(8)
	for range 2000 {
		body := d.faultBody(d.denial(errDeadSession))
		root, err := parse(body)
		if err != nil {
			t.Fatal(err)
		}
		f, err := bodyOf(root)
		if err != nil || f.name != (xml.Name{Space: soapNS, Local: "Fault"}) || len(f.children) != 3 {
			t.Fatalf("%v: %s", err, body)
		}
		code, _ := f.children[0], f.children[1]
		if code.name != (xml.Name{Local: "faultcode"}) || !strings.HasSuffix(code.text.String(), ":Client") {
			t.Fatalf("%s", body)
		}
	}
}

// client calls a Server.
type client struct {
	*http.Client
	url string
}

func startServer(t *testing.T) (*Server, client) {
	t.Helper()
	return startWith(t, Options{Limits: limits, Users: testUsers, Seed: 9})
}

func startWith(t *testing.T, o Options) (*Server, client) {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.CA)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	return s, client{&http.Client{Transport: transport, Timeout: 5 * time.Second}, s.URL}
}

func (c client) request(op string, params ...string) *http.Request {
	body := `<e:Envelope xmlns:e="` + soapNS + `"><e:Body><` + op + ` xmlns="` + space + `">`
	for i, p := range operations[op] {
		body += "<" + p.name + ">" + escaped(params[i]) + "</" + p.name + ">"
	}
	r, err := http.NewRequest(http.MethodPost, c.url, strings.NewReader(body+"</"+op+"></e:Body></e:Envelope>"))
	if err != nil {
		panic(err) // the method and the URL are valid
	}
	r.Header.Set("Content-Type", "text/xml; charset=utf-8")
	r.Header.Set("SOAPAction", `"`+space+op+`"`)
	return r
}

// call returns the text of the first result, or "" for a fault.
func (c client) call(op string, params ...string) (string, error) {
	resp, err := c.Do(c.request(op, params...))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	root, err := parse(raw)
	if err != nil {
		return "", err
	}
	answer, err := bodyOf(root)
	if err != nil || answer.name.Local != op+"Response" {
		return "", err
	}
	return answer.children[0].text.String(), nil
}

func TestEveryOperation(t *testing.T) {
	t.Parallel()
	s, c := startServer(t)
	id, err := c.call("Login", rootLogin, firstPassword)
	if err != nil || id == "" {
		t.Fatal("no session:", err)
	}
	for _, op := range []struct {
		name   string
		params []string
		fault  bool
	}{
		{"Version", nil, false},
		{"WhoAmI", []string{id}, false},
		{"UserInfo", []string{id, "2"}, false},
		{"UserInfo", []string{id, "3"}, true},
		{"UserInfo", []string{id, "77"}, true},
		{"ChangePassword", []string{id, firstPassword, nextPassword}, false},
		{"ChangePassword", []string{id, nextPassword, "weak"}, true},
		{"Logout", []string{id}, false},
		{"WhoAmI", []string{id}, true},
	} {
		for range 3 { // in several styles
			if op.name == "Logout" || op.name == "ChangePassword" {
				break
			}
			if _, err := c.call(op.name, op.params...); err != nil {
				t.Errorf("%s: %v", op.name, err)
			}
		}
		if op.name == "WhoAmI" || op.name == "UserInfo" {
			continue // their result is not text
		}
		if got, err := c.call(op.name, op.params...); err != nil || (got == "") != op.fault {
			t.Errorf("%s: fault %t: %v", op.name, got == "", err)
		}
	}
	key, err := c.call("GenerateAPIKey", s.Keys(1)[0].Value, "2") // the key is the SessionID
	if now, _ := c.call("UserGetAPIKey", s.Keys(1)[0].Value, "2"); err != nil || key == "" || now != key {
		t.Error("the generated key is not the user's", err)
	}
	if len(s.OpenSessions(rootLogin)) != 0 || len(s.Violations()) != 0 || s.Passwords(rootLogin)[1].Value != nextPassword {
		t.Error(len(s.OpenSessions(rootLogin)), s.Violations())
	}
}

// TestFailures has each failure, and checks that the service works afterwards.
func TestFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rates    Rates
		answered bool // with a key
		applied  bool
	}{
		"no failure":  {Rates{}, true, true},
		"late":        {Rates{Late: 1, LateMax: 10 * time.Millisecond}, false, true},
		"lost":        {Rates{Lost: 1}, false, true},
		"never":       {Rates{Never: 1}, false, false},
		"twice":       {Rates{Twice: 1}, true, true},
		"silent":      {Rates{Silent: 1}, true, true},
		"fault":       {Rates{Fault: 1}, false, false},
		"unavailable": {Rates{Unavailable: 1}, false, false},
		"page":        {Rates{HTML: 1}, false, false},
		"truncated":   {Rates{Truncated: 1}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, client := startServer(t)
			client.Timeout = 2 * time.Second
			s.SetRates(c.rates)
			key, _ := client.call("GenerateAPIKey", s.Keys(1)[0].Value, "2")
			if (key != "") != c.answered {
				t.Errorf("answered with a key: %t", key != "")
			}
			checkApplied(t, s, c.applied)
			client.CloseIdleConnections()
			if v, err := client.call("Version"); err != nil || v == "" {
				t.Error("the service does not work afterwards:", err)
			}
		})
	}
}

func TestKilledSession(t *testing.T) {
	t.Parallel()
	s, c := startServer(t)
	id, err := c.call("Login", rootLogin, firstPassword)
	if err != nil || len(s.OpenSessions(rootLogin)) != 1 {
		t.Fatal(err, len(s.OpenSessions(rootLogin)))
	}
	s.SetRates(Rates{Kill: 1})
	if key, err := c.call("UserGetAPIKey", id, "2"); err != nil || key != "" || len(s.OpenSessions(rootLogin)) != 0 {
		t.Errorf("answered %t, %d open: %v", key != "", len(s.OpenSessions(rootLogin)), err)
	}
}

func TestAnswerTwice(t *testing.T) {
	t.Parallel()
	s, c := startServer(t)
	s.SetRates(Rates{Twice: 1})
	conn, err := tls.Dial("tcp", s.listener.addr, c.Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := c.request("Version").Write(conn); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	in := bufio.NewReader(conn)
	for i := range 2 {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i+1, err)
		}
		if raw, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || len(raw) == 0 {
			t.Fatal(resp.StatusCode, err)
		}
	}
}

func TestTakeDown(t *testing.T) {
	t.Parallel()
	for _, hang := range []bool{false, true} {
		s, c := startServer(t)
		c.Timeout = 200 * time.Millisecond
		down := make(chan struct{})
		go func() { defer close(down); s.TakeDown(500*time.Millisecond, hang) }()
		for _, err := c.call("Version"); err == nil; _, err = c.call("Version") {
			time.Sleep(time.Millisecond)
		}
		<-down
		c.Timeout = 5 * time.Second
		if v, err := c.call("Version"); err != nil || v == "" {
			t.Errorf("hang %t: %v", hang, err)
		}
	}
}

// checkApplied ends all failures, and checks whether the key of user 2 was replaced.
func checkApplied(t *testing.T, s *Server, want bool) {
	t.Helper()
	s.SetRates(Rates{})
	for s.PendingChanges() > 0 {
		time.Sleep(time.Millisecond)
	}
	if made := len(s.KeyChanges(2)) == 1; made != want {
		t.Errorf("applied: %t", made)
	}
}

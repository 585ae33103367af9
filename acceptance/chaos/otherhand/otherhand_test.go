package otherhand

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
	rootLogin = "root@example.com"
	firstWord = "First-Passw0rd"
	nextWord  = "Next-Passw0rd"
)

var (
	limits = Limits{Sessions: 5, SessionIdle: time.Minute, LockAfter: 4}
	people = []User{
		{ID: 1, Login: rootLogin, Password: firstWord, AuthLevel: "NetworkAdmin", NetworkID: 9},
		{ID: 2, Login: "two", Password: "Two-Passw0rd", AuthLevel: "General", NetworkID: 9, MailboxID: 3},
		{ID: 3, Login: "far", Password: "Far-Passw0rd", AuthLevel: "General", NetworkID: 8},
	}
)

// TestMain silences net/http, which prints an unsolicited answer, key and all.
func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	m.Run()
}

func TestSessionsAreFewBoundAndExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGrid(limits, people)
		for range limits.Sessions {
			if _, err := g.login(rootLogin, firstWord, "ip"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := g.login(rootLogin, firstWord, "ip"); !errors.Is(err, errRefused) {
			t.Errorf("a sixth session: %v", err)
		}
		time.Sleep(limits.SessionIdle + time.Second)
		s, err := g.login(rootLogin, firstWord, "ip")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.as(s.id, "another"); !errors.Is(err, errDeadSession) {
			t.Errorf("used from another address: %v", err)
		}
		if n := g.MaxOpen(rootLogin); n != limits.Sessions {
			t.Errorf("%d sessions at most", n)
		}
	})
}

func TestRefusedLoginsLockOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGrid(limits, people)
		for range limits.LockAfter {
			_, _ = g.login(rootLogin, "wrong", "ip")
		}
		if _, err := g.login(rootLogin, firstWord, "ip"); !errors.Is(err, errRefused) {
			t.Errorf("locked out: %v", err)
		}
		time.Sleep(lockWindow + time.Second)
		if _, err := g.login(rootLogin, firstWord, "ip"); err != nil {
			t.Errorf("after the lock-out: %v", err)
		}
		if n := len(g.Refusals()); n != limits.LockAfter+1 {
			t.Errorf("%d refusals", n)
		}
	})
}

func TestChangePasswordIsDecidedWhenItLands(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGrid(limits, people)
		var late error
		g.later(10*time.Second, func() { late = g.changePassword(1, firstWord, "Late-Passw0rd") })
		time.Sleep(5 * time.Second)
		if err := g.changePassword(1, firstWord, nextWord); err != nil || g.UnderWay() != 1 {
			t.Fatal(err, g.UnderWay())
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if !errors.Is(late, errOldPassword) || g.UnderWay() != 0 {
			t.Errorf("the late one: %v", late)
		}
		spans := g.Passwords(rootLogin)
		if len(spans) != 2 || spans[1].Value != nextWord || !spans[0].Dead(spans[1].From) || spans[1].Dead(time.Now()) {
			t.Error("the history is wrong")
		}
	})
}

func TestPasswordRule(t *testing.T) {
	t.Parallel()
	for password, good := range map[string]bool{
		firstWord: true, "Sh0rt-a": false, "no-upper-1": false, "NO-LOWER-1": false, "No-Digits-": false, "NoOther12": false,
	} {
		if goodPassword(password) != good {
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

// TestEveryStyleSaysTheSame reads answers with a parser that knows namespaces.
func TestEveryStyleSaysTheSame(t *testing.T) {
	t.Parallel()
	d := newDice(7)
	const value = "k/é&<]]>'\"+="
	for range 2000 {
		root, err := parse(d.response("UserGetAPIKey", leaf("UserGetAPIKeyResult", value)))
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

func TestEveryFaultIsOne(t *testing.T) {
	t.Parallel()
	d := newDice(8)
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

// client calls a Server as anybody would.
type client struct {
	*http.Client
	url string
}

func started(t *testing.T) (*Server, client) {
	t.Helper()
	s, err := Start(Options{Limits: limits, Users: people, Seed: 9})
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
		panic(err) // the method and the URL are good
	}
	r.Header.Set("Content-Type", "text/xml; charset=utf-8")
	r.Header.Set("SOAPAction", `"`+space+op+`"`)
	return r
}

// call gives the text of the answer's first result, and "" for a fault.
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
	s, c := started(t)
	id, err := c.call("Login", rootLogin, firstWord)
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
		{"ChangePassword", []string{id, firstWord, nextWord}, false},
		{"ChangePassword", []string{id, nextWord, "weak"}, true},
		{"Logout", []string{id}, false},
		{"WhoAmI", []string{id}, true},
	} {
		for range 3 { // enough styles to meet several
			if op.name == "Logout" || op.name == "ChangePassword" {
				break
			}
			if _, err := c.call(op.name, op.params...); err != nil {
				t.Errorf("%s: %v", op.name, err)
			}
		}
		if op.name == "WhoAmI" || op.name == "UserInfo" {
			continue // their result is no text
		}
		if got, err := c.call(op.name, op.params...); err != nil || (got == "") != op.fault {
			t.Errorf("%s: fault %t: %v", op.name, got == "", err)
		}
	}
	key, err := c.call("GenerateAPIKey", s.Keys(1)[0].Value, "2") // a key in a SessionID's place
	if now, _ := c.call("UserGetAPIKey", s.Keys(1)[0].Value, "2"); err != nil || key == "" || now != key {
		t.Error("the generated key is not the user's", err)
	}
	if len(s.Open(rootLogin)) != 0 || len(s.Violations()) != 0 || s.Passwords(rootLogin)[1].Value != nextWord {
		t.Error(len(s.Open(rootLogin)), s.Violations())
	}
}

// TestMisfortunes meets each, and finds the service well afterwards.
func TestMisfortunes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rates Rates
		heard bool // whether a key comes back
		done  bool // whether the change is made
	}{
		"well":        {Rates{}, true, true},
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
			s, client := started(t)
			client.Timeout = 2 * time.Second
			s.Set(c.rates)
			key, _ := client.call("GenerateAPIKey", s.Keys(1)[0].Value, "2")
			if (key != "") != c.heard {
				t.Errorf("a key was answered: %t", key != "")
			}
			s.Set(Rates{})
			for s.UnderWay() > 0 {
				time.Sleep(time.Millisecond)
			}
			if made := len(s.Landed(2)) == 1; made != c.done {
				t.Errorf("made: %t", made)
			}
			client.CloseIdleConnections()
			if v, err := client.call("Version"); err != nil || v == "" {
				t.Error("not well again:", err)
			}
		})
	}
}

func TestASessionThatIsKilledIsDead(t *testing.T) {
	t.Parallel()
	s, c := started(t)
	id, err := c.call("Login", rootLogin, firstWord)
	if err != nil || len(s.Open(rootLogin)) != 1 {
		t.Fatal(err, len(s.Open(rootLogin)))
	}
	s.Set(Rates{Kill: 1})
	if key, err := c.call("UserGetAPIKey", id, "2"); err != nil || key != "" || len(s.Open(rootLogin)) != 0 {
		t.Errorf("answered %t, %d open: %v", key != "", len(s.Open(rootLogin)), err)
	}
}

// TestOnlyWhatNobodyCanKnowOfIsExcused looks at who is to blame for a session.
func TestOnlyWhatNobodyCanKnowOfIsExcused(t *testing.T) {
	t.Parallel()
	s, c := started(t)
	s.Set(Rates{Lost: 1})
	if id, _ := c.call("Login", rootLogin, firstWord); id != "" || s.MaxOpen(rootLogin) != 1 || len(s.Open(rootLogin)) != 0 {
		t.Error("a session whose answer was lost counts")
	}
	s.Set(Rates{})
	id, err := c.call("Login", rootLogin, firstWord)
	if err != nil {
		t.Fatal(err)
	}
	s.Set(Rates{Never: 1})
	if _, err := c.call("Logout", id); err == nil || len(s.Open(rootLogin)) != 0 {
		t.Error("a session that could not be ended counts")
	}
	s.Set(Rates{})
	if _, err := c.call("UserGetAPIKey", id, "2"); err != nil || len(s.Open(rootLogin)) != 1 {
		t.Error("a session that is used does not count:", err)
	}
}

func TestAnAnswerCanComeTwice(t *testing.T) {
	t.Parallel()
	s, c := started(t)
	s.Set(Rates{Twice: 1})
	conn, err := tls.Dial("tcp", s.door.addr, c.Transport.(*http.Transport).TLSClientConfig)
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

func TestDownAndUpAgain(t *testing.T) {
	t.Parallel()
	for _, hang := range []bool{false, true} {
		s, c := started(t)
		c.Timeout = 200 * time.Millisecond
		down := make(chan struct{})
		go func() { defer close(down); s.Down(500*time.Millisecond, hang) }()
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

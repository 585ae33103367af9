package soap

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"vault-plugin-ecgrid/internal/ecgrid"
)

func TestEscaping(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", " ", "plain", "a&b", "<>", "]]>", `"'`, "&amp;", "&#0;", "<![CDATA[x]]>", "<!--x-->", "\r\n\t", " \n a \r ",
		"äöü€", "\U0001F511", "\uFFFD", "\uE000", "\uD7FF", "\U0010FFFF", "\u0085\u2028\u00A0", "%s%d\\", "\x7f",
		strings.Repeat("&", 1000),
	} {
		body, bad := newEnvelope(opLogin, len(s)).str("LoginName", s).str("Password", "").close()
		got, err := texts(t, body)
		if bad != "" || err != nil || got != s {
			t.Errorf("%q came as %q, %q, %v", s, got, bad, err)
		}
	}
}

func TestEscapingRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"\x00", "a\x0bb", "\x0c", "\x1b", "\x1f", "\uFFFE", "\uFFFF", "\xff", "ok\xc3", "\xed\xa0\x80", "\xc0\x80", "\xf5\x80\x80\x80",
	} {
		if _, bad := newEnvelope(opLogin, 0).str("LoginName", "a").str("Password", s).str("More", s).close(); bad != "Password" {
			t.Errorf("%q: got %q", s, bad)
		}
	}
}

// good spells the same answer in the ways that XML has for it.
func TestTextAnswers(t *testing.T) {
	t.Parallel()
	soap := func(s string) string { return strings.NewReplacer("NS", nsSOAP11, "EC", nsECGrid).Replace(s) }
	plain := response("Version", "<VersionResult>k</VersionResult>")
	for name, test := range map[string]struct {
		body, want string
		found      bool
	}{
		"as .asmx writes it": {plain, "k", true},
		"other prefixes":     {soap(`<a:Envelope xmlns:a="NS" xmlns:b="EC"><a:Body><b:VersionResponse><b:VersionResult>k</b:VersionResult></b:VersionResponse></a:Body></a:Envelope>`), "k", true},
		"default namespaces": {soap(`<Envelope xmlns="NS"><Body><VersionResponse xmlns="EC"><VersionResult>k</VersionResult></VersionResponse></Body></Envelope>`), "k", true},
		"headers":            {strings.Replace(plain, "<soap:Body>", "<soap:Header><a><b>x</b></a></soap:Header><soap:Body>", 1), "k", true},
		"white space":        {strings.ReplaceAll(strings.Replace(plain, "<VersionResult", "\n <VersionResult", 1), "</soap:", "\r\n\t</soap:") + "\n ", "k", true},
		"comments":           {strings.ReplaceAll(plain, "><", "><!-- <x> & --><") + "<!-- x -->", "k", true},
		"comment in text":    {strings.Replace(plain, ">k<", ">k<!-- x -->l<", 1), "kl", true},
		"CDATA":              {strings.Replace(plain, ">k<", "><![CDATA[<k>]]>&amp;<![CDATA[&]]><", 1), "<k>&&", true},
		"references":         {strings.Replace(plain, ">k<", ">&lt;&#x41;&#66;&quot;&apos;&gt;<", 1), `<AB"'>`, true},
		"space kept":         {strings.Replace(plain, ">k<", "> k&#13; <", 1), " k\r ", true},
		"BOM":                {"\uFEFF" + plain, "k", true},
		"no declaration":     {plain[strings.Index(plain, "<soap:"):], "k", true},
		"declared UTF-8":     {strings.Replace(plain, "utf-8", "UTF-8", 1), "k", true},
		"not ASCII":          {strings.Replace(plain, ">k<", ">äß€🔑<", 1), "äß€🔑", true},
		"response attribute": {strings.Replace(plain, "<VersionResponse", `<VersionResponse a="b" soap:encodingStyle="x"`, 1), "k", true},
		"nil, spaced":        {response("Version", "<VersionResult xsi:nil='true'> \n<!-- x --></VersionResult>"), "", false},
		"attributes":         {strings.Replace(plain, "<VersionResult", `<VersionResult a="b" soap:encodingStyle="x"`, 1), "k", true},
		"empty":              {response("Version", "<VersionResult/>"), "", true},
		"absent":             {response("Version", ""), "", false},
		"absent, short":      {soapBody(`<VersionResponse xmlns="https://os.ecgrid.io/"/>`), "", false},
		"nil":                {response("Version", `<VersionResult xsi:nil="true"/>`), "", false},
		"nil, 1":             {response("Version", `<VersionResult xsi:nil=" 1 "></VersionResult>`), "", false},
		"not nil":            {response("Version", `<VersionResult xsi:nil="false">k</VersionResult>`), "k", true},
		"other nil":          {response("Version", `<VersionResult nil="true">k</VersionResult>`), "k", true},
		"long":               {response("Version", "<VersionResult>"+strings.Repeat("k", 50<<10)+"</VersionResult>"), strings.Repeat("k", 50<<10), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, found, err := parse("Version", test.body, (*answer).string)
			if err != nil || got != test.want || found != test.found {
				t.Errorf("got %.80q, %v, %v", got, found, err)
			}
		})
	}
}

func TestEmptyResults(t *testing.T) {
	t.Parallel()
	for _, op := range everyOp {
		results := map[string]string{"absent": "", "nil": `<` + op.name + `Result xsi:nil="true"/>`}
		if _, isText := op.want.(string); isText {
			results["empty"] = `<` + op.name + `Result/>`
			results["blank"] = `<` + op.name + "Result> \r\n\t</" + op.name + `Result>`
		}
		for name, result := range results {
			t.Run(op.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				got, err := op.call(t.Context(), serve(t, answerWith(200, response(op.name, result))))
				switch op.name {
				case "Logout":
					if err != nil {
						t.Error(err)
					}
				case "UserList":
					if err != nil || reflect.ValueOf(got).Len() != 0 {
						t.Errorf("got %v, %v", got, err)
					}
				default:
					if e := wantFailure(t, err, ecgrid.ErrEmptyResult); e.Op != op.name || !e.Sent {
						t.Errorf("got %+v", e)
					}
					if got != nil && !reflect.ValueOf(got).IsZero() {
						t.Errorf("got %v", got)
					}
				}
			})
		}
	}
}

// Only an answer of the right shape says that there is no result: to take another
// for it advises a rotation, which would kill a live key.
func TestUnexpectedElementIsNotAnEmptyResult(t *testing.T) {
	t.Parallel()
	for _, op := range everyOp {
		name := op.name + "Result"
		for what, result := range map[string]string{
			"foreign element":          `<Maintenance xmlns="urn:proxy"/>`,
			"other element":            "<Maintenance/>",
			"result of other":          "<OtherResult/>",
			"result in no namespace":   "<" + name + ` xmlns="">x</` + name + ">",
			"result in wrong one":      "<" + name + ` xmlns="urn:x">x</` + name + ">",
			"nil in wrong one":         "<" + name + ` xmlns="urn:x" xsi:nil="true"/>`,
			"nil result and another":   "<" + name + ` xsi:nil="true"/><Maintenance/>`,
			"another and a nil result": "<Maintenance/><" + name + ` xsi:nil="true"/>`,
			"beside the result":        op.result + `<Maintenance xmlns="urn:proxy"/>`,
			"before the result":        "<Maintenance/>" + op.result,
			"nil that is not":          "<" + name + ` xsi:nil="true"><a/></` + name + ">",
		} {
			t.Run(op.name+"/"+what, func(t *testing.T) {
				t.Parallel()
				_, err := op.call(t.Context(), serve(t, answerWith(200, response(op.name, result))))
				if e := wantFailure(t, err, ecgrid.ErrBadAnswer); !e.Sent {
					t.Errorf("got %+v", e)
				}
			})
		}
	}
}

// A key or SessionID is one word. White space around it is the writer's, within
// it is nonsense.
func TestCredentialsAreOneWord(t *testing.T) {
	t.Parallel()
	const key = "Ab-1_{}=+/.~"
	for name, test := range map[string]struct {
		text string
		kind error
	}{
		"as it is":         {key, nil},
		"blanks around":    {"  " + key + " ", nil},
		"lines around":     {"\r\n\t" + key + "\n", nil},
		"escaped around":   {"&#13;&#10;&#9;" + key + "&#13;", nil},
		"not ASCII":        {"ключ-" + key, nil},
		"blank within":     {"a " + key, ecgrid.ErrBadAnswer},
		"tab within":       {"a\t" + key, ecgrid.ErrBadAnswer},
		"LF within":        {"a\n" + key, ecgrid.ErrBadAnswer},
		"CR within":        {"a&#13;" + key, ecgrid.ErrBadAnswer},
		"CRLF within":      {key + "&#13;&#10;X-Header: a", ecgrid.ErrBadAnswer},
		"DEL":              {key + "&#127;", ecgrid.ErrBadAnswer},
		"C1":               {key + "&#x9b;", ecgrid.ErrBadAnswer},
		"NEL around":       {key + "&#x85;", ecgrid.ErrBadAnswer},
		"NBSP within":      {"a&#xa0;" + key, ecgrid.ErrBadAnswer},
		"NBSP alone":       {"&#xa0;", ecgrid.ErrBadAnswer},
		"line separator":   {"a&#x2028;" + key, ecgrid.ErrBadAnswer},
		"zero width":       {"a&#x200b;" + key, ecgrid.ErrBadAnswer},
		"byte order mark":  {"&#xfeff;" + key, ecgrid.ErrBadAnswer},
		"right to left":    {"a&#x202e;" + key, ecgrid.ErrBadAnswer},
		"blanks":           {" \r\n\t&#13; ", ecgrid.ErrEmptyResult},
		"sentence":         {canaryUpstream + " is down for maintenance", ecgrid.ErrBadAnswer},
		"blank in CDATA":   {"<![CDATA[a b]]>", ecgrid.ErrBadAnswer},
		"comment in a key": {"Ab-1_{}<!-- x -->=+/.~", nil},
	} {
		want := key
		if name == "not ASCII" {
			want = "ключ-" + key
		}
		for _, op := range everyOp {
			switch op.name {
			case "Login", "UserGetAPIKey", "GenerateAPIKey":
			default:
				continue
			}
			t.Run(op.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				result := "<" + op.name + "Result>" + test.text + "</" + op.name + "Result>"
				var calls atomic.Int32
				c := serve(t, func(w http.ResponseWriter, r *http.Request) {
					calls.Add(1)
					answerWith(200, response(op.name, result))(w, r)
				})
				got, err := op.call(t.Context(), c)
				if calls.Load() != 1 {
					t.Errorf("%d calls", calls.Load())
				}
				if test.kind == nil {
					if err != nil || got != want {
						t.Errorf("not the credential, %v", err)
					}
					return
				}
				if e := wantFailure(t, err, test.kind); !e.Sent || got != "" {
					t.Errorf("got %+v", e)
				}
			})
		}
	}
}

func TestChangePasswordAnswers(t *testing.T) {
	t.Parallel()
	for text, kind := range map[string]error{
		"true": nil, "1": nil, " true\n": nil,
		"false": ecgrid.ErrFault, "0": ecgrid.ErrFault,
		"": ecgrid.ErrBadAnswer, "True": ecgrid.ErrBadAnswer, "yes": ecgrid.ErrBadAnswer, canaryUpstream: ecgrid.ErrBadAnswer,
	} {
		c := serve(t, answerWith(200, response("ChangePassword", "<ChangePasswordResult>"+text+"</ChangePasswordResult>")))
		err := c.ChangePassword(t.Context(), canarySession, canaryPassword, "new")
		if kind == nil && err == nil {
			continue
		}
		if e := wantFailure(t, err, kind); !e.Sent {
			t.Errorf("%q counts as unsent", text)
		}
	}
}

// hostile are answers to Version that are not.
func hostile() map[string]string {
	good := response("Version", "<VersionResult>"+canaryUpstream+"</VersionResult>")
	inner := good[strings.Index(good, "<Version"):strings.Index(good, "</soap:Body>")]
	result := "<VersionResult>" + canaryUpstream + "</VersionResult>"
	swap := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	wide := func(bigEndian bool) string {
		var b []byte
		for _, u := range utf16.Encode([]rune("\uFEFF" + good)) {
			if bigEndian {
				b = append(b, byte(u>>8), byte(u))
			} else {
				b = append(b, byte(u), byte(u>>8))
			}
		}
		return string(b)
	}
	lol := `<!DOCTYPE l [<!ENTITY a "x">`
	for i := 'b'; i < 'k'; i++ {
		lol += fmt.Sprintf(`<!ENTITY %c "%s">`, i, strings.Repeat(fmt.Sprintf("&%c;", i-1), 10))
	}
	return map[string]string{
		"nothing":                 "",
		"blank":                   " \n",
		"text":                    canaryUpstream,
		"HTML":                    "<html><body>" + canaryUpstream + "</body></html>",
		"HTML 5":                  "<!doctype html><html><br></html>",
		"JSON":                    `{"success":true,"data":"` + canaryUpstream + `"}`,
		"NUL":                     swap("<VersionResult>", "<VersionResult>\x00"),
		"control":                 swap("<VersionResult>", "<VersionResult>&#1;"),
		"half a tag":              good[:len(good)-1],
		"half":                    good[:len(good)/2],
		"no end":                  good[:len(good)-len("</soap:Envelope>")],
		"twice":                   good + good,
		"trailing text":           good + "x",
		"trailing element":        good + "<x/>",
		"trailing NUL":            good + "\x00",
		"trailing half comment":   good + "<!--",
		"trailing declaration":    good + `<?xml version="1.0"?>`,
		"leading text":            "x" + good,
		"leading blank":           " " + good, // then the declaration is none
		"instruction":             swap("<soap:Body>", "<?php x?><soap:Body>"),
		"leading instruction":     `<?x y?>` + good[strings.Index(good, "<soap:"):],
		"XML 1.1":                 swap(`version="1.0"`, `version="1.1"`),
		"DTD":                     swap("<soap:Envelope", "<!DOCTYPE a><soap:Envelope"),
		"external entity":         swap("<soap:Envelope", `<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><soap:Envelope`),
		"entity bomb":             strings.Replace(swap("<soap:Envelope", lol+"]><soap:Envelope"), canaryUpstream, "&j;", 1),
		"undefined entity":        swap(canaryUpstream, "&canary;"),
		"HTML entity":             swap(canaryUpstream, "&nbsp;"),
		"bare ampersand":          swap(canaryUpstream, "a & b"),
		"bare ]]>":                swap(canaryUpstream, "]]>"),
		"other envelope":          swap(nsSOAP11, "urn:x"),
		"no envelope":             inner,
		"unknown prefix":          swap(`xmlns:soap="`+nsSOAP11+`"`, ""),
		"SOAP 1.2":                strings.ReplaceAll(good, nsSOAP11, nsSOAP12),
		"older namespace":         strings.ReplaceAll(good, nsECGrid, "http://www.ecgridos.net/"),
		"namespace without /":     strings.ReplaceAll(good, nsECGrid, strings.TrimSuffix(nsECGrid, "/")),
		"no namespace":            strings.Replace(good, ` xmlns="https://os.ecgrid.io/"`, "", 1),
		"other operation":         response("Login", "<LoginResult>"+canaryUpstream+"</LoginResult>"),
		"other case":              strings.ReplaceAll(good, "VersionRes", "versionRes"),
		"the request":             soapBody(`<Version xmlns="https://os.ecgrid.io/"/>`),
		"no body":                 strings.NewReplacer("<soap:Body>", "<soap:Header>", "</soap:Body>", "</soap:Header>").Replace(good),
		"empty body":              soapBody(""),
		"text in body":            soapBody(canaryUpstream),
		"text before result":      swap("<VersionResult>", canaryUpstream+"<VersionResult>"),
		"text after result":       swap("</VersionResult>", "</VersionResult>"+canaryUpstream),
		"text in envelope":        swap("<soap:Body>", canaryUpstream+"<soap:Body>"),
		"two bodies":              swap("</soap:Envelope>", "<soap:Body>"+inner+"</soap:Body></soap:Envelope>"),
		"two responses":           soapBody(inner + inner),
		"response and fault":      soapBody(inner + "<soap:Fault/>"),
		"fault and response":      soapBody("<soap:Fault/>" + inner),
		"header after body":       swap("</soap:Envelope>", "<soap:Header/></soap:Envelope>"),
		"two results":             response("Version", result+result),
		"element before result":   response("Version", "<Extra/>"+result),
		"element after result":    response("Version", result+"<Extra/>"),
		"foreign, before":         response("Version", `<Maintenance xmlns="urn:proxy">`+result+"</Maintenance>"+result),
		"foreign result, before":  response("Version", `<VersionResult xmlns="urn:x">z</VersionResult>`+result),
		"foreign result, after":   response("Version", result+`<VersionResult xmlns="urn:x" xsi:nil="true"/>`),
		"full nil":                response("Version", `<VersionResult xsi:nil="true">`+canaryUpstream+"</VersionResult>"),
		"nil with element":        response("Version", `<VersionResult xsi:nil="true"><a/></VersionResult>`),
		"two results, one nil":    response("Version", result+`<VersionResult xsi:nil="true"/>`),
		"element in result":       swap(canaryUpstream, "<b>"+canaryUpstream+"</b>"),
		"wrong end":               swap("</VersionResult>", "</versionResult>"),
		"attribute without value": swap("<VersionResult>", "<VersionResult a>"),
		"UTF-16":                  wide(false),
		"UTF-16, big":             wide(true),
		"declared UTF-16":         swap("utf-8", "utf-16"),
		"declared Latin 1":        swap("utf-8", "iso-8859-1"),
		"Latin 1":                 swap(canaryUpstream, "\xe4"),
		"overlong":                swap(canaryUpstream, "\xc0\xbc"),
		"gzip":                    "\x1f\x8b\x08\x00\x00\x00\x00\x00",
		"deep":                    swap("<soap:Body>", "<soap:Header>"+strings.Repeat("<a>", maxDepth)+strings.Repeat("</a>", maxDepth)+"</soap:Header><soap:Body>"),
		"long":                    swap(canaryUpstream, strings.Repeat("x", maxSmall)),
		"long, trailing":          good + strings.Repeat(" ", maxSmall),
		"long, leading":           strings.Repeat("\n", maxSmall) + good,
		"half a fault":            soapBody("<soap:Fault><faultcode>soap:Client</faultcode>"),
		"fault, other namespace":  soapBody(`<Fault xmlns="urn:x"><faultcode>Client</faultcode></Fault>`),
		"fault, other SOAP":       soapBody(`<Fault xmlns="` + nsSOAP12 + `"/>`),
	}
}

func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	for name, body := range hostile() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var next string
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if next == "" {
					next = body + " "
					answerWith(200, body)(w, r)
					return
				}
				strict(w, r)
			})
			_, err := c.Version(t.Context())
			if e := wantFailure(t, err, ecgrid.ErrBadAnswer); !e.Sent || e.Reason == "" {
				t.Errorf("got %+v", e)
			}
			if got, err := c.Version(t.Context()); err != nil || got != "v4.1 (Build 472)" {
				t.Errorf("the next call: %q, %v", got, err)
			}
		})
	}
}

func TestRecords(t *testing.T) {
	t.Parallel()
	set := func(field, value string) string {
		head, rest, ok := strings.Cut(userInfo, "<"+field+">")
		_, tail, ok2 := strings.Cut(rest, "</"+field+">")
		if !ok || !ok2 {
			t.Fatalf("no field %s", field)
		}
		return head + value + tail
	}
	full := func(field, value string) string { return set(field, "<"+field+">"+value+"</"+field+">") }
	but := func(change func(*ecgrid.User)) ecgrid.User {
		u := jo
		change(&u)
		return u
	}
	for name, test := range map[string]struct {
		record string
		want   ecgrid.User
	}{
		"whole":            {userInfo, jo},
		"plus and space":   {full("UserID", "\n +5001 "), jo},
		"zeros":            {full("NetworkID", "007"), jo},
		"smallest":         {full("MailboxID", "-2147483648"), but(func(u *ecgrid.User) { u.MailboxID = -2147483648 })},
		"not locked":       {full("LockedOut", "0"), but(func(u *ecgrid.User) { u.LockedOut = false })},
		"locked, 1":        {full("LockedOut", " 1 "), jo},
		"nil locked":       {set("LockedOut", `<LockedOut xsi:nil="1"/>`), but(func(u *ecgrid.User) { u.LockedOut = false })},
		"no name":          {set("LoginName", ""), but(func(u *ecgrid.User) { u.LoginName = "" })},
		"nil name":         {set("LoginName", `<LoginName xsi:nil="true"/>`), but(func(u *ecgrid.User) { u.LoginName = "" })},
		"new status":       {full("Status", "Retired"), but(func(u *ecgrid.User) { u.Status = "Retired" })},
		"space, status":    {full("Status", "\n\tActive "), jo},
		"extra":            {userInfo + "<New><UserID>1</UserID></New><UserID xmlns='urn:x'>1</UserID>", jo},
		"other order":      {"<LockedOut>true</LockedOut>" + set("LockedOut", ""), jo},
		"any date":         {full("Created", canaryUpstream), jo},
		"no user ID":       {set("UserID", ""), ecgrid.User{}},
		"nil user ID":      {set("UserID", `<UserID xsi:nil="true"/>`), ecgrid.User{}},
		"empty user ID":    {full("UserID", ""), ecgrid.User{}},
		"user ID twice":    {userInfo + "<UserID>5001</UserID>", ecgrid.User{}},
		"text as ID":       {full("UserID", canaryUpstream), ecgrid.User{}},
		"too large an ID":  {full("UserID", "2147483648"), ecgrid.User{}},
		"hexadecimal":      {full("UserID", "0x10"), ecgrid.User{}},
		"underscore":       {full("UserID", "5_001"), ecgrid.User{}},
		"float":            {full("UserID", "5001.0"), ecgrid.User{}},
		"two signs":        {full("UserID", "+-5"), ecgrid.User{}},
		"wide space":       {full("UserID", "\u00a05001"), ecgrid.User{}},
		"no network":       {set("NetworkID", ""), ecgrid.User{}},
		"no mailbox":       {set("MailboxID", ""), ecgrid.User{}},
		"neither":          {full("LockedOut", "maybe"), ecgrid.User{}},
		"element in field": {full("LoginName", "<b>jo</b>"), ecgrid.User{}},
		"text between":     {userInfo + canaryUpstream, ecgrid.User{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, answerWith(200, response("UserInfo", "<UserInfoResult>"+test.record+"</UserInfoResult>")))
			got, err := c.UserInfo(t.Context(), canarySession, 5001)
			if test.want == (ecgrid.User{}) {
				wantFailure(t, err, ecgrid.ErrBadAnswer)
			} else if err != nil {
				t.Error(err)
			}
			if got != test.want && err == nil {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// Each int of SessionInfo that is kept must be there and be one.
func TestSessionRecord(t *testing.T) {
	t.Parallel()
	for _, field := range []string{"UserID", "OpenSessions", "TimeOut", "NetworkID", "MailboxID"} {
		head, rest, _ := strings.Cut(sessionInfo, "<"+field+">")
		_, tail, _ := strings.Cut(rest, "</"+field+">")
		for _, value := range []string{"", "<" + field + ">99999999999</" + field + ">"} {
			c := serve(t, answerWith(200, response("WhoAmI", "<WhoAmIResult>"+head+value+tail+"</WhoAmIResult>")))
			_, err := c.WhoAmI(t.Context(), canarySession)
			wantFailure(t, err, ecgrid.ErrBadAnswer)
		}
	}
	for _, short := range []string{"32768", "-32769"} {
		if parseShort(short, new(int16)) {
			t.Errorf("%s is an xs:short", short)
		}
	}
}

func TestUserListAnswers(t *testing.T) {
	t.Parallel()
	entry := "<UserIDInfo>" + userInfo + "</UserIDInfo>"
	for name, test := range map[string]struct {
		list string
		want int // -1: refused
	}{
		"none":          {"", 0},
		"one":           {entry, 1},
		"two":           {entry + "\n" + entry, 2},
		"nil between":   {entry + `<UserIDInfo xsi:nil="true" />` + entry, 2},
		"nil alone":     {`<UserIDInfo xsi:nil="true"/>`, 0},
		"full nil":      {`<UserIDInfo xsi:nil="true">` + userInfo + `</UserIDInfo>`, -1},
		"other entry":   {entry + "<Other>x</Other>", -1},
		"other alone":   {"<Other/>", -1},
		"foreign entry": {entry + `<UserIDInfo xmlns="urn:x"/>`, -1},
		"foreign alone": {`<UserIDInfo xmlns="urn:x">` + userInfo + `</UserIDInfo>`, -1},
		"empty entry":   {entry + "<UserIDInfo/>", -1},
		"half good":     {entry + "<UserIDInfo><UserID>x</UserID></UserIDInfo>", -1},
		"text":          {entry + canaryUpstream, -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, answerWith(200, response("UserList", "<UserListResult>"+test.list+"</UserListResult>")))
			users, err := c.UserList(t.Context(), canarySession, "")
			if test.want < 0 {
				wantFailure(t, err, ecgrid.ErrBadAnswer)
				if users != nil {
					t.Error("half a list")
				}
				return
			}
			if err != nil || len(users) != test.want {
				t.Errorf("got %v, %v", users, err)
			}
			for _, u := range users {
				if u != jo {
					t.Errorf("got %+v", u)
				}
			}
		})
	}
}

// The bytes of an answer may come in any portions.
func TestPortions(t *testing.T) {
	t.Parallel()
	body := "\uFEFF" + response("Version", "<VersionResult>ä€🔑</VersionResult>")
	for name, src := range map[string]io.Reader{
		"one by one":    iotest.OneByteReader(strings.NewReader(body)),
		"by halves":     iotest.HalfReader(strings.NewReader(body)),
		"data and EOF":  iotest.DataErrReader(strings.NewReader(body)),
		"empty portion": io.MultiReader(&stutter{n: 50}, strings.NewReader(body)),
	} {
		in := newInput(src, maxSmall)
		r := value[string]{parse: (*answer).string}
		if err := newAnswer(in).read("Version", true, &r); err != nil || r.v != "ä€🔑" {
			t.Errorf("%s: got %q, %v", name, r.v, err)
		}
		in.release()
	}
	in := newInput(io.MultiReader(strings.NewReader(body[:9]), &stutter{n: 1000}), maxSmall)
	defer in.release()
	if err := newAnswer(in).read("Version", true, &value[string]{}); !errors.Is(in.err, io.ErrNoProgress) || err == nil {
		t.Errorf("got %v from a reader that gives nothing", err)
	}
}

// stutter reads nothing, n times.
type stutter struct{ n int }

func (s *stutter) Read([]byte) (int, error) {
	if s.n--; s.n < 0 {
		return 0, io.EOF
	}
	return 0, nil
}

// What went through a buffer is not in it when the next call gets it. Not
// parallel: another test would get it.
func TestBuffersAreCleared(t *testing.T) {
	in := newInput(strings.NewReader(response("Version", "<VersionResult>"+canaryUpstream+"</VersionResult>")), maxSmall)
	buf := in.buf
	if err := newAnswer(in).read("Version", true, &value[string]{parse: (*answer).string}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(buf[:]), canaryUpstream) {
		t.Fatal("not the buffer")
	}
	in.release()
	if *buf != [inputBuffer]byte{} {
		t.Error("not cleared")
	}
	if _, err := in.ReadByte(); err == nil {
		t.Error("read after release")
	}
}

func FuzzRequest(f *testing.F) {
	for _, s := range []string{"", "jo", "a&b<c>\"'", "]]>", "\r\n\t", "\x00", "\xff", "\uFFFE", "🔑", "&#0;"} {
		f.Add(s, int32(5001))
	}
	f.Fuzz(func(t *testing.T, s string, id int32) {
		body, bad := newEnvelope(opUserGetAPIKey, len(s)).str("SessionID", s).int("UserID", id).close()
		sendable := utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !isXMLChar(r) })
		if sendable != (bad == "") {
			t.Fatalf("%q: sendable %v, got %q", s, sendable, bad)
		}
		if !sendable {
			return
		}
		got, err := texts(t, body)
		if want := s + fmt.Sprint(id); err != nil || got != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, op := range everyOp {
		f.Add(response(op.name, op.result))
	}
	f.Add(response("UserList", "<UserListResult><Other/></UserListResult>"))
	f.Add(response("Version", `<Maintenance xmlns="urn:proxy"/>`))
	f.Add(response("UserGetAPIKey", "<UserGetAPIKeyResult> a&#13;b </UserGetAPIKeyResult>"))
	f.Add(response("UserGetAPIKey", "<UserGetAPIKeyResult>&#xa0;</UserGetAPIKeyResult>"))
	for _, body := range hostile() {
		if len(body) < 4<<10 {
			f.Add(body)
		}
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, op := range []string{"Version", "UserGetAPIKey", "UserInfo", "UserList"} {
			in := newInput(strings.NewReader(body), maxSmall)
			var to result = &value[string]{parse: (*answer).string}
			switch op {
			case "UserGetAPIKey":
				to = &value[string]{parse: (*answer).credential}
			case "UserInfo":
				to = &value[ecgrid.User]{parse: func(a *answer) (ecgrid.User, error) { return readRecord(a, userFields) }}
			case "UserList":
				to = &value[[]ecgrid.User]{parse: usersWithin(maxKept)}
			}
			err := newAnswer(in).read(op, true, to)
			in.release()
			if key, ok := to.(*value[string]); ok && err == nil && op == "UserGetAPIKey" && strings.ContainsFunc(key.v, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
				t.Fatal("a key that is not one word")
			}
			var fail *failure
			if errors.As(err, &fail) && !ourReason(fail.reason) {
				t.Fatalf("%s: a reason that is not ours", op)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	body := response("UserGetAPIKey", "<UserGetAPIKeyResult>00000000-0000-0000-0000-000000000000</UserGetAPIKeyResult>")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	src := strings.NewReader(body)
	for b.Loop() {
		src.Reset(body)
		in := newInput(src, maxSmall)
		r := value[string]{parse: (*answer).string}
		if err := newAnswer(in).read("UserGetAPIKey", true, &r); err != nil {
			b.Fatal(err)
		}
		in.release()
	}
}

func BenchmarkParseUserList(b *testing.B) {
	const n = 1000
	body := response("UserList", "<UserListResult>"+strings.Repeat("<UserIDInfo>"+userInfo+"</UserIDInfo>", n)+"</UserListResult>")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		in := newInput(strings.NewReader(body), maxList)
		r := value[[]ecgrid.User]{parse: usersWithin(maxKept)}
		if err := newAnswer(in).read("UserList", true, &r); err != nil || len(r.v) != n {
			b.Fatal(len(r.v), err)
		}
		in.release()
	}
}

func BenchmarkRequest(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		newEnvelope(opUserGetAPIKey, len(canarySession)).str("SessionID", canarySession).int("UserID", 5001).close()
	}
}

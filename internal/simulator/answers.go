package simulator

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
)

// Answer is one way of answering badly.
type Answer string

// The answers before which the operation is not carried out, unless Fault.Apply.
const (
	AnswerReset    Answer = "reset"      // the connection is cut
	AnswerSilent   Answer = "silent"     // the connection stays open, and nothing comes
	AnswerHTML     Answer = "html"       // an HTML page, status 200 or Fault.Status
	AnswerStatus   Answer = "status"     // Fault.Status (503) and no SOAP
	AnswerRedirect Answer = "redirect"   // 302 or Fault.Status, to Fault.URL
	AnswerEmpty    Answer = "empty-body" // status 200, no body
	AnswerHuge     Answer = "huge"       // 50 MB, the first of it looking right
	AnswerEntities Answer = "entities"   // a billion laughs
)

// The answers that spoil the operation's own.
const (
	AnswerResetAfter     Answer = "reset-after"     // carried out, the answer lost
	AnswerTwice          Answer = "twice"           // the whole answer, and once more
	AnswerHalf           Answer = "half"            // cut in the middle of the body
	AnswerDrip           Answer = "drip"            // byte by byte
	AnswerEmptyResult    Answer = "empty-result"    // <OpResult />
	AnswerAbsentResult   Answer = "absent-result"   // <OpResponse></OpResponse>
	AnswerWrongNamespace Answer = "wrong-namespace" // the newer docs' namespace
	AnswerWrongOp        Answer = "wrong-operation" // another operation's response
	AnswerUTF16          Answer = "utf-16"
	AnswerLatin1         Answer = "iso-8859-1"
	AnswerGzip           Answer = "gzip" // asked for or not
)

// otherNamespace is what the vendor's newer documentation shows, wrongly.
const otherNamespace = "http://www.ecgridos.net/"

// breaker is one Answer. Where rep is nil the operation was not carried out.
type breaker struct {
	applies bool
	write   func(w http.ResponseWriter, r *http.Request, f Fault, rep *reply, x *exchange)
}

var breakers = map[Answer]breaker{
	AnswerReset:    {false, func(w http.ResponseWriter, _ *http.Request, _ Fault, _ *reply, _ *exchange) { reset(w) }},
	AnswerSilent:   {false, func(_ http.ResponseWriter, r *http.Request, _ Fault, _ *reply, _ *exchange) { <-r.Context().Done() }},
	AnswerHTML:     {false, writeHTML},
	AnswerStatus:   {false, writeStatus},
	AnswerRedirect: {false, writeRedirect},
	AnswerEmpty: {false, func(w http.ResponseWriter, _ *http.Request, _ Fault, _ *reply, _ *exchange) {
		w.WriteHeader(http.StatusOK)
	}},
	AnswerHuge:     {false, writeHuge},
	AnswerEntities: {false, writeEntities},

	AnswerResetAfter:     {true, func(w http.ResponseWriter, _ *http.Request, _ Fault, _ *reply, _ *exchange) { reset(w) }},
	AnswerTwice:          {true, writeTwice},
	AnswerHalf:           {true, writeHalf},
	AnswerDrip:           {true, writeDrip},
	AnswerEmptyResult:    {true, rewrite(func(op string, b []byte) []byte { return replaceResult(op, b, "<"+op+"Result />") })},
	AnswerAbsentResult:   {true, rewrite(func(op string, b []byte) []byte { return replaceResult(op, b, "") })},
	AnswerWrongNamespace: {true, rewrite(func(_ string, b []byte) []byte { return bytes.ReplaceAll(b, []byte(Namespace), []byte(otherNamespace)) })},
	AnswerWrongOp:        {true, rewrite(renameOperation)},
	AnswerUTF16:          {true, writeUTF16},
	AnswerLatin1:         {true, writeLatin1},
	AnswerGzip:           {true, writeGzip},
}

// reset cuts the connection with a TCP RST where it can, and without an answer
// in any case.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	cut(conn)
}

func cut(conn net.Conn) {
	raw := conn
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		raw = t.NetConn()
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it the cut is only less abrupt
	}
	_ = raw.Close()
}

func writeHTML(w http.ResponseWriter, _ *http.Request, f Fault, _ *reply, x *exchange) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(cmp.Or(f.Status, http.StatusOK))
	_, _ = io.WriteString(w, "<!DOCTYPE html>\n<html><head><title>Maintenance</title></head><body><h1>Please try later</h1><br>\n")
	if f.Echo {
		_, _ = w.Write(x.body)
	}
	_, _ = io.WriteString(w, "</body></html>\n")
}

func writeStatus(w http.ResponseWriter, _ *http.Request, f Fault, _ *reply, x *exchange) {
	status := cmp.Or(f.Status, http.StatusServiceUnavailable)
	if slices.Contains(restOps, x.op) {
		restError{status, restCodes[status]}.reply(http.StatusText(status)).send(w)
		return
	}
	http.Error(w, http.StatusText(status), status)
}

func writeRedirect(w http.ResponseWriter, r *http.Request, f Fault, _ *reply, _ *exchange) {
	http.Redirect(w, r, f.URL, cmp.Or(f.Status, http.StatusFound))
}

const envelopeStart = `<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>`

// writeHuge streams, so that the simulator itself stays small.
func writeHuge(w http.ResponseWriter, _ *http.Request, f Fault, _ *reply, x *exchange) {
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	fmt.Fprintf(w, `%s<%sResponse xmlns="%s"><%sResult>`, envelopeStart, x.op, Namespace, x.op)
	chunk := []byte(strings.Repeat("A", 64<<10))
	for left := cmp.Or(f.Bytes, 50<<20); left > 0; left -= int64(len(chunk)) {
		if _, err := w.Write(chunk[:min(left, int64(len(chunk)))]); err != nil {
			return
		}
	}
	fmt.Fprintf(w, "</%sResult></%sResponse></soap:Body></soap:Envelope>", x.op, x.op)
}

func writeEntities(w http.ResponseWriter, _ *http.Request, _ Fault, _ *reply, x *exchange) {
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	fmt.Fprint(w, `<?xml version="1.0" encoding="utf-8"?><!DOCTYPE lolz [<!ENTITY l0 "lol">`)
	for i := 1; i < 10; i++ {
		fmt.Fprintf(w, `<!ENTITY l%d "%s">`, i, strings.Repeat(fmt.Sprintf("&l%d;", i-1), 10))
	}
	fmt.Fprintf(w, `]><soap:Envelope xmlns:soap="%s"><soap:Body><%sResponse xmlns="%s"><%sResult>&l9;</%sResult></%sResponse></soap:Body></soap:Envelope>`,
		soap11.envelope, x.op, Namespace, x.op, x.op, x.op)
}

// twiceLife is how long a connection stays open behind an answer that came twice.
const twiceLife = time.Minute

// writeTwice sends the answer again after Fault.Interval, and then only listens: what
// the client sends next on this connection has its answer already.
func writeTwice(w http.ResponseWriter, _ *http.Request, f Fault, rep *reply, _ *exchange) {
	rep.describe(w.Header())
	w.Header().Set("Content-Length", itoa(len(rep.body)))
	if rec, ok := w.(*recorder); ok {
		rec.note(rep.status, slices.Concat(rep.body, rep.body))
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(twiceLife)) // what fails shows below
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", rep.status, http.StatusText(rep.status))
	_ = w.Header().Write(&b) // a Buffer takes everything
	b.WriteString("\r\n")
	b.Write(rep.body)
	once := b.Bytes()
	if f.Interval <= 0 {
		once = slices.Concat(once, once)
	}
	if _, err := conn.Write(once); err == nil && f.Interval > 0 {
		time.Sleep(f.Interval)
		_, _ = conn.Write(once) // a client that left is its own affair
	}
	_, _ = io.Copy(io.Discard, conn)
}

// writeHalf promises the whole body and cuts the connection in its middle.
func writeHalf(w http.ResponseWriter, _ *http.Request, _ Fault, rep *reply, _ *exchange) {
	w.Header().Set("Content-Length", itoa(len(rep.body)))
	(&reply{status: rep.status, contentType: rep.contentType, body: rep.body[:len(rep.body)/2]}).send(w)
	_ = http.NewResponseController(w).Flush() // what cannot be flushed is cut all the same
	panic(http.ErrAbortHandler)
}

func writeDrip(w http.ResponseWriter, r *http.Request, f Fault, rep *reply, _ *exchange) {
	w.Header().Set("Content-Type", rep.contentType)
	w.WriteHeader(rep.status)
	flusher := http.NewResponseController(w)
	for i := range rep.body {
		if _, err := w.Write(rep.body[i : i+1]); err != nil || r.Context().Err() != nil {
			return
		}
		_ = flusher.Flush() // an error shows at the next Write
		wait(r, cmp.Or(f.Interval, 100*time.Millisecond))
	}
}

func rewrite(change func(op string, body []byte) []byte) func(http.ResponseWriter, *http.Request, Fault, *reply, *exchange) {
	return func(w http.ResponseWriter, _ *http.Request, _ Fault, rep *reply, x *exchange) {
		(&reply{status: rep.status, contentType: rep.contentType, body: change(x.op, rep.body)}).send(w)
	}
}

func replaceResult(op string, body []byte, with string) []byte {
	result := regexp.MustCompile(`(?s)<` + op + `Result>.*</` + op + `Result>`)
	return result.ReplaceAllLiteral(body, []byte(with))
}

func renameOperation(op string, body []byte) []byte {
	other := "UserGetAPIKey"
	if op == other {
		other = "Login"
	}
	return []byte(strings.NewReplacer(op+"Response", other+"Response", op+"Result", other+"Result").Replace(string(body)))
}

func writeUTF16(w http.ResponseWriter, _ *http.Request, _ Fault, rep *reply, _ *exchange) {
	text := strings.Replace(string(rep.body), `encoding="utf-8"`, `encoding="utf-16"`, 1)
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, append([]uint16{0xfeff}, utf16.Encode([]rune(text))...)) // a Buffer takes everything
	(&reply{status: rep.status, contentType: strings.Replace(rep.contentType, "utf-8", "utf-16", 1), body: b.Bytes()}).send(w)
}

// writeLatin1 adds a letter that is not the same byte in UTF-8.
func writeLatin1(w http.ResponseWriter, _ *http.Request, _ Fault, rep *reply, _ *exchange) {
	text := strings.Replace(string(rep.body), `encoding="utf-8"?>`, "encoding=\"iso-8859-1\"?><!-- caf\xe9 -->", 1)
	(&reply{status: rep.status, contentType: strings.Replace(rep.contentType, "utf-8", "iso-8859-1", 1), body: []byte(text)}).send(w)
}

func writeGzip(w http.ResponseWriter, _ *http.Request, _ Fault, rep *reply, _ *exchange) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(rep.body) // a Buffer takes everything
	_ = z.Close()
	w.Header().Set("Content-Encoding", "gzip")
	(&reply{status: rep.status, contentType: rep.contentType, body: b.Bytes()}).send(w)
}

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

// Answer is a bad way to answer.
type Answer string

// These answers do not apply the operation, unless Fault.Apply is set.
const (
	AnswerReset    Answer = "reset"      // the connection is reset
	AnswerSilent   Answer = "silent"     // the connection stays open without an answer
	AnswerHTML     Answer = "html"       // an HTML page, status 200 or Fault.Status
	AnswerStatus   Answer = "status"     // Fault.Status (503) without SOAP
	AnswerRedirect Answer = "redirect"   // 302 or Fault.Status, to Fault.URL
	AnswerEmpty    Answer = "empty-body" // status 200, no body
	AnswerHuge     Answer = "huge"       // 50 MB that begin like the right answer
	AnswerEntities Answer = "entities"   // a billion laughs
)

// These answers apply the operation and spoil its answer.
const (
	AnswerResetAfter     Answer = "reset-after"     // the connection is reset
	AnswerTwice          Answer = "twice"           // the whole answer, two times
	AnswerHalf           Answer = "half"            // ends in the middle of the body
	AnswerDrip           Answer = "drip"            // byte by byte
	AnswerEmptyResult    Answer = "empty-result"    // <OpResult />
	AnswerAbsentResult   Answer = "absent-result"   // <OpResponse></OpResponse>
	AnswerWrongNamespace Answer = "wrong-namespace" // the namespace of the newer docs
	AnswerWrongOp        Answer = "wrong-operation" // another operation's response
	AnswerUTF16          Answer = "utf-16"
	AnswerLatin1         Answer = "iso-8859-1"
	AnswerGzip           Answer = "gzip" // whether the client accepts it or not
)

// otherNamespace is the wrong namespace in the vendor's newer documentation.
const otherNamespace = "http://www.ecgridos.net/"

// badAnswer writes one Answer. reply is nil if the operation was not applied.
type badAnswer struct {
	w     http.ResponseWriter
	r     *http.Request
	req   *request
	fault Fault
	reply *reply
}

var badAnswers = map[Answer]struct {
	applies bool
	write   func(badAnswer)
}{
	AnswerReset:    {false, badAnswer.reset},
	AnswerSilent:   {false, func(b badAnswer) { <-b.r.Context().Done() }},
	AnswerHTML:     {false, badAnswer.writeHTML},
	AnswerStatus:   {false, badAnswer.writeStatus},
	AnswerRedirect: {false, badAnswer.redirect},
	AnswerEmpty:    {false, func(b badAnswer) { b.w.WriteHeader(http.StatusOK) }},
	AnswerHuge:     {false, badAnswer.writeHuge},
	AnswerEntities: {false, badAnswer.writeEntities},

	AnswerResetAfter:     {true, badAnswer.reset},
	AnswerTwice:          {true, badAnswer.writeTwice},
	AnswerHalf:           {true, badAnswer.writeHalf},
	AnswerDrip:           {true, badAnswer.drip},
	AnswerEmptyResult:    {true, func(b badAnswer) { b.replaceResult("<" + b.req.op + "Result />") }},
	AnswerAbsentResult:   {true, func(b badAnswer) { b.replaceResult("") }},
	AnswerWrongNamespace: {true, badAnswer.changeNamespace},
	AnswerWrongOp:        {true, badAnswer.renameOperation},
	AnswerUTF16:          {true, badAnswer.writeUTF16},
	AnswerLatin1:         {true, badAnswer.writeLatin1},
	AnswerGzip:           {true, badAnswer.writeGzip},
}

// reset sends a TCP RST if it can.
func (b badAnswer) reset() {
	conn, _, err := http.NewResponseController(b.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	raw := conn
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		raw = t.NetConn()
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close()
}

func (b badAnswer) writeHTML() {
	b.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	b.w.WriteHeader(cmp.Or(b.fault.Status, http.StatusOK))
	_, _ = io.WriteString(b.w, "<!DOCTYPE html>\n<html><head><title>Maintenance</title></head><body><h1>Please try later</h1><br>\n")
	if b.fault.Echo {
		_, _ = b.w.Write(b.req.body)
	}
	_, _ = io.WriteString(b.w, "</body></html>\n")
}

func (b badAnswer) writeStatus() {
	status := cmp.Or(b.fault.Status, http.StatusServiceUnavailable)
	if slices.Contains(restOps, b.req.op) {
		restError{status, restCodes[status]}.reply(http.StatusText(status)).send(b.w)
		return
	}
	http.Error(b.w, http.StatusText(status), status)
}

func (b badAnswer) redirect() {
	http.Redirect(b.w, b.r, b.fault.URL, cmp.Or(b.fault.Status, http.StatusFound))
}

const envelopeStart = `<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>`

// writeHuge streams to keep the simulator's memory small.
func (b badAnswer) writeHuge() {
	op := b.req.op
	b.w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	fmt.Fprintf(b.w, `%s<%sResponse xmlns="%s"><%sResult>`, envelopeStart, op, Namespace, op)
	chunk := []byte(strings.Repeat("A", 64<<10))
	for left := cmp.Or(b.fault.Bytes, 50<<20); left > 0; left -= int64(len(chunk)) {
		if _, err := b.w.Write(chunk[:min(left, int64(len(chunk)))]); err != nil {
			return
		}
	}
	fmt.Fprintf(b.w, "</%sResult></%sResponse></soap:Body></soap:Envelope>", op, op)
}

func (b badAnswer) writeEntities() {
	op := b.req.op
	b.w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	fmt.Fprint(b.w, `<?xml version="1.0" encoding="utf-8"?><!DOCTYPE lolz [<!ENTITY l0 "lol">`)
	for i := 1; i < 10; i++ {
		fmt.Fprintf(b.w, `<!ENTITY l%d "%s">`, i, strings.Repeat(fmt.Sprintf("&l%d;", i-1), 10))
	}
	fmt.Fprintf(b.w, `]><soap:Envelope xmlns:soap="%s"><soap:Body><%sResponse xmlns="%s"><%sResult>&l9;</%sResult></%sResponse></soap:Body></soap:Envelope>`,
		soap11.envelope, op, Namespace, op, op, op)
}

// twiceTimeout is how long a connection stays open after a second answer.
const twiceTimeout = time.Minute

// writeTwice sends the answer again after Fault.Interval. Then it only reads: the next
// request on this connection already has its answer.
func (b badAnswer) writeTwice() {
	rep := b.reply
	rep.describe(b.w.Header())
	b.w.Header().Set("Content-Length", itoa(len(rep.body)))
	if rec, ok := b.w.(*recorder); ok {
		rec.record(rep.status, slices.Concat(rep.body, rep.body))
	}
	conn, _, err := http.NewResponseController(b.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(twiceTimeout)) // a failure shows below
	var out bytes.Buffer
	fmt.Fprintf(&out, "HTTP/1.1 %d %s\r\n", rep.status, http.StatusText(rep.status))
	_ = b.w.Header().Write(&out) // a Buffer does not fail
	out.WriteString("\r\n")
	out.Write(rep.body)
	once := out.Bytes()
	if b.fault.Interval <= 0 {
		once = slices.Concat(once, once)
	}
	if _, err := conn.Write(once); err == nil && b.fault.Interval > 0 {
		time.Sleep(b.fault.Interval)
		_, _ = conn.Write(once) // the client may have left
	}
	_, _ = io.Copy(io.Discard, conn)
}

// writeHalf announces the whole body and closes the connection in its middle.
func (b badAnswer) writeHalf() {
	b.w.Header().Set("Content-Length", itoa(len(b.reply.body)))
	b.send(b.reply.contentType, b.reply.body[:len(b.reply.body)/2])
	_ = http.NewResponseController(b.w).Flush() // the abort works without it too
	panic(http.ErrAbortHandler)
}

func (b badAnswer) drip() {
	b.w.Header().Set("Content-Type", b.reply.contentType)
	b.w.WriteHeader(b.reply.status)
	flusher := http.NewResponseController(b.w)
	for i := range b.reply.body {
		if _, err := b.w.Write(b.reply.body[i : i+1]); err != nil || b.r.Context().Err() != nil {
			return
		}
		_ = flusher.Flush() // an error shows at the next Write
		sleep(b.r, cmp.Or(b.fault.Interval, 100*time.Millisecond))
	}
}

// send sends another body with the status of the right answer.
func (b badAnswer) send(contentType string, body []byte) {
	(&reply{status: b.reply.status, contentType: contentType, body: body}).send(b.w)
}

func (b badAnswer) replaceResult(with string) {
	result := regexp.MustCompile(`(?s)<` + b.req.op + `Result>.*</` + b.req.op + `Result>`)
	b.send(b.reply.contentType, result.ReplaceAllLiteral(b.reply.body, []byte(with)))
}

func (b badAnswer) changeNamespace() {
	b.send(b.reply.contentType, bytes.ReplaceAll(b.reply.body, []byte(Namespace), []byte(otherNamespace)))
}

func (b badAnswer) renameOperation() {
	op, other := b.req.op, "UserGetAPIKey"
	if op == other {
		other = "Login"
	}
	renamed := strings.NewReplacer(op+"Response", other+"Response", op+"Result", other+"Result").Replace(string(b.reply.body))
	b.send(b.reply.contentType, []byte(renamed))
}

func (b badAnswer) writeUTF16() {
	text := strings.Replace(string(b.reply.body), `encoding="utf-8"`, `encoding="utf-16"`, 1)
	var out bytes.Buffer
	_ = binary.Write(&out, binary.LittleEndian, append([]uint16{0xfeff}, utf16.Encode([]rune(text))...)) // a Buffer does not fail
	b.send(strings.Replace(b.reply.contentType, "utf-8", "utf-16", 1), out.Bytes())
}

// writeLatin1 adds a letter that UTF-8 encodes differently.
func (b badAnswer) writeLatin1() {
	text := strings.Replace(string(b.reply.body), `encoding="utf-8"?>`, "encoding=\"iso-8859-1\"?><!-- caf\xe9 -->", 1)
	b.send(strings.Replace(b.reply.contentType, "utf-8", "iso-8859-1", 1), []byte(text))
}

func (b badAnswer) writeGzip() {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b.reply.body) // a Buffer does not fail
	_ = z.Close()
	b.w.Header().Set("Content-Encoding", "gzip")
	b.send(b.reply.contentType, out.Bytes())
}

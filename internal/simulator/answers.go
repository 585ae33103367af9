// SPDX-License-Identifier: MPL-2.0

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
	"slices"
	"strings"
	"time"
	"unicode/utf16"
)

// Answer is a bad way to answer.
type Answer string

// The answers. AnswerChoices says what each is.
const (
	AnswerReset    Answer = "reset"
	AnswerSilent   Answer = "silent"
	AnswerHTML     Answer = "html"
	AnswerStatus   Answer = "status"
	AnswerRedirect Answer = "redirect"
	AnswerEmpty    Answer = "empty-body"
	AnswerHuge     Answer = "huge"
	AnswerEntities Answer = "entities"

	AnswerResetAfter     Answer = "reset-after"
	AnswerTwice          Answer = "twice"
	AnswerHalf           Answer = "half"
	AnswerTruncated      Answer = "truncated"
	AnswerDrip           Answer = "drip"
	AnswerEmptyResult    Answer = "empty-result"
	AnswerAbsentResult   Answer = "absent-result"
	AnswerNullResult     Answer = "null-result"
	AnswerWrongType      Answer = "wrong-type"
	AnswerTwoResults     Answer = "two-results"
	AnswerWrongNamespace Answer = "wrong-namespace"
	AnswerWrongOp        Answer = "wrong-operation"
	AnswerUTF16          Answer = "utf-16"
	AnswerLatin1         Answer = "iso-8859-1"
	AnswerGzip           Answer = "gzip"
)

// badAnswer writes one Answer. reply is nil if the operation was not applied.
type badAnswer struct {
	w     http.ResponseWriter
	r     *http.Request
	req   *request
	fault Fault
	reply *reply
}

// answerKind is how an Answer is written over each transport. If it does not apply the
// operation, Fault.Apply can.
type answerKind struct {
	name       Answer
	help       string
	applies    bool
	soap, rest func(badAnswer)
}

// sameWay is an Answer that does not depend on the transport.
func sameWay(name Answer, help string, applies bool, write func(badAnswer)) answerKind {
	return answerKind{name, help, applies, write, write}
}

var badAnswers = []answerKind{
	sameWay(AnswerReset, "the connection is reset", false, badAnswer.reset),
	sameWay(AnswerSilent, "the connection stays open without an answer", false, func(b badAnswer) { <-b.r.Context().Done() }),
	sameWay(AnswerHTML, "an HTML page, with status 200 or the given one", false, badAnswer.writeHTML),
	{AnswerStatus, "an HTTP status without SOAP, 503 or the given one; over REST with the documented error, if there is one", false, badAnswer.writeStatus, badAnswer.writeRESTStatus},
	sameWay(AnswerRedirect, "302 or the given status, to the given url", false, badAnswer.redirect),
	sameWay(AnswerEmpty, "status 200 without a body", false, func(b badAnswer) { b.w.WriteHeader(http.StatusOK) }),
	{AnswerHuge, "50 MB, or the given bytes, that begin like the right answer", false, badAnswer.writeHugeXML, badAnswer.writeHugeJSON},
	{AnswerEntities, "XML entities that expand to gigabytes; over REST 1,000,000 nested arrays", false, badAnswer.writeEntities, badAnswer.writeNested},

	sameWay(AnswerResetAfter, "the connection is reset", true, badAnswer.reset),
	sameWay(AnswerTwice, "the whole answer, two times", true, badAnswer.writeTwice),
	sameWay(AnswerHalf, "the connection ends in the middle of the body", true, badAnswer.writeHalf),
	sameWay(AnswerTruncated, "half the body as if it were all", true, badAnswer.truncate),
	sameWay(AnswerDrip, "byte by byte", true, badAnswer.drip),
	{AnswerEmptyResult, "<OpResult />; over REST data is \"\", {} or []", true, badAnswer.emptyResult, badAnswer.emptyData},
	{AnswerAbsentResult, "<OpResponse></OpResponse>; over REST no data", true, badAnswer.absentResult, badAnswer.absentData},
	{AnswerNullResult, "<OpResult xsi:nil=\"true\" />; over REST data is null", true, badAnswer.nilResult, badAnswer.nullData},
	{AnswerWrongType, "an element in the result's place; over REST data is [[result]]", true, badAnswer.nestResult, badAnswer.nestData},
	{AnswerTwoResults, "<OpResult> twice; over REST data twice, with null first", true, badAnswer.doubleResult, badAnswer.doubleData},
	{AnswerWrongNamespace, "the namespace of the newer documentation; over REST the envelope is in {\"d\": …}", true, badAnswer.changeNamespace, badAnswer.wrapEnvelope},
	{AnswerWrongOp, "the response of another operation; over REST its data", true, badAnswer.renameOperation, badAnswer.otherData},
	{AnswerUTF16, "the right answer in UTF-16", true, badAnswer.writeXMLAsUTF16, badAnswer.writeJSONAsUTF16},
	{AnswerLatin1, "the right answer in ISO 8859-1", true, badAnswer.writeXMLAsLatin1, badAnswer.writeJSONAsLatin1},
	sameWay(AnswerGzip, "compressed with gzip, even if the client does not accept it", true, badAnswer.writeGzip),
}

// answerByName returns false for an unknown answer.
func answerByName(name Answer) (answerKind, bool) {
	i := slices.IndexFunc(badAnswers, func(k answerKind) bool { return k.name == name })
	if i < 0 {
		return answerKind{}, false
	}
	return badAnswers[i], true
}

func (b badAnswer) write(kind answerKind) {
	if b.req.transport == TransportREST {
		kind.rest(b)
		return
	}
	kind.soap(b)
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
		_, _ = b.w.Write(b.req.echo)
	}
	_, _ = io.WriteString(b.w, "</body></html>\n")
}

// writeFiller writes Fault.Bytes in pieces, to keep the simulator's memory small. It returns
// false if the client has left.
func (b badAnswer) writeFiller() bool {
	chunk := bytes.Repeat([]byte("A"), 64<<10)
	for left := cmp.Or(b.fault.Bytes, 50<<20); left > 0; left -= int64(len(chunk)) {
		if _, err := b.w.Write(chunk[:min(left, int64(len(chunk)))]); err != nil {
			return false
		}
	}
	return true
}

func (b badAnswer) redirect() {
	http.Redirect(b.w, b.r, b.fault.URL, cmp.Or(b.fault.Status, http.StatusFound))
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

func (b badAnswer) truncate() { b.send(b.reply.contentType, b.reply.body[:len(b.reply.body)/2]) }

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

// sendUTF16 sends a text of UTF-8 in the other encoding.
func (b badAnswer) sendUTF16(text string) {
	var out bytes.Buffer
	_ = binary.Write(&out, binary.LittleEndian, append([]uint16{0xfeff}, utf16.Encode([]rune(text))...)) // a Buffer does not fail
	b.send(strings.Replace(b.reply.contentType, "utf-8", "utf-16", 1), out.Bytes())
}

// sendLatin1 sends a text that is ISO 8859-1 already.
func (b badAnswer) sendLatin1(text string) {
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

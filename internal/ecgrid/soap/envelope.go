package soap

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"vault-plugin-ecgrid/internal/ecgrid"
)

const (
	nsECGrid = "https://os.ecgrid.io/"
	nsSOAP11 = "http://schemas.xmlsoap.org/soap/envelope/"
	nsSOAP12 = "http://www.w3.org/2003/05/soap-envelope"
	nsXSI    = "http://www.w3.org/2001/XMLSchema-instance"
)

// Bounds of an answer, in bytes; of its nesting, in elements.
const (
	maxSmall = 64 << 10  // one string or one record
	maxList  = 256 << 20 // UserList: 100000 users and more, as .asmx indents them
	maxToken = 64 << 10  // between two steps of the parser, which buffers one step
	maxDepth = 64
)

const (
	envelopeHead = `<?xml version="1.0" encoding="utf-8"?>` +
		`<soap:Envelope xmlns:soap="` + nsSOAP11 + `"><soap:Body>`
	envelopeTail = `</soap:Body></soap:Envelope>`
)

// envelope is a request being written. Parameters must come in the order of the
// WSDL: .NET ignores what comes too late.
type envelope struct {
	op         *operation
	buf        []byte
	unsendable string // name of the first parameter that XML cannot carry
	userID     int32  // the one it is about, if it is
}

func newEnvelope(op *operation, size int) *envelope {
	e := &envelope{op: op, buf: make([]byte, 0, len(envelopeHead)+len(envelopeTail)+256+size)}
	e.buf = append(e.buf, envelopeHead...)
	e.buf = append(e.buf, '<')
	e.buf = append(e.buf, op.name...)
	e.buf = append(e.buf, ` xmlns="`+nsECGrid+`">`...)
	return e
}

func (e *envelope) str(name, value string) *envelope {
	e.open(name)
	var ok bool
	if e.buf, ok = appendEscaped(e.buf, value); !ok && e.unsendable == "" {
		e.unsendable = name
	}
	e.end(name)
	return e
}

func (e *envelope) user(id int32) *envelope {
	e.userID = id
	return e.int("UserID", id)
}

func (e *envelope) int(name string, value int32) *envelope {
	e.open(name)
	e.buf = strconv.AppendInt(e.buf, int64(value), 10)
	e.end(name)
	return e
}

func (e *envelope) open(name string) {
	e.buf = append(e.buf, '<')
	e.buf = append(e.buf, name...)
	e.buf = append(e.buf, '>')
}

func (e *envelope) end(name string) {
	e.buf = append(e.buf, '<', '/')
	e.buf = append(e.buf, name...)
	e.buf = append(e.buf, '>')
}

// close gives the finished request, or the name of the parameter that stops it.
func (e *envelope) close() (body []byte, unsendable string) {
	e.end(e.op.name)
	e.buf = append(e.buf, envelopeTail...)
	return e.buf, e.unsendable
}

// escapes are the ASCII characters that are not written as they are. White space
// other than a blank is one of them: a parser would make \r into \n.
var escapes = [utf8.RuneSelf]string{
	'&': "&amp;", '<': "&lt;", '>': "&gt;", '"': "&#34;", '\'': "&#39;",
	'\t': "&#9;", '\n': "&#10;", '\r': "&#13;",
}

// appendEscaped is false when s holds what XML 1.0 has no way to say. Nothing is
// put in its place: a password that was changed on the way is a refused login.
func appendEscaped(buf []byte, s string) ([]byte, bool) {
	done := 0
	for i := 0; i < len(s); {
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
		}
		if !isXMLChar(r) || r == utf8.RuneError && size == 1 {
			return buf, false
		}
		if r < utf8.RuneSelf && escapes[r] != "" {
			buf = append(buf, s[done:i]...)
			buf = append(buf, escapes[r]...)
			done = i + size
		}
		i += size
	}
	return append(buf, s[done:]...), true
}

// isXMLChar is production Char of XML 1.0.
func isXMLChar(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' ||
		r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= 0x10FFFF
}

// input feeds the parser byte by byte and counts, so that neither an answer nor
// a part that the parser must hold whole (a text, comment, directive, start tag)
// outgrows its bound.
type input struct {
	src   io.Reader
	buf   *[inputBuffer]byte
	r, w  int   // unread part of buf
	left  int64 // bytes the answer may still have
	token int   // bytes since the parser was last asked
	err   error // why reading stopped, but for io.EOF
}

const inputBuffer = 4 << 10

var inputBuffers = sync.Pool{New: func() any { return new([inputBuffer]byte) }}

var errTooLarge = errors.New("too large")

func newInput(src io.Reader, limit int64) *input {
	return &input{src: src, buf: inputBuffers.Get().(*[inputBuffer]byte), left: limit}
}

// release gives the buffer back, without the key that went through it.
func (in *input) release() {
	clear(in.buf[:])
	inputBuffers.Put(in.buf)
	in.buf, in.r, in.w, in.err = nil, 0, 0, io.ErrClosedPipe
}

// ReadByte makes the parser use input itself instead of a buffer of its own.
func (in *input) ReadByte() (byte, error) {
	if in.r == in.w {
		if err := in.fill(); err != nil {
			return 0, err
		}
	}
	if in.token++; in.token > maxToken {
		return 0, in.stop(errTooLarge)
	}
	b := in.buf[in.r]
	in.r++
	return b, nil
}

// Read is there for the type only: xml.NewDecoder wants an io.Reader.
func (in *input) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := in.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = b
	return 1, nil
}

func (in *input) fill() error {
	if in.err != nil {
		return in.err
	}
	for range 100 { // as bufio does: a reader that gives nothing is broken
		n, err := in.src.Read(in.buf[:])
		if in.left -= int64(n); in.left < 0 {
			return in.stop(errTooLarge)
		}
		if n > 0 { // an error with it comes again
			in.r, in.w = 0, n
			return nil
		}
		if err == io.EOF {
			return err
		}
		if err != nil {
			return in.stop(err)
		}
	}
	return in.stop(io.ErrNoProgress)
}

func (in *input) stop(err error) error {
	in.err = err
	return err
}

// failure is what it means that reading stopped; the end of ctx comes before it.
func (in *input) failure() *failure {
	if errors.Is(in.err, errTooLarge) {
		return badAnswer(tooLarge)
	}
	return &failure{kind: ecgrid.ErrBadAnswer, reason: halfAnswer, transient: true}
}

const bom = "\uFEFF"

// skipBOM reads the beginning, however small its portions, and passes over a
// UTF-8 byte order mark.
func (in *input) skipBOM() {
	in.w, _ = io.ReadAtLeast(in.src, in.buf[:], len(bom)) // an error comes again
	in.left -= int64(in.w)
	if bytes.HasPrefix(in.buf[:in.w], []byte(bom)) {
		in.r = len(bom)
	}
}

// answer walks through a SOAP answer, one token at a time.
type answer struct {
	in    *input
	dec   *xml.Decoder
	begun bool // a token was seen
	depth int
	text  []byte // scratch of bytes
}

func newAnswer(in *input) *answer {
	in.skipBOM()
	return &answer{in: in, dec: xml.NewDecoder(in)}
}

// next gives the next StartElement, EndElement or CharData. Comments are passed
// over, and so is the XML declaration where it belongs; SOAP forbids DTDs and
// other processing instructions.
func (a *answer) next() (xml.Token, error) {
	for {
		a.in.token = 0
		t, err := a.dec.Token()
		if err != nil {
			return nil, err
		}
		first := !a.begun
		a.begun = true
		switch t := t.(type) {
		case xml.Comment:
			continue
		case xml.ProcInst:
			if first && t.Target == "xml" {
				continue
			}
			return nil, badAnswer("processing instruction")
		case xml.Directive:
			return nil, badAnswer("DTD")
		case xml.StartElement:
			if a.depth++; a.depth > maxDepth {
				return nil, badAnswer("nested too deeply")
			}
		case xml.EndElement:
			a.depth--
		}
		return t, nil
	}
}

// child gives the next child of the element at hand, or false at its end. Text
// between children must be white space.
func (a *answer) child() (xml.StartElement, bool, error) {
	for {
		t, err := a.next()
		if err != nil {
			return xml.StartElement{}, false, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			return t, true, nil
		case xml.EndElement:
			return xml.StartElement{}, false, nil
		case xml.CharData:
			if !isSpace(t) {
				return xml.StartElement{}, false, badAnswer("text between elements")
			}
		}
	}
}

// children has take consume each child of the element at hand, to its end.
func (a *answer) children(take func(xml.StartElement) error) error {
	for {
		start, ok, err := a.child()
		if err != nil || !ok {
			return err
		}
		if err := take(start); err != nil {
			return err
		}
	}
}

// skip passes over the rest of the element at hand.
func (a *answer) skip() error {
	for outside := a.depth - 1; a.depth > outside; {
		if _, err := a.next(); err != nil {
			return err
		}
	}
	return nil
}

// string reads the element at hand, which must hold text only.
func (a *answer) string() (string, error) {
	t, err := a.bytes()
	return string(t), err
}

// bytes is string without the copy: it is good until the next call.
func (a *answer) bytes() ([]byte, error) {
	a.text = a.text[:0]
	for {
		t, err := a.next()
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			return nil, badAnswer("element within a text")
		case xml.EndElement:
			return a.text, nil
		case xml.CharData:
			if len(a.text)+len(t) > maxToken {
				return nil, badAnswer(tooLarge)
			}
			a.text = append(a.text, t...)
		}
	}
}

// read reads the answer to op to its very end. The result, if there is one, is
// read into to. It counts only with wantResult, a fault always.
func (a *answer) read(op string, wantResult bool, to result) error {
	soap, err := a.root()
	if err != nil {
		return err
	}
	var body bool
	var fault *failure
	err = a.children(func(start xml.StartElement) error {
		switch {
		case start.Name == xml.Name{Space: soap, Local: "Header"} && !body:
			return a.skip()
		case start.Name == xml.Name{Space: soap, Local: "Body"} && !body:
			body = true
			fault, err = a.body(op, soap, wantResult, to)
			return err
		}
		return badAnswer("not a SOAP envelope")
	})
	if err != nil {
		return err
	}
	if !body {
		return badAnswer("no SOAP body")
	}
	if err := a.end(); err != nil {
		return err
	}
	if fault != nil {
		return fault
	}
	return nil
}

// root enters the envelope and tells its namespace.
func (a *answer) root() (string, error) {
	for {
		t, err := a.next()
		if err != nil {
			return "", err
		}
		switch t := t.(type) {
		case xml.CharData:
			if !isSpace(t) {
				return "", badAnswer("not XML")
			}
		case xml.StartElement:
			if t.Name.Local != "Envelope" || t.Name.Space != nsSOAP11 && t.Name.Space != nsSOAP12 {
				return "", badAnswer("not a SOAP envelope")
			}
			return t.Name.Space, nil
		}
	}
}

// body reads the one child of the SOAP body.
func (a *answer) body(op, soap string, wantResult bool, to result) (fault *failure, err error) {
	var seen bool
	err = a.children(func(start xml.StartElement) (err error) {
		isFault := start.Name == xml.Name{Space: soap, Local: "Fault"}
		isResponse := wantResult && soap == nsSOAP11 && isName(start.Name, op, "Response")
		switch {
		case seen:
			return badAnswer("more than one answer")
		case isFault:
			fault, err = a.fault(soap)
		case isResponse:
			err = a.response(op, to)
		default:
			return badAnswer("not the answer to this call")
		}
		seen = true
		return err
	})
	if err == nil && !seen {
		err = badAnswer("empty SOAP body")
	}
	return fault, err
}

// response reads <OpResponse>, in which the result may be absent and nothing else
// may be: what an intermediary puts in its place does not say that there is none.
func (a *answer) response(op string, to result) error {
	var seen bool
	return a.children(func(start xml.StartElement) error {
		switch {
		case !isName(start.Name, op, "Result"):
			return badAnswer(unexpectedElement)
		case seen:
			return badAnswer("more than one result")
		}
		seen = true
		if isNil(start) {
			return a.blank()
		}
		return to.read(a)
	})
}

const (
	unexpectedElement = "an unexpected element"
	notNil            = "nil that holds something"
)

// blank reads the element at hand, which is nil and so must hold nothing.
func (a *answer) blank() error {
	text, err := a.bytes()
	if err == nil && !isSpace(text) {
		err = badAnswer(notNil)
	}
	return err
}

// end makes sure that nothing follows the envelope. It reads to the end of the
// body, which sets the connection free.
func (a *answer) end() error {
	for {
		t, err := a.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if text, ok := t.(xml.CharData); !ok || !isSpace(text) {
			return badAnswer("something follows the answer")
		}
	}
}

// isName compares without joining op and suffix.
func isName(n xml.Name, op, suffix string) bool {
	return n.Space == nsECGrid && len(n.Local) == len(op)+len(suffix) &&
		strings.HasPrefix(n.Local, op) && strings.HasSuffix(n.Local, suffix)
}

func isNil(start xml.StartElement) bool {
	for _, at := range start.Attr {
		if at.Name.Space == nsXSI && at.Name.Local == "nil" {
			v := strings.Trim(at.Value, xmlSpace)
			return v == "true" || v == "1"
		}
	}
	return false
}

const xmlSpace = " \t\r\n"

func isSpace(text []byte) bool {
	for _, b := range text {
		if strings.IndexByte(xmlSpace, b) < 0 {
			return false
		}
	}
	return true
}

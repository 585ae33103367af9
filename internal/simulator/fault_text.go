// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Words of the short form of a fault.
const (
	anyOperation = "*"
	rightAnswer  = "ok"
)

// ParseFault reads a fault in JSON, or in its short form OPERATION=ANSWER,NAME=VALUE,…
// OPERATION may be * for every operation. ANSWER is an answer, a cause, or ok for the right
// answer, which is of use with a delay. An error names what is wrong.
func ParseFault(text string) (f Fault, err error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "{") {
		d := json.NewDecoder(strings.NewReader(text))
		d.DisallowUnknownFields()
		err = d.Decode(&f)
	} else {
		f, err = parseShortFault(text)
	}
	if err != nil {
		return Fault{}, err
	}
	return f, f.check()
}

func parseShortFault(text string) (f Fault, err error) {
	parts := strings.Split(text, ",")
	op, answer, ok := strings.Cut(parts[0], "=")
	if !ok || op == "" {
		return f, errors.New("a fault is a JSON object, or OPERATION=ANSWER,NAME=VALUE,… such as GenerateAPIKey=reset,count=2")
	}
	if answer == "" {
		return f, errors.New("a fault has no answer: write ok for the right one")
	}
	if op != anyOperation {
		f.Op = op
	}
	switch isCause := slices.Contains(FaultCauses, Cause(answer)); {
	case answer == rightAnswer:
	case isCause:
		f.Cause = Cause(answer)
	default:
		f.Answer = Answer(answer)
	}
	for _, part := range parts[1:] {
		name, value, _ := strings.Cut(part, "=")
		i := slices.IndexFunc(faultFields, func(ff faultField) bool { return ff.name == name })
		if i < 0 {
			return f, fmt.Errorf("a fault has no field %q", name)
		}
		if err := faultFields[i].set(&f, value); err != nil {
			return f, fmt.Errorf("%s: %q is not %w", name, value, err)
		}
	}
	return f, nil
}

// faultField is a field of a Fault in the short form.
type faultField struct {
	name string
	json string // its name in JSON
	help string
	set  func(f *Fault, value string) error
}

var faultFields = []faultField{
	{"count", "times", "how many calls fail; all if omitted", intField(func(f *Fault) *int { return &f.Times })},
	{"skip", "skip", "how many calls succeed before that", intField(func(f *Fault) *int { return &f.Skip })},
	{"transport", "transport", "soap or rest; both if omitted", textField(func(f *Fault) *string { return &f.Transport })},
	{"delay", "delay_ns", "wait before the operation", durationField(func(f *Fault) *time.Duration { return &f.Delay })},
	{"delay_answer", "delay_answer_ns", "wait after the operation", durationField(func(f *Fault) *time.Duration { return &f.DelayAnswer })},
	{"apply_late", "apply_late_ns", "apply a ChangePassword or GenerateAPIKey so much later, even if the client hangs up", durationField(func(f *Fault) *time.Duration { return &f.ApplyLate })},
	{"check_early", "check_early", "with apply_late: check the old password when the call arrives", boolField(func(f *Fault) *bool { return &f.CheckEarly })},
	{"cause", "cause", "a cause beside an answer", textField(func(f *Fault) *Cause { return &f.Cause })},
	{"answer", "answer", "an answer beside a cause", textField(func(f *Fault) *Answer { return &f.Answer })},
	{"apply", "apply", "apply the operation even if the answer does not", boolField(func(f *Fault) *bool { return &f.Apply })},
	{"status", "status", "HTTP status of html, status and redirect, and over REST of a cause", intField(func(f *Fault) *int { return &f.Status })},
	{"url", "url", "target of redirect", textField(func(f *Fault) *string { return &f.URL })},
	{"bytes", "bytes", "size of huge", intField(func(f *Fault) *int64 { return &f.Bytes })},
	{"interval", "interval_ns", "pause between the bytes of drip (100ms), and between the answers of twice (none)", durationField(func(f *Fault) *time.Duration { return &f.Interval })},
	{"header", "header", "a header of the answer, as in header=Retry-After:7", addHeader},
	{"echo", "echo", "repeat the request, credentials included, in html and in the text of a cause", boolField(func(f *Fault) *bool { return &f.Echo })},
	{"message", "message", "text of a cause", textField(func(f *Fault) *string { return &f.Message })},
	{"code", "code", "number of a SOAP fault", intField(func(f *Fault) *int { return &f.Code })},
	{"error_code", "error_code", "errorCode over REST", textField(func(f *Fault) *string { return &f.ErrorCode })},
	{"shape", "shape", "form of a SOAP fault's detail: details, error-info, direct, any-child, code-name, code-number, empty", textField(func(f *Fault) *FaultShape { return &f.Shape })},
}

func textField[T ~string](at func(*Fault) *T) func(*Fault, string) error {
	return func(f *Fault, value string) error {
		*at(f) = T(value)
		return nil
	}
}

func intField[T int | int64](at func(*Fault) *T) func(*Fault, string) error {
	return func(f *Fault, value string) error {
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil || n < 0 {
			return errors.New("a whole number of at least 0")
		}
		*at(f) = T(n)
		return nil
	}
}

func durationField(at func(*Fault) *time.Duration) func(*Fault, string) error {
	return func(f *Fault, value string) error {
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return errors.New("a duration such as 500ms or 5s")
		}
		*at(f) = d
		return nil
	}
}

func boolField(at func(*Fault) *bool) func(*Fault, string) error {
	return func(f *Fault, value string) error {
		b, err := strconv.ParseBool(value)
		if err != nil {
			return errors.New("true or false")
		}
		*at(f) = b
		return nil
	}
}

func addHeader(f *Fault, value string) error {
	name, content, ok := strings.Cut(value, ":")
	if !ok || name == "" {
		return errors.New("NAME:VALUE")
	}
	if f.Header == nil {
		f.Header = http.Header{}
	}
	f.Header.Add(name, strings.TrimSpace(content))
	return nil
}

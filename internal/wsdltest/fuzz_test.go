// SPDX-License-Identifier: MPL-2.0

package wsdltest

import (
	"encoding/base64"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"
)

// xsdSpace is what XML Schema collapses. Other white space is part of the value.
const xsdSpace = " \t\r\n"

// otherReaders read the values of each type in another way than lexicalForms. A value that
// is valid is one that they can read.
var otherReaders = map[string]func(string) bool{
	"s:int":          inRange(math.MinInt32, math.MaxInt32),
	"s:short":        inRange(math.MinInt16, math.MaxInt16),
	"s:long":         inRange(math.MinInt64, math.MaxInt64),
	"s:unsignedByte": inRange(0, math.MaxUint8),
	"s:float":        isFloat,
	"s:double":       isFloat,
	"s:decimal": func(v string) bool {
		_, ok := new(big.Rat).SetString(v)
		return ok && strings.Trim(v, "+-.0123456789") == ""
	},
	"s:boolean":  func(v string) bool { _, err := strconv.ParseBool(v); return err == nil },
	"s:dateTime": readsAsTime,
	"s:base64Binary": func(v string) bool {
		_, err := base64.StdEncoding.DecodeString(strings.Map(dropSpace, v))
		return err == nil
	},
}

func dropSpace(r rune) rune {
	if strings.ContainsRune(xsdSpace, r) {
		return -1
	}
	return r
}

func inRange(least, most int64) func(string) bool {
	return func(v string) bool {
		n, ok := new(big.Int).SetString(v, 10)
		return ok && n.Cmp(big.NewInt(least)) >= 0 && n.Cmp(big.NewInt(most)) <= 0
	}
}

func isFloat(v string) bool {
	_, err := strconv.ParseFloat(v, 64)
	return err == nil || strings.Contains(err.Error(), "out of range")
}

// readsAsTime reads a time with or without an offset. A year of more than four digits is
// beyond this reader.
func readsAsTime(v string) bool {
	v = strings.TrimPrefix(v, "-")
	if year, _, _ := strings.Cut(v, "-"); len(year) > 4 {
		return true
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04:05Z07:00"} {
		if _, err := time.Parse(layout, v); err == nil {
			return true
		}
	}
	return false
}

// FuzzValues validates a value of each type. Whatever is valid can be read.
func FuzzValues(f *testing.F) {
	for _, value := range []string{
		"", "1", "-32768", "2147483648", "+7", "007", "-0", "1e3", "INF", "-INF", "+INF", "NaN", "inf", "0x1p3", "1_000", ".", "5.", ".5",
		"true", "0", "True", "2026-01-02T03:04:05.1234567", "2026-02-30T00:00:00", "2026-01-02T03:04:05+99:99", "0000-01-01T00:00:00", "12026-01-02T03:04:05Z",
		"2026-01-02T24:00:00", "QUJD", "QUI=", "=", "Q UJ\nD", "QUJ", "\u00a01", "٥", " 1 ",
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for typ, valid := range lexicalForms {
			if valid(value) && !otherReaders[typ](value) {
				t.Errorf("%q is accepted as %s", value, typ)
			}
		}
	})
}

// FuzzValidateEnvelope validates any message. An error never repeats the value.
func FuzzValidateEnvelope(f *testing.F) {
	const secret = "canary8c1f"
	for _, inner := range []string{"<N>1</N>", "<N>" + secret + "</N>", "<N>1</N><All><One><When>2026-01-02T03:04:05</When></One></All>", "<N i:nil='true'/>", "<!--x--><N>1</N>", "<N>1</N><X/>", "]]>", "<!DOCTYPE a>"} {
		f.Add(inner)
	}
	s, err := Parse(strings.NewReader(testWSDL))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, inner string) {
		with := envelope(`<Get xmlns="urn:t">` + inner + `<N>` + secret + `</N></Get>`)
		if err := s.ValidateEnvelope([]byte(with), "Get"); err == nil || strings.Contains(err.Error(), secret) && !strings.Contains(inner, secret) {
			t.Errorf("%q before a bad value: %v", inner, err)
		}
		_ = s.ValidateEnvelope([]byte(inner), "Get")
		_, _ = Parse(strings.NewReader(inner))
	})
}

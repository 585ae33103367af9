// SPDX-License-Identifier: MPL-2.0

package wsdltest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const testWSDL = `<?xml version="1.0"?>
<wsdl:definitions xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
  xmlns:s="http://www.w3.org/2001/XMLSchema" xmlns:tns="urn:t" targetNamespace="urn:t">
<wsdl:types><s:schema elementFormDefault="qualified" targetNamespace="urn:t">
  <s:element name="Get"><s:complexType><s:sequence>
    <s:element minOccurs="0" maxOccurs="1" name="ID" type="s:string"/>
    <s:element minOccurs="1" maxOccurs="1" name="N" type="s:int"/>
    <s:element minOccurs="0" maxOccurs="1" name="All" type="tns:All"/>
  </s:sequence></s:complexType></s:element>
  <s:element name="None"><s:complexType/></s:element>
  <s:complexType name="All"><s:sequence>
    <s:element minOccurs="0" maxOccurs="unbounded" name="One" nillable="true" type="tns:One"/>
  </s:sequence></s:complexType>
  <s:complexType name="One"><s:sequence>
    <s:element minOccurs="0" maxOccurs="1" name="Short" type="s:short"/>
    <s:element minOccurs="0" maxOccurs="1" name="Float" type="s:float"/>
    <s:element minOccurs="0" maxOccurs="1" name="Bool" type="s:boolean"/>
    <s:element minOccurs="0" maxOccurs="1" name="When" type="s:dateTime"/>
    <s:element minOccurs="0" maxOccurs="1" name="Level" type="tns:Level"/>
  </s:sequence></s:complexType>
  <s:simpleType name="Level"><s:restriction base="s:string"><s:enumeration value="High"/><s:enumeration value="Low"/></s:restriction></s:simpleType>
</s:schema></wsdl:types>
<wsdl:message name="GetIn"><wsdl:part name="parameters" element="tns:Get"/></wsdl:message>
<wsdl:portType name="P"><wsdl:operation name="Get"><wsdl:input message="tns:GetIn"/></wsdl:operation></wsdl:portType>
<wsdl:binding name="B" type="tns:P"><soap:binding transport="urn:http"/><wsdl:operation name="Get">
  <soap:operation soapAction="urn:t/Get" style="document"/><wsdl:input><soap:body use="literal"/></wsdl:input></wsdl:operation></wsdl:binding>
<wsdl:service name="S"><wsdl:port name="Q" binding="tns:B"><soap:address location="http://one/"/></wsdl:port></wsdl:service>
</wsdl:definitions>`

func parse(t *testing.T, wsdl string) *Schema {
	t.Helper()
	s, err := Parse(strings.NewReader(wsdl))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func envelope(body string) string {
	return `<?xml version="1.0" encoding="utf-8"?><e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" xmlns:i="` + xsi + `"><e:Body>` + body + `</e:Body></e:Envelope>`
}

func record(inner string) string {
	return envelope(`<Get xmlns="urn:t"><N>1</N><All><One>` + inner + `</One></All></Get>`)
}

func TestValidateEnvelope(t *testing.T) {
	t.Parallel()
	s := parse(t, testWSDL)
	for name, c := range map[string]struct{ message, wrong string }{
		"complete":                       {envelope(`<Get xmlns="urn:t"><ID>a</ID><N>1</N><All/></Get>`), ""},
		"optional left out":              {envelope(`<Get xmlns="urn:t"><N> -7 </N></Get>`), ""},
		"other prefix":                   {envelope(`<x:Get xmlns:x="urn:t"><x:N>1</x:N></x:Get>`), ""},
		"soap 1.2":                       {strings.Replace(envelope(`<Get xmlns="urn:t"><N>1</N></Get>`), "http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope", 1), ""},
		"header":                         {strings.Replace(envelope(`<Get xmlns="urn:t"><N>1</N></Get>`), "<e:Body>", "<e:Header/><e:Body>", 1), ""},
		"nil":                            {envelope(`<Get xmlns="urn:t"><N>1</N><All><One i:nil="true"/><One/></All></Get>`), ""},
		"values":                         {record(`<Short>-32768</Short><Float>-5.5e1</Float><Bool>1</Bool><When>2026-01-02T03:04:05.1234567</When><Level>Low</Level>`), ""},
		"year one":                       {record(`<When>0001-01-01T00:00:00</When>`), ""},
		"infinite":                       {record(`<Float>-INF</Float>`), ""},
		"required missing":               {envelope(`<Get xmlns="urn:t"><ID>a</ID></Get>`), "N is missing"},
		"order":                          {envelope(`<Get xmlns="urn:t"><N>1</N><ID>a</ID></Get>`), "ID is unknown, out of order"},
		"twice":                          {envelope(`<Get xmlns="urn:t"><ID>a</ID><ID>a</ID><N>1</N></Get>`), "N is missing"},
		"too many":                       {envelope(`<Get xmlns="urn:t"><N>1</N><N>1</N></Get>`), "too many"},
		"unknown":                        {envelope(`<Get xmlns="urn:t"><N>1</N><X/></Get>`), "X is unknown"},
		"unqualified child":              {envelope(`<Get xmlns="urn:t"><N xmlns="">1</N></Get>`), "N is missing"},
		"wrong namespace":                {envelope(`<Get xmlns="urn:u"><N>1</N></Get>`), "want {urn:t}Get"},
		"wrong element":                  {envelope(`<None xmlns="urn:t"/>`), "want {urn:t}Get"},
		"text":                           {envelope(`<Get xmlns="urn:t">a<N>1</N></Get>`), "text between"},
		"elements in a value":            {envelope(`<Get xmlns="urn:t"><N><N>1</N></N></Get>`), "elements in a value"},
		"attribute":                      {envelope(`<Get xmlns="urn:t" a="1"><N>1</N></Get>`), "attribute a"},
		"nil not nillable":               {envelope(`<Get xmlns="urn:t"><N i:nil="true"/></Get>`), "not nillable"},
		"nil not empty":                  {envelope(`<Get xmlns="urn:t"><N>1</N><All><One i:nil="1"><Short>1</Short></One></All></Get>`), "not empty"},
		"int empty":                      {envelope(`<Get xmlns="urn:t"><N/></Get>`), "valid s:int"},
		"int words":                      {envelope(`<Get xmlns="urn:t"><N>one</N></Get>`), "valid s:int"},
		"int hexadecimal":                {envelope(`<Get xmlns="urn:t"><N>0x10</N></Get>`), "valid s:int"},
		"int too large":                  {envelope(`<Get xmlns="urn:t"><N>2147483648</N></Get>`), "valid s:int"},
		"short too large":                {record(`<Short>32768</Short>`), "valid s:short"},
		"float words":                    {record(`<Float>Infinity</Float>`), "valid s:float"},
		"float hexadecimal":              {record(`<Float>0x1p3</Float>`), "valid s:float"},
		"boolean of .NET":                {record(`<Bool>True</Bool>`), "valid s:boolean"},
		"date only":                      {record(`<When>2026-01-02</When>`), "valid s:dateTime"},
		"February 30":                    {record(`<When>2026-02-30T00:00:00</When>`), "valid s:dateTime"},
		"an offset of 99 hours":          {record(`<When>2026-01-02T00:00:00+99:00</When>`), "valid s:dateTime"},
		"no-break space":                 {record("<Short>\u00a01</Short>"), "valid s:short"},
		"no-break space beside elements": {envelope("<Get xmlns=\"urn:t\">\u00a0<N>1</N></Get>"), "text between"},
		"month 13":                       {record(`<When>2026-13-02T00:00:00</When>`), "valid s:dateTime"},
		"enum":                           {record(`<Level>high</Level>`), "not a value of Level"},
		"enum empty":                     {record(`<Level/>`), "not a value of Level"},
		"not an envelope":                {`<a/>`, "not a SOAP envelope"},
		"half":                           {`<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/">`, "not well-formed"},
		"two in the body":                {envelope(`<Get xmlns="urn:t"><N>1</N></Get><Get xmlns="urn:t"><N>1</N></Get>`), "one Body"},
		"after the envelope":             {envelope(`<Get xmlns="urn:t"><N>1</N></Get>`) + "<a/>", "data after the envelope"},
		"dtd":                            {strings.Replace(envelope(`<Get xmlns="urn:t"><N>1</N></Get>`), "?>", "?><!DOCTYPE a>", 1), "no DTD"},
		"Latin-1":                        {envelope("<Get xmlns=\"urn:t\"><ID>\xe9</ID><N>1</N></Get>"), "not well-formed"},
		"another body's fault":           {envelope(`<e:Fault/>`), "want {urn:t}Get"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantError(t, s.ValidateEnvelope([]byte(c.message), "Get"), c.wrong)
		})
	}
	wantError(t, s.ValidateEnvelope([]byte(envelope(`<None xmlns="urn:t"/>`)), "None"), "")
	wantError(t, s.ValidateEnvelope([]byte(envelope(`<None xmlns="urn:t"><N>1</N></None>`)), "None"), "N is unknown")
	wantError(t, s.ValidateEnvelope([]byte(envelope(`<Get/>`)), "Got"), "declares no element Got")
}

func TestErrorsRepeatNoValue(t *testing.T) {
	t.Parallel()
	const secret = "canary-value"
	s := parse(t, testWSDL)
	for _, message := range []string{
		envelope(`<Get xmlns="urn:t"><N>` + secret + `</N></Get>`),
		envelope(`<Get xmlns="urn:t">` + secret + `<N>1</N></Get>`),
		envelope(`<Get xmlns="urn:t"><N a="` + secret + `">1</N></Get>`),
		record(`<Level>` + secret + `</Level>`),
		envelope(`<Get xmlns="urn:t"><N>1</N></Get>` + secret + `<`),
	} {
		if err := s.ValidateEnvelope([]byte(message), "Get"); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("want an error without the value, got %v", err)
		}
	}
}

func TestWithin(t *testing.T) {
	t.Parallel()
	large := parse(t, testWSDL)
	for name, c := range map[string]struct{ old, new, wrong string }{
		"same":               {"", "", ""},
		"other address":      {"http://one/", "https://two/", ""},
		"fewer elements":     {`<s:element name="None"><s:complexType/></s:element>`, "", ""},
		"element unknown":    {`name="None"`, `name="Nothing"`, "element Nothing"},
		"type unknown":       {`<s:complexType name="One"`, `<s:complexType name="Won"`, "complexType Won"},
		"optional now":       {`minOccurs="1"`, `minOccurs="0"`, "element Get"},
		"other type":         {`type="s:short"`, `type="s:int"`, "complexType One"},
		"nillable no more":   {` nillable="true"`, ``, "complexType All"},
		"enum value missing": {`<s:enumeration value="High"/>`, ``, "simpleType Level"},
		"message part":       {`element="tns:Get"`, `element="tns:None"`, "message GetIn"},
		"port type":          {`portType name="P"`, `portType name="PP"`, "portType PP"},
		"operation message":  {`input message="tns:GetIn"`, `input message="tns:Get"`, "operation of portType P Get"},
		"binding":            {`binding name="B"`, `binding name="BB"`, "binding BB"},
		"transport":          {"urn:http", "urn:smtp", "binding B"},
		"action":             {"urn:t/Get", "urn:t/get", "operation of binding B Get"},
		"style":              {`style="document"`, `style="rpc"`, "operation of binding B Get"},
		"use":                {`use="literal"`, `use="encoded"`, "operation of binding B Get"},
		"soap version":       {"http://schemas.xmlsoap.org/wsdl/soap/", "http://schemas.xmlsoap.org/wsdl/soap12/", "binding B"},
		"port":               {`port name="Q"`, `port name="R"`, "port S/R"},
		"port's binding":     {`binding="tns:B"`, `binding="tns:C"`, "port S/Q"},
		"binding's type":     {`name="B" type="tns:P"`, `name="B" type="tns:R"`, "binding B"},
		"address's version":  {`<soap:address`, `<x:address xmlns:x="http://schemas.xmlsoap.org/wsdl/soap12/"`, "port S/Q"},
		"namespace":          {`"urn:t"`, `"urn:u"`, "target namespace"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantError(t, parse(t, strings.ReplaceAll(testWSDL, c.old, c.new)).Within(large), c.wrong)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for name, wsdl := range map[string]string{
		"html":        "<html></html>",
		"no elements": `<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" targetNamespace="urn:t"/>`,
		"half":        testWSDL[:len(testWSDL)/2],
	} {
		if _, err := Parse(strings.NewReader(wsdl)); err == nil {
			t.Errorf("%s: taken for a WSDL", name)
		}
	}
}

func TestVendorPath(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.wsdl")
	t.Setenv("ECGRID_WSDL", file)
	if _, ok := VendorPath(); ok {
		t.Error("a file that does not exist was found")
	}
	if err := os.WriteFile(file, []byte(testWSDL), 0o600); err != nil {
		t.Fatal(err)
	}
	if path, ok := VendorPath(); !ok || path != file {
		t.Errorf("ECGRID_WSDL is not used: %q, %v", path, ok)
	}
	root := t.TempDir()
	below := filepath.Join(root, "repo", "pkg")
	want := filepath.Join(root, filepath.FromSlash(VendorFile))
	for _, dir := range []string{below, filepath.Dir(want)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(want, []byte(testWSDL), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ECGRID_WSDL", "")
	t.Chdir(below)
	if path, ok := VendorPath(); !ok || path != want {
		t.Errorf("walking up found %q, %v, want %q", path, ok, want)
	}
}

// What other tests need can be read from the vendor's own WSDL.
func TestVendor(t *testing.T) {
	path, ok := VendorPath()
	if !ok {
		t.Skipf("%s is not above this directory, and ECGRID_WSDL names no file", VendorFile)
	}
	s, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range []string{"Login", "UserGetAPIKey", "GenerateAPIKey"} {
		if !s.Operations()[op] {
			t.Errorf("operation %s is not there", op)
		}
	}
	const ns = ` xmlns="https://os.ecgrid.io/"`
	wantError(t, s.ValidateEnvelope([]byte(envelope("<UserGetAPIKey"+ns+"><SessionID>a</SessionID><UserID>5001</UserID></UserGetAPIKey>")), "UserGetAPIKey"), "")
	wantError(t, s.ValidateEnvelope([]byte(envelope("<UserGetAPIKey"+ns+"><SessionID>a</SessionID></UserGetAPIKey>")), "UserGetAPIKey"), "UserID is missing")
	wantError(t, s.Within(s), "")
}

func wantError(t *testing.T, err error, wrong string) {
	t.Helper()
	if wrong == "" && err != nil {
		t.Errorf("refused: %v", err)
	}
	if wrong != "" && (err == nil || !strings.Contains(err.Error(), wrong)) {
		t.Errorf("got %v, want an error with %q", err, wrong)
	}
}

// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"maps"
	"net/http"
	"slices"
)

// Names in the vendor's WSDL. Toolkits generate proxies from them.
const (
	serviceName = "ECGridOS_x0020_API_x0020_v4"
	portName    = serviceName + "Soap"
	port12Name  = serviceName + "Soap12"
)

func (s *Simulator) serveWSDL(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	_, _ = w.Write(WSDL(baseURL(r) + SOAPPath)) // the client may have left
}

// baseURL is the simulator's URL as the client called it.
func baseURL(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// WSDL is the vendor's service description, reduced to the operations of the simulator,
// with the given address.
func WSDL(address string) []byte {
	x := &xmlWriter{}
	x.WriteString(`<?xml version="1.0" encoding="utf-8"?>`)
	x.open("wsdl:definitions",
		"xmlns:wsdl", "http://schemas.xmlsoap.org/wsdl/",
		"xmlns:soap", "http://schemas.xmlsoap.org/wsdl/soap/",
		"xmlns:soap12", "http://schemas.xmlsoap.org/wsdl/soap12/",
		"xmlns:s", "http://www.w3.org/2001/XMLSchema",
		"xmlns:tns", Namespace,
		"targetNamespace", Namespace)
	writeTypes(x)
	writeMessages(x)
	writePortType(x)
	writeBinding(x, portName, "soap")
	writeBinding(x, port12Name, "soap12")
	writeService(x, address)
	x.close("wsdl:definitions")
	return x.Bytes()
}

func writeTypes(x *xmlWriter) {
	x.open("wsdl:types")
	x.open("s:schema", "elementFormDefault", "qualified", "targetNamespace", Namespace)
	for _, op := range operations {
		writeElement(x, op.name, op.in)
		writeElement(x, op.name+"Response", []field{op.out})
	}
	for _, t := range complexTypes {
		x.open("s:complexType", "name", t.name)
		writeSequence(x, t.fields)
		x.close("s:complexType")
	}
	for _, name := range slices.Sorted(maps.Keys(enums)) {
		x.open("s:simpleType", "name", name)
		x.open("s:restriction", "base", "s:string")
		for _, v := range enums[name] {
			x.empty("s:enumeration", "value", v)
		}
		x.close("s:restriction")
		x.close("s:simpleType")
	}
	x.close("s:schema")
	x.close("wsdl:types")
}

func writeElement(x *xmlWriter, name string, fields []field) {
	x.open("s:element", "name", name)
	if len(fields) == 0 {
		x.empty("s:complexType")
	} else {
		x.open("s:complexType")
		writeSequence(x, fields)
		x.close("s:complexType")
	}
	x.close("s:element")
}

func writeSequence(x *xmlWriter, fields []field) {
	x.open("s:sequence")
	for _, f := range fields {
		x.empty("s:element", f.attrs()...)
	}
	x.close("s:sequence")
}

func (f field) attrs() []string {
	least, most := "0", "1"
	if f.required {
		least = "1"
	}
	if f.many {
		most = "unbounded"
	}
	attrs := []string{"minOccurs", least, "maxOccurs", most, "name", f.name}
	if f.many {
		attrs = append(attrs, "nillable", "true")
	}
	return append(attrs, "type", prefixed(f.typ))
}

// prefixed is a reference to a type of this schema or of XML Schema.
func prefixed(typ string) string {
	if fieldsOf(typ) != nil || enums[typ] != nil {
		return "tns:" + typ
	}
	return "s:" + typ
}

// directions are the two messages of an operation and the suffixes of their elements.
var directions = []struct{ name, message, element string }{
	{"wsdl:input", "SoapIn", ""},
	{"wsdl:output", "SoapOut", "Response"},
}

func writeMessages(x *xmlWriter) {
	for _, op := range operations {
		for _, d := range directions {
			x.open("wsdl:message", "name", op.name+d.message)
			x.empty("wsdl:part", "name", "parameters", "element", "tns:"+op.name+d.element)
			x.close("wsdl:message")
		}
	}
}

func writePortType(x *xmlWriter) {
	x.open("wsdl:portType", "name", portName)
	for _, op := range operations {
		x.open("wsdl:operation", "name", op.name)
		for _, d := range directions {
			x.empty(d.name, "message", "tns:"+op.name+d.message)
		}
		x.close("wsdl:operation")
	}
	x.close("wsdl:portType")
}

// writeBinding writes the binding of a SOAP version; prefix is soap or soap12.
func writeBinding(x *xmlWriter, name, prefix string) {
	x.open("wsdl:binding", "name", name, "type", "tns:"+portName)
	x.empty(prefix+":binding", "transport", "http://schemas.xmlsoap.org/soap/http")
	for _, op := range operations {
		x.open("wsdl:operation", "name", op.name)
		x.empty(prefix+":operation", "soapAction", Namespace+op.name, "style", "document")
		for _, d := range directions {
			x.open(d.name)
			x.empty(prefix+":body", "use", "literal")
			x.close(d.name)
		}
		x.close("wsdl:operation")
	}
	x.close("wsdl:binding")
}

func writeService(x *xmlWriter, address string) {
	x.open("wsdl:service", "name", serviceName)
	for _, p := range []struct{ name, prefix string }{{portName, "soap"}, {port12Name, "soap12"}} {
		x.open("wsdl:port", "name", p.name, "binding", "tns:"+p.name)
		x.empty(p.prefix+":address", "location", address)
		x.close("wsdl:port")
	}
	x.close("wsdl:service")
}

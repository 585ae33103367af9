// SPDX-License-Identifier: MPL-2.0

// Package wsdltest checks SOAP messages and WSDLs against a WSDL, in tests. It is made for
// the vendor's WSDL, which is not in this repository.
//
// It supports the part of XML Schema that .NET's .asmx services use: sequences of elements,
// enumerations, and the types string, int, short, long, unsignedByte, float, double,
// decimal, boolean, dateTime and base64Binary.
package wsdltest

import (
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// VendorFile is the path of the vendor's WSDL, relative to a directory above the
// repository.
const VendorFile = "shared/ecgrid/ECGridOS.wsdl"

// VendorPath finds the vendor's WSDL: the file that ECGRID_WSDL names, or else VendorFile
// in any directory above the working directory.
func VendorPath() (string, bool) {
	if path := os.Getenv("ECGRID_WSDL"); path != "" {
		return path, exists(path)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", false
	}
	for {
		path := filepath.Join(dir, VendorFile)
		if exists(path) {
			return path, true
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", false
		}
		dir = parent
	}
}

func exists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// Schema is one WSDL: its types, messages, port types, bindings and ports.
type Schema struct {
	namespace string
	elements  map[string]element
	complex   map[string]complexType
	simple    map[string]simpleType
	messages  map[string]message
	portTypes map[string]portType
	bindings  map[string]binding
	ports     map[string]port // keyed by service/port
}

// Load reads a WSDL file.
func Load(path string) (*Schema, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s, err := Parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Parse reads a WSDL.
func Parse(r io.Reader) (*Schema, error) {
	var d definitions
	if err := xml.NewDecoder(r).Decode(&d); err != nil {
		return nil, err
	}
	s := &Schema{
		namespace: d.TargetNamespace,
		messages:  byName(d.Messages), portTypes: byName(d.PortTypes), bindings: byName(d.Bindings),
		ports: map[string]port{},
	}
	for _, schema := range d.Schemas {
		if schema.TargetNamespace != d.TargetNamespace {
			continue // the vendor's second schema is for HTTP GET and POST
		}
		s.elements, s.complex, s.simple = byName(schema.Elements), byName(schema.Complex), byName(schema.Simple)
	}
	if len(s.elements) == 0 {
		return nil, fmt.Errorf("no elements in namespace %q: not a WSDL, or not one with literal encoding", d.TargetNamespace)
	}
	for _, service := range d.Services {
		for _, p := range service.Ports {
			s.ports[service.Name+"/"+p.Name] = p
		}
	}
	return s, nil
}

// Operations returns the names of the SOAP operations that have a binding.
func (s *Schema) Operations() map[string]bool {
	names := map[string]bool{}
	for _, b := range s.bindings {
		for _, op := range b.Operations {
			if op.SOAP.Action != "" {
				names[op.Name] = true
			}
		}
	}
	return names
}

// Addresses returns the soap:address of each service/port.
func (s *Schema) Addresses() map[string]string {
	all := map[string]string{}
	for name, p := range s.ports {
		all[name] = p.Address.Location
	}
	return all
}

type named struct {
	Name string `xml:"name,attr"`
}

func (n named) name() string { return n.Name }

func byName[T interface{ name() string }](list []T) map[string]T {
	m := make(map[string]T, len(list))
	for _, v := range list {
		m[v.name()] = v
	}
	return m
}

type definitions struct {
	XMLName         xml.Name   `xml:"http://schemas.xmlsoap.org/wsdl/ definitions"`
	TargetNamespace string     `xml:"targetNamespace,attr"`
	Schemas         []schema   `xml:"types>schema"`
	Messages        []message  `xml:"message"`
	PortTypes       []portType `xml:"portType"`
	Bindings        []binding  `xml:"binding"`
	Services        []struct {
		named
		Ports []port `xml:"port"`
	} `xml:"service"`
}

type schema struct {
	TargetNamespace string        `xml:"targetNamespace,attr"`
	Elements        []element     `xml:"element"`
	Complex         []complexType `xml:"complexType"`
	Simple          []simpleType  `xml:"simpleType"`
}

type element struct {
	named
	Ref      string       `xml:"ref,attr"`
	Type     string       `xml:"type,attr"`
	Min      string       `xml:"minOccurs,attr"`
	Max      string       `xml:"maxOccurs,attr"`
	Nillable bool         `xml:"nillable,attr"`
	Complex  *complexType `xml:"complexType"`
}

type complexType struct {
	named
	Sequence []element  `xml:"sequence>element"`
	Any      []struct{} `xml:"sequence>any"`
}

type simpleType struct {
	named
	Restriction struct {
		Base string        `xml:"base,attr"`
		Enum []enumeration `xml:"enumeration"`
	} `xml:"restriction"`
}

type enumeration struct {
	Value string `xml:"value,attr"`
}

type message struct {
	named
	Parts []struct {
		named
		Element string `xml:"element,attr"`
		Type    string `xml:"type,attr"`
	} `xml:"part"`
}

type portType struct {
	named
	Operations []portOperation `xml:"operation"`
}

type portOperation struct {
	named
	Input struct {
		Message string `xml:"message,attr"`
	} `xml:"input"`
	Output struct {
		Message string `xml:"message,attr"`
	} `xml:"output"`
}

type binding struct {
	named
	Type string `xml:"type,attr"`
	SOAP struct {
		XMLName   xml.Name
		Transport string `xml:"transport,attr"`
	} `xml:"binding"`
	Operations []boundOperation `xml:"operation"`
}

type boundOperation struct {
	named
	SOAP struct {
		XMLName xml.Name
		Action  string `xml:"soapAction,attr"`
		Style   string `xml:"style,attr"`
	} `xml:"operation"`
	Input  bodyUse `xml:"input"`
	Output bodyUse `xml:"output"`
}

type bodyUse struct {
	Body struct {
		XMLName xml.Name
		Use     string `xml:"use,attr"`
	} `xml:"body"`
}

type port struct {
	named
	Binding string `xml:"binding,attr"`
	Address struct {
		XMLName  xml.Name
		Location string `xml:"location,attr"`
	} `xml:"address"`
}

// local returns a qualified name without its prefix.
func local(qname string) string { return qname[strings.LastIndexByte(qname, ':')+1:] }

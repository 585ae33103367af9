// SPDX-License-Identifier: MPL-2.0

package wsdltest

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// Within checks that a WSDL is a part of a larger one: everything it declares (elements,
// types, messages, operations, bindings, ports) must be in the larger one, unchanged. Only
// addresses may differ.
func (s *Schema) Within(larger *Schema) error {
	errs := []error{
		sameParts("element", s.elements, larger.elements),
		sameParts("complexType", s.complex, larger.complex),
		sameParts("simpleType", s.simple, larger.simple),
		sameParts("message", s.messages, larger.messages),
	}
	if s.namespace != larger.namespace {
		errs = append(errs, fmt.Errorf("target namespace: %q, want %q", s.namespace, larger.namespace))
	}
	for _, name := range slices.Sorted(maps.Keys(s.portTypes)) {
		big, ok := larger.portTypes[name]
		if !ok {
			errs = append(errs, missing("portType", name))
			continue
		}
		errs = append(errs, sameParts("operation of portType "+name, byName(s.portTypes[name].Operations), byName(big.Operations)))
	}
	for _, name := range slices.Sorted(maps.Keys(s.bindings)) {
		errs = append(errs, s.bindings[name].within(larger.bindings))
	}
	for _, name := range slices.Sorted(maps.Keys(s.ports)) {
		errs = append(errs, s.ports[name].within(name, larger.ports))
	}
	return errors.Join(errs...)
}

func (b binding) within(larger map[string]binding) error {
	big, ok := larger[b.Name]
	if !ok {
		return missing("binding", b.Name)
	}
	if b.Type != big.Type || b.SOAP != big.SOAP {
		return fmt.Errorf("binding %s: different type, SOAP version or transport", b.Name)
	}
	return sameParts("operation of binding "+b.Name, byName(b.Operations), byName(big.Operations))
}

func (p port) within(name string, larger map[string]port) error {
	big, ok := larger[name]
	if !ok {
		return missing("port", name)
	}
	if p.Binding != big.Binding || p.Address.XMLName != big.Address.XMLName {
		return fmt.Errorf("port %s: different binding or SOAP version", name)
	}
	return nil
}

// sameParts checks that small is a subset of large. It compares the prefixes of qualified
// names too: both WSDLs must use those of .NET.
func sameParts[T any](kind string, small, large map[string]T) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(small)) {
		big, ok := large[name]
		if !ok {
			errs = append(errs, missing(kind, name))
			continue
		}
		if !reflect.DeepEqual(small[name], big) {
			errs = append(errs, fmt.Errorf("%s %s: %+v, want %+v", kind, name, small[name], big))
		}
	}
	return errors.Join(errs...)
}

func missing(kind, name string) error {
	return fmt.Errorf("%s %s is not in the other WSDL", kind, name)
}

package soap

import (
	"io"
	"net/http"
	"testing"

	"vault-plugin-ecgrid/internal/wsdltest"
)

// What goes out, and what these tests answer, is held against the vendor's WSDL.
func TestVendorWSDL(t *testing.T) {
	t.Parallel()
	path, ok := wsdltest.VendorPath()
	if !ok {
		t.Skipf("the vendor's WSDL is not here: no %s above this directory", wsdltest.VendorFile)
	}
	schema, err := wsdltest.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range everyOp {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			var request []byte
			answer := response(op.name, op.result)
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				request, _ = io.ReadAll(r.Body)
				answerWith(200, answer)(w, r)
			})
			if _, err := op.call(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if !schema.Operations()[op.name] {
				t.Error("not an operation of the WSDL")
			}
			if err := schema.ValidateEnvelope(request, op.name); err != nil {
				t.Errorf("the request: %v", err)
			}
			if err := schema.ValidateEnvelope([]byte(answer), op.name+"Response"); err != nil {
				t.Errorf("the answer of these tests: %v", err)
			}
		})
	}
}

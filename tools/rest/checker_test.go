// SPDX-License-Identifier: MPL-2.0

package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"vault-plugin-ecgrid/internal/simulator"
)

// loadDocument returns the simulator's document. It is valid OpenAPI 3.0.
func loadDocument(t *testing.T, server string) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(simulator.OpenAPI(server))
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// checker passes requests to the simulator, and checks them and the answers against the
// document.
type checker struct {
	t      *testing.T
	sim    http.Handler
	router routers.Router

	mu   sync.Mutex
	used map[string]bool
}

func newChecker(t *testing.T, doc *openapi3.T, sim http.Handler) *checker {
	t.Helper()
	doc.Servers = openapi3.Servers{{URL: simulator.RESTPath}} // wherever it listens
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return &checker{t: t, sim: sim, router: router, used: map[string]bool{}}
}

// operations are the operations that were called and answered with success.
func (c *checker) operations() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.used))
}

func (c *checker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Error(err)
		return
	}
	answer := httptest.NewRecorder()
	r.Body = io.NopCloser(bytes.NewReader(body))
	c.sim.ServeHTTP(answer, r)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err := c.check(r, answer); err != "" {
		c.t.Errorf("%s %s: HTTP %d: %s", r.Method, r.URL.Path, answer.Code, err)
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes()) // the client may have left
}

// check returns what is wrong, without the values. A request that the document refuses must
// be refused by the simulator with 400.
func (c *checker) check(r *http.Request, answer *httptest.ResponseRecorder) string {
	route, params, err := c.router.FindRoute(r)
	if err != nil {
		return "no such route in the document"
	}
	in := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Route: route,
		Options: &openapi3filter.Options{IncludeResponseStatus: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}
	if err := openapi3filter.ValidateRequest(r.Context(), in); err != nil && answer.Code != http.StatusBadRequest {
		return "the document does not allow this request, and the simulator does"
	}
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: answer.Code, Header: answer.Header(), Options: in.Options,
		Body: io.NopCloser(bytes.NewReader(answer.Body.Bytes())),
	}
	if err := openapi3filter.ValidateResponse(context.WithoutCancel(r.Context()), out); err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n") // the schema and the value follow
		return first
	}
	if answer.Code == http.StatusOK {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.used[route.Operation.OperationID] = true
	}
	return ""
}

// TestCheckerSeesWrongAnswers keeps the checker from accepting everything.
func TestCheckerSeesWrongAnswers(t *testing.T) {
	t.Parallel()
	sim, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	admin, _ := sim.User(simulator.AdminUserID)
	c := newChecker(t, loadDocument(t, "http://sim.test"+simulator.RESTPath), sim)
	for answer, right := range map[simulator.Answer]bool{
		"": true, simulator.AnswerNullResult: false, simulator.AnswerAbsentResult: false, simulator.AnswerEmptyResult: false,
		simulator.AnswerWrongType: false, simulator.AnswerWrongNamespace: false, simulator.AnswerHTML: false, simulator.AnswerTruncated: false,
	} {
		clear := sim.Inject(simulator.Fault{Answer: answer})
		r := httptest.NewRequest(http.MethodGet, simulator.RESTPath+"/users/me", nil)
		r.Header.Set("X-API-Key", admin.APIKey)
		w := httptest.NewRecorder()
		sim.ServeHTTP(w, r)
		if err := c.check(r, w); (err == "") != right {
			t.Errorf("%q: %q", answer, err)
		}
		clear()
	}
}

// The document that the simulator serves is the one that is checked here.
func TestServedDocument(t *testing.T) {
	t.Parallel()
	sim, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	sim.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://sim.test"+simulator.RESTPath+simulator.OpenAPIPath, nil))
	if !json.Valid(w.Body.Bytes()) || !bytes.Equal(w.Body.Bytes(), simulator.OpenAPI("http://sim.test"+simulator.RESTPath)) {
		t.Error("another document is served")
	}
}

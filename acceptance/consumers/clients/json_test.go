// SPDX-License-Identifier: MPL-2.0

package clients

import (
	"encoding/base64"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vault-plugin-ecgrid/acceptance/consumertest"
)

// documents are answers of which Go and the Java client must think the same.
var documents = []string{
	`{"data":{"api_key":"a-key"}}`,
	` { "lease_id" : "" , "data" : { "user_id" : 5001 , "api_key" : "k" , "x" : [ 1 , { } , [ ] ] } , "auth" : null } `,
	"\t{\"data\"\n:\r{\"api_key\":\"k\"}}\n",
	`{"data":{"api_key":"\"\\\/\b\f\n\r\t\u0041\u00e9\ud83d\ude00é😀"}}`,
	`{"data":{"api_key":"first","api_key":"last"}}`,
	`{"api_key":"outside","data":{}}`,
	`{"data":{"note":"\"api_key\":\"inside\"","api_key":"right"}}`,
	`{"data":{"api_key":7}}`, `{"data":{"api_key":null}}`, `{"data":null}`, `{"data":"text"}`, `[{"data":1}]`,
	`"text"`, `true`, `null`, `-0`, `1.5e-7`, `0.10E+2`,
	``, ` `, `{`, `[`, `"`, `"\`, `{"data":{"api_key":"k"}`, `{"data":{"api_key":"k"}}}`, `{"data":{"api_key":"k"}} x`,
	`{"a":1,}`, `[1,]`, `[,1]`, `{,}`, `{"a"}`, `{"a":}`, `{a:1}`, `{'a':1}`, `{"a":1 "b":2}`, `[1 2]`,
	`01`, `+1`, `.5`, `1.`, `1e`, `0x1`, `NaN`, `tru`, `True`, `--1`,
	`"\x"`, `"\u12"`, `"\u12g4"`, "\"a\nb\"", "\"a\x00b\"", "{}\x00", "\ufeff{}",
	strings.Repeat("[", 60) + strings.Repeat("]", 60),
}

func TestJavaJSON(t *testing.T) {
	t.Parallel()
	all := programs()
	java := all[slices.IndexFunc(all, func(p program) bool { return p.name == "Java" })]
	if why := java.missing(); why != "" {
		t.Skip(why)
	}
	consumertest.Must(t, java.err)
	var input strings.Builder
	for _, document := range append(documents, strings.Repeat("[", 100)+strings.Repeat("]", 100)) {
		input.WriteString(base64.StdEncoding.EncodeToString([]byte(document)) + "\n")
	}
	command := append(javaCommand(filepath.Join(workDir, java.dir)), javaPackage+".JsonCheck")
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin = strings.NewReader(input.String())
	out, err := cmd.Output()
	consumertest.Must(t, err)
	results := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(results) != len(documents)+1 {
		t.Fatalf("%d results for %d documents", len(results), len(documents)+1)
	}
	for i, document := range documents {
		if want := meaning(document); results[i] != want {
			t.Errorf("%q: %s, and Go says %s", document, results[i], want)
		}
	}
	if last := results[len(documents)]; last != "not JSON" {
		t.Errorf("100 nested arrays: %s", last)
	}
}

// meaning is what JsonCheck should print.
func meaning(document string) string {
	var whole any
	if json.Unmarshal([]byte(document), &whole) != nil {
		return "not JSON"
	}
	object, _ := whole.(map[string]any)
	data, _ := object["data"].(map[string]any)
	key, isString := data["api_key"].(string)
	if !isString {
		return "no string"
	}
	return "string " + base64.StdEncoding.EncodeToString([]byte(key))
}

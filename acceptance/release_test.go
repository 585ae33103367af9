package acceptance

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/x509"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

const firstVersion, nextVersion = "v0.1.0", "v0.2.0"

// release is a dist/ that "make release" has made for this machine's platform.
type release struct{ dist, version, commit string }

// releases come from clones of what the work tree holds, so that they have a
// commit, whatever state the work tree is in.
type releases struct {
	clone              string
	first, again, next release
}

// None of the tests that use it is parallel: a build takes the whole machine.
var released = sync.OnceValues(makeReleases)

func needReleases(t *testing.T) releases {
	t.Helper()
	needVault(t)
	if runtime.GOOS == "windows" {
		t.Skip("releases are made on Unix")
	}
	r, err := released()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func makeReleases() (r releases, err error) {
	dir := filepath.Join(suite.dir, "releases")
	origin := filepath.Join(dir, "origin.git")
	here, elsewhere := filepath.Join(dir, "here"), filepath.Join(dir, "some", "where else")
	for _, args := range [][]string{
		{"init", "-q", "--bare", origin},
		{"--git-dir=" + origin, "--work-tree=.", "add", "--all"},
		{"--git-dir=" + origin, "--work-tree=.", "commit", "-q", "-m", "what is tested"},
		{"clone", "-q", origin, here},
		{"clone", "-q", origin, elsewhere},
	} {
		if _, err := command(repoRoot(), nil, "git", args...); err != nil {
			return r, err
		}
	}
	r.clone = here
	if r.first, err = makeRelease(here, firstVersion); err != nil {
		return r, err
	}
	if r.again, err = makeRelease(elsewhere, firstVersion); err != nil {
		return r, err
	}
	r.next, err = makeRelease(here, nextVersion)
	return r, err
}

func makeRelease(clone, version string) (release, error) {
	commit, err := command(clone, nil, "git", "rev-parse", "--short=12", "HEAD")
	if err != nil {
		return release{}, err
	}
	if _, err := command(clone, nil, "make", "release", "VERSION="+version, "PLATFORMS="+runtime.GOOS+"/"+runtime.GOARCH); err != nil {
		return release{}, err
	}
	r := release{dist: clone + "-" + version, version: version, commit: strings.TrimSpace(commit)}
	return r, os.Rename(filepath.Join(clone, "dist"), r.dist)
}

// command runs one in an environment that neither a make nor a git around the
// tests can change.
func command(dir string, more []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	for _, v := range os.Environ() {
		switch name, _, _ := strings.Cut(v, "="); {
		case strings.HasPrefix(name, "MAKE"), strings.HasPrefix(name, "GIT_"), strings.HasPrefix(name, "VAULT_"):
		case slices.Contains([]string{"MFLAGS", "VERSION", "PLATFORMS", "FORCE", "SOURCE_DATE_EPOCH"}, name):
		default:
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t")
	cmd.Env = append(cmd.Env, more...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %q: %w\n%s", name, args, err, out)
	}
	return string(out), err
}

func (r release) stem() string {
	return strings.Join([]string{pluginName, r.version, runtime.GOOS, runtime.GOARCH}, "_")
}

// unpack gives the directory that the archive holds.
func (r release) unpack(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := command(dir, nil, "tar", "-xzf", filepath.Join(r.dist, r.stem()+".tar.gz")); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, r.stem())
}

// binarySum is what SHA256SUMS.binaries says of the binary.
func (r release) binarySum(t *testing.T) string {
	t.Helper()
	sum, ok := sums(t, filepath.Join(r.dist, "SHA256SUMS.binaries"))[r.stem()+"/"+pluginName]
	if !ok {
		t.Fatal("SHA256SUMS.binaries does not name the binary")
	}
	return sum
}

// sums reads what sha256sum writes.
func sums(t *testing.T, list string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for line := range strings.Lines(string(readAll(list))) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok {
			t.Fatalf("%s: %q", filepath.Base(list), line)
		}
		all[name] = sum
	}
	return all
}

func sumOf(content []byte) string { return fmt.Sprintf("%x", sha256.Sum256(content)) }

// TestReleaseIsReproducible: the same commit in two places gives the same bytes.
func TestReleaseIsReproducible(t *testing.T) {
	r := needReleases(t)
	first, again := contents(t, r.first.dist), contents(t, r.again.dist)
	if len(first) < 4 {
		t.Fatalf("only %d files", len(first))
	}
	for name, content := range first {
		if !bytes.Equal(content, again[name]) {
			t.Errorf("%s differs", name)
		}
	}
	if len(again) != len(first) {
		t.Errorf("%d files, then %d", len(first), len(again))
	}
}

func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		all[name] = readAll(filepath.Join(dir, name))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestReleaseIsWhatItSays(t *testing.T) {
	r := needReleases(t).first
	t.Run("sums", func(t *testing.T) {
		listed := sums(t, filepath.Join(r.dist, "SHA256SUMS"))
		for name, content := range contents(t, r.dist) {
			switch {
			case name == "SHA256SUMS", strings.HasPrefix(name, "oci/") && name != "oci/index.json":
			case listed[name] != sumOf(content):
				t.Errorf("SHA256SUMS is wrong about %s: %q", name, listed[name])
			}
		}
	})
	dir := r.unpack(t)
	binary := readAll(filepath.Join(dir, pluginName))
	t.Run("archive", func(t *testing.T) {
		if sumOf(binary) != r.binarySum(t) {
			t.Error("SHA256SUMS.binaries is wrong")
		}
		said, err := command(dir, nil, "./"+pluginName, "-version")
		if want := strings.Join([]string{pluginName, r.version, r.commit}, " ") + "\n"; err != nil || said != want {
			t.Errorf("-version says %q, want %q: %v", said, want, err)
		}
		for _, place := range []string{suite.dir, repoRoot()} {
			if bytes.Contains(binary, []byte(place)) {
				t.Errorf("the binary names %s", place)
			}
		}
		for _, document := range []string{"README.md", "docs/release.md"} {
			if packed := readAll(filepath.Join(dir, document)); len(packed) == 0 || !bytes.Equal(packed, readAll(filepath.Join(repoRoot(), document))) {
				t.Errorf("%s is not the repository's", document)
			}
		}
	})
	t.Run("SBOM", func(t *testing.T) { checkSBOM(t, r, binary) })
	t.Run("OCI image", func(t *testing.T) { checkImage(t, r) })
}

// checkSBOM compares it with what the linker left in the binary.
func checkSBOM(t *testing.T, r release, binary []byte) {
	var bom struct {
		BOMFormat string `json:"bomFormat"`
		Metadata  struct {
			Component struct {
				Version string
				Hashes  []struct{ Content string }
			}
		}
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(readAll(filepath.Join(r.dist, r.stem()+".cdx.json")), &bom); err != nil {
		t.Fatal(err)
	}
	if c := bom.Metadata.Component; bom.BOMFormat != "CycloneDX" || c.Version != r.version || len(c.Hashes) != 1 || c.Hashes[0].Content != r.binarySum(t) {
		t.Errorf("this is no CycloneDX SBOM of the binary: %+v", bom.Metadata)
	}
	var got []string
	for _, c := range bom.Components {
		got = append(got, c.Name+" "+c.Version)
	}
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"std " + strings.TrimPrefix(info.GoVersion, "go")}
	for _, module := range info.Deps {
		want = append(want, module.Path+" "+module.Version)
	}
	if !slices.Equal(got, want) {
		t.Errorf("components\n%q\nwant\n%q", got, want)
	}
}

// checkImage reads the layout as a container engine does, from its index down.
func checkImage(t *testing.T, r release) {
	if runtime.GOOS != "linux" {
		t.Skip("the image is of the Linux binaries")
	}
	type descriptor struct {
		Digest      string
		Platform    struct{ OS, Architecture string }
		Annotations map[string]string
	}
	var index, images struct{ Manifests []descriptor }
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	var image struct {
		OS, Architecture string
		Config           struct {
			User       string
			Entrypoint []string
			Labels     map[string]string
		}
	}
	blob := func(d descriptor) []byte {
		sum := strings.TrimPrefix(d.Digest, "sha256:")
		content := readAll(filepath.Join(r.dist, "oci", "blobs", "sha256", sum))
		if sumOf(content) != sum {
			t.Fatalf("blob %s is not what it is called", sum)
		}
		return content
	}
	decode := func(raw []byte, into any) {
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatal(err)
		}
	}
	decode(readAll(filepath.Join(r.dist, "oci", "index.json")), &index)
	if len(index.Manifests) != 1 || index.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != r.version {
		t.Fatalf("the layout holds %+v, want one image called %s", index.Manifests, r.version)
	}
	decode(blob(index.Manifests[0]), &images)
	if len(images.Manifests) != 1 || images.Manifests[0].Platform.OS != "linux" || images.Manifests[0].Platform.Architecture != runtime.GOARCH {
		t.Fatalf("the image is for %+v", images.Manifests)
	}
	decode(blob(images.Manifests[0]), &manifest)
	decode(blob(manifest.Config), &image)
	labels := image.Config.Labels
	if image.OS != "linux" || image.Architecture != runtime.GOARCH || image.Config.User != "65532:65532" ||
		!slices.Equal(image.Config.Entrypoint, []string{"/" + pluginName}) ||
		labels["org.opencontainers.image.version"] != r.version || labels["org.opencontainers.image.revision"] != r.commit {
		t.Errorf("the image's configuration is %+v", image)
	}
	if len(manifest.Layers) != 1 {
		t.Fatalf("%d layers", len(manifest.Layers))
	}
	files := untar(t, blob(manifest.Layers[0]))
	if sumOf(files[pluginName]) != r.binarySum(t) {
		t.Error("the image's binary is not the one of SHA256SUMS.binaries")
	}
	if !x509.NewCertPool().AppendCertsFromPEM(files["etc/ssl/certs/ca-certificates.crt"]) {
		t.Error("the image trusts nobody")
	}
}

func untar(t *testing.T, packed []byte) map[string][]byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for archive := tar.NewReader(z); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReleaseRefuses what nobody could register or build again.
func TestReleaseRefuses(t *testing.T) {
	r := needReleases(t)
	refused := func(t *testing.T, why string, more []string, settings ...string) {
		t.Helper()
		out, err := command(r.clone, more, "make", append([]string{"release"}, settings...)...)
		if err == nil || !strings.Contains(out, why) {
			t.Errorf("make release %q is not refused for %q: %v\n%s", settings, why, err, out)
		}
		if _, err := os.Stat(filepath.Join(r.clone, "dist")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a dist/ is left: %v", err)
		}
	}
	refused(t, "which version?", nil)
	for _, version := range []string{"1.2.3", "v1.2", "v1.2.3.4", "v01.2.3", "v1.2.3-rc1", "v1.2.3+ent", "v1.2.3 ", "V1.2.3", "../v1.2.3"} {
		refused(t, "is no version", nil, "VERSION="+version)
	}
	refused(t, "is no version", []string{"VERSION=v1.2.3\nv1.2.3"})
	refused(t, "no platform", nil, "VERSION=v1.2.3", "PLATFORMS=linux/amd64 plan9/386")

	t.Run("a changed tree", func(t *testing.T) {
		extra := writeFile(t, r.clone, "new.go", "package ecgrid\n")
		defer os.Remove(extra)
		refused(t, "new.go", nil, "VERSION=v1.2.3")
		refused(t, "FORCE=1", nil, "VERSION=v1.2.3")

		// With a go that fails, so that nothing is built.
		bin := t.TempDir()
		if err := os.WriteFile(filepath.Join(bin, "go"), []byte("#!/bin/sh\necho \"$@\"\nexit 1\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		path := []string{"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH")}
		refused(t, "FORCE=1: releasing a tree that differs from its commit", path, "VERSION=v1.2.3", "FORCE=1")
		refused(t, "main.commit="+r.first.commit+"-dirty", path, "VERSION=v1.2.3", "FORCE=1")
	})
}

// TestRegisterScript without a Vault: what it runs, and what it does not.
func TestRegisterScript(t *testing.T) {
	r := needReleases(t).first
	dir := r.unpack(t)
	register := func(args ...string) (string, error) {
		return command("/", []string{"VAULT_BIN=echo"}, filepath.Join(dir, "register.sh"), args...)
	}
	registers := "plugin register -sha256=" + r.binarySum(t) + " -version=" + r.version
	for _, c := range []struct {
		args []string
		says string
	}{
		{nil, registers + " secret " + pluginName + "\n"},
		{[]string{"-command=another"}, registers + " -command=another secret " + pluginName + "\n"},
		{[]string{"-x"}, "usage: ./register.sh [-command=NAME]"},
		{[]string{"-command=a", "b"}, "usage: ./register.sh [-command=NAME]"},
		{[]string{"-command=/bin/sh"}, "without a path"},
	} {
		if out, _ := register(c.args...); !strings.Contains(out, c.says) {
			t.Errorf("register.sh %q says %q, want %q", c.args, out, c.says)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, pluginName), []byte("another"), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := register(); err == nil || !strings.Contains(out, "is not the one of "+r.version) {
		t.Errorf("another binary is registered: %s", out)
	}
}

// operator follows docs/release.md: the blocks to run, as they stand but for the
// platform, in a directory with the archives of both releases.
type operator struct {
	dir    string
	env    []string
	blocks []string
}

func newOperator(t *testing.T, v *vault, r releases) *operator {
	t.Helper()
	o := &operator{dir: t.TempDir()}
	links := map[string]string{"bin/vault": suite.vaultBin} // whatever its file is called
	for _, one := range []release{r.first, r.next} {
		links[one.stem()+".tar.gz"] = filepath.Join(one.dist, one.stem()+".tar.gz")
	}
	if err := os.Mkdir(filepath.Join(o.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, to := range links {
		if err := os.Symlink(to, filepath.Join(o.dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	o.env = append(cleanEnv(v.dir), "PATH="+filepath.Join(o.dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"),
		"VAULT_ADDR="+v.addr, "VAULT_CACERT="+v.caPath(), "VAULT_TOKEN="+v.token, "PLUGIN_DIRECTORY="+suite.pluginDir)
	page := strings.ReplaceAll(string(readAll(filepath.Join(repoRoot(), "docs", "release.md"))), "linux_amd64", runtime.GOOS+"_"+runtime.GOARCH)
	blocks, err := readBlocks(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		if b.kind == "sh" {
			o.blocks = append(o.blocks, b.text)
		}
	}
	return o
}

// next runs the next block.
func (o *operator) next(t *testing.T) {
	t.Helper()
	if len(o.blocks) == 0 {
		t.Fatal("docs/release.md has no such block")
	}
	if _, err := command(o.dir, o.env, "sh", "-euc", o.blocks[0]); err != nil {
		t.Fatal(err)
	}
	o.blocks = o.blocks[1:]
}

// serves fails unless this release, and no other, serves the mount.
func (r release) serves(t *testing.T, m *mount) {
	t.Helper()
	info := m.read(t, m.at("info")).Data
	if info["version"] != r.version || info["commit"] != r.commit {
		t.Errorf("info is %v, want %s %s", info, r.version, r.commit)
	}
	running := m.read(t, path("sys/mounts", m.path)).Data
	if running["running_plugin_version"] != r.version || running["running_sha256"] != r.binarySum(t) {
		t.Errorf("Vault runs %v", running)
	}
}

// TestReleaseUpgrade is an operator with nothing but the files of two releases
// and docs/release.md.
func TestReleaseUpgrade(t *testing.T) {
	r := needReleases(t)
	v := own(t, inmem)
	v.run(t, "plugin", "deregister", "-version="+suite.pluginVersion, "secret", pluginName)

	typed := newOperator(t, v, r)
	typed.next(t) // Install
	m := &mount{vault: v, ecgrid: newECGrid(t), path: "ecgrid"}
	m.configure(t, fields{"ttl": "5m"})
	r.first.serves(t, m)
	renewed, revoked, forgotten := m.readKey(t, simulator.UserID5001), m.readKey(t, simulator.UserID5001), m.readKey(t, simulator.UserID5001)

	typed.next(t) // Upgrade
	m.loggedOut(t, "the upgrade")
	r.next.serves(t, m)
	typed.next(t) // and take the old one away
	if versions := v.run(t, "plugin", "list", "-detailed", "secret"); strings.Contains(versions, firstVersion) || !strings.Contains(versions, nextVersion) {
		t.Errorf("the catalog holds\n%s", versions)
	}

	if a := m.renew(t, http.StatusOK, renewed, fields{"increment": 240}); a.LeaseDuration < 200 {
		t.Errorf("renewed for %d s", a.LeaseDuration)
	}
	m.revoke(t, revoked)
	m.renew(t, http.StatusBadRequest, revoked, nil)
	if !opensREST(t, m.ecgrid, renewed.Data["api_key"].(string)) {
		t.Error("the key from before the upgrade is dead")
	}
	m.readKey(t, simulator.UserID5001)
	m.ok(t, http.MethodPut, path("sys/leases/revoke-prefix", m.path), nil)
	eventually(t, 10*time.Second, "the leases are gone", func() bool {
		a, err := m.do(http.MethodPut, "sys/leases/lookup", fields{"lease_id": forgotten.LeaseID})
		return err == nil && a.Status == http.StatusBadRequest
	})
}

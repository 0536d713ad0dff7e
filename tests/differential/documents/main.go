// Command documents is the other half of tests/documents_differential.rs: it reads one question per
// line and answers, per line, what containerd makes of the document: which entry of an index it
// runs (core/images, Manifest), and what encoding/json reads into the types of image-spec.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sort"

	"github.com/containerd/platforms"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

type question struct {
	Node     specs.Platform `json:"node"`
	Document string         `json:"document"`
}

type answer struct {
	// Index says whether the document reads as an index, and Manifest, Config likewise.
	Index    bool `json:"index"`
	Manifest bool `json:"manifest"`
	Config   bool `json:"config"`
	// Entries are the digests of an index.
	Entries []string `json:"entries"`
	// Picked is the digest of the entry that runs; empty if none does.
	Picked string `json:"picked"`
	// MediaType of index or manifest.
	MediaType string `json:"media_type"`
	// ConfigDigest and Layers are a manifest's.
	ConfigDigest string   `json:"config_digest"`
	Layers       []string `json:"layers"`
	// User and DiffIDs are a config's.
	User    string   `json:"user"`
	DiffIDs []string `json:"diff_ids"`
}

// pick is what core/images does with the entries of an index.
func pick(index specs.Index, node specs.Platform) string {
	matcher := platforms.Only(node)
	var descs []specs.Descriptor
	for _, d := range index.Manifests {
		if d.Platform == nil || matcher.Match(*d.Platform) {
			descs = append(descs, d)
		}
	}
	sort.SliceStable(descs, func(i, j int) bool {
		if descs[i].Platform == nil {
			return false
		}
		if descs[j].Platform == nil {
			return true
		}
		return matcher.Less(*descs[i].Platform, *descs[j].Platform)
	})
	if len(descs) == 0 {
		return ""
	}
	return descs[0].Digest.String()
}

func read(q question) answer {
	var a answer
	var index specs.Index
	if json.Unmarshal([]byte(q.Document), &index) == nil {
		a.Index = true
		a.MediaType = index.MediaType
		for _, d := range index.Manifests {
			a.Entries = append(a.Entries, d.Digest.String())
		}
		a.Picked = pick(index, q.Node)
	}
	var manifest specs.Manifest
	if json.Unmarshal([]byte(q.Document), &manifest) == nil {
		a.Manifest = true
		a.ConfigDigest = manifest.Config.Digest.String()
		for _, d := range manifest.Layers {
			a.Layers = append(a.Layers, d.Digest.String())
		}
	}
	var image specs.Image
	if json.Unmarshal([]byte(q.Document), &image) == nil {
		a.Config = true
		a.User = image.Config.User
		for _, d := range image.RootFS.DiffIDs {
			a.DiffIDs = append(a.DiffIDs, d.String())
		}
	}
	return a
}

func run() error {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 1<<24), 1<<24)
	out := bufio.NewWriter(os.Stdout)
	encode := json.NewEncoder(out)
	for in.Scan() {
		var q question
		if err := json.Unmarshal(in.Bytes(), &q); err != nil {
			return err
		}
		if err := encode.Encode(read(q)); err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil {
		return err
	}
	return out.Flush()
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

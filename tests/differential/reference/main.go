// Command reference is the other half of tests/reference_differential.rs: it reads one JSON string
// per line and answers, per line, what containerd makes of it as an image reference.
package main

import (
	"bufio"
	_ "crypto/sha256" // digest algorithms register themselves; containerd links both
	_ "crypto/sha512"
	"encoding/json"
	"fmt"
	"os"

	"github.com/distribution/reference"
)

type answer struct {
	// OK says whether containerd takes the string for a reference.
	OK bool `json:"ok"`
	// Name is the normalised reference.
	Name string `json:"name"`
	// Domain is the host that Go sees; empty if it sees none.
	Domain string `json:"domain"`
}

func parse(text string) answer {
	named, err := reference.ParseDockerRef(text)
	if err != nil {
		return answer{}
	}
	return answer{OK: true, Name: named.String(), Domain: reference.Domain(named)}
}

func run() error {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 1<<20), 1<<20)
	out := bufio.NewWriter(os.Stdout)
	encode := json.NewEncoder(out)
	for in.Scan() {
		var text string
		if err := json.Unmarshal(in.Bytes(), &text); err != nil {
			return err
		}
		if err := encode.Encode(parse(text)); err != nil {
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

// Prints, as bytes of a FileDescriptorSet, the descriptor of the CRI that
// k8s.io/cri-api 0.31 registers with gogo/protobuf: a gzipped FileDescriptorProto.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"github.com/gogo/protobuf/proto"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func main() {
	// Naming one generated type keeps the package linked.
	_ = &cri.VersionRequest{}
	file, err := read()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cri-drift:", err)
		os.Exit(1)
	}
	// FileDescriptorSet.file is field 1, length-delimited: the bytes go in as they are.
	out := binary.AppendUvarint([]byte{0x0a}, uint64(len(file)))
	if _, err := os.Stdout.Write(append(out, file...)); err != nil {
		fmt.Fprintln(os.Stderr, "cri-drift:", err)
		os.Exit(1)
	}
}

func read() ([]byte, error) {
	packed := proto.FileDescriptor("api.proto")
	if packed == nil {
		return nil, fmt.Errorf("the module registers no api.proto")
	}
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(reader)
}

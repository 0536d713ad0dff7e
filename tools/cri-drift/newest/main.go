// Prints, as bytes of a FileDescriptorSet, the descriptor of the CRI that the
// Go module k8s.io/cri-api registers when it is linked.
package main

import (
	"fmt"
	"os"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func main() {
	// Naming one generated type keeps the package linked.
	_ = &cri.VersionRequest{}
	found, err := protoregistry.GlobalFiles.FindDescriptorByName("runtime.v1.RuntimeService")
	if err != nil {
		fail(err)
	}
	file := protodesc.ToFileDescriptorProto(found.ParentFile())
	out, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file}})
	if err != nil {
		fail(err)
	}
	if _, err := os.Stdout.Write(out); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "cri-drift:", err)
	os.Exit(1)
}

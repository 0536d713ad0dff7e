// Reads lines of {"level", "version", "pod"} and answers each with the verdict of the Pod Security
// admission library: {"allowed", "checks"}, or {"error"}.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

type question struct {
	Level   string     `json:"level"`
	Version string     `json:"version"`
	Pod     corev1.Pod `json:"pod"`
}

type answer struct {
	Allowed bool     `json:"allowed"`
	Checks  []string `json:"checks"`
	Error   string   `json:"error,omitempty"`
}

func judge(evaluator policy.Evaluator, line []byte) answer {
	var asked question
	if err := json.Unmarshal(line, &asked); err != nil {
		return answer{Error: err.Error()}
	}
	level, err := api.ParseLevel(asked.Level)
	if err != nil {
		return answer{Error: err.Error()}
	}
	version, err := api.ParseVersion(asked.Version)
	if err != nil {
		return answer{Error: err.Error()}
	}
	results := evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: version}, &asked.Pod.ObjectMeta, &asked.Pod.Spec)
	said := answer{Allowed: true, Checks: []string{}}
	for _, result := range results {
		if !result.Allowed {
			said.Allowed = false
			said.Checks = append(said.Checks, result.ForbiddenReason)
		}
	}
	return said
}

func main() {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 4<<20)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		if err := out.Encode(judge(evaluator, lines.Bytes())); err != nil {
			os.Exit(1)
		}
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

//! YAML policies with one mistake each.

use super::*;

const SET: &str = "apiVersion: pullguard.io/v1alpha1
kind: PolicySet
metadata: {name: test}
spec:
  audience: test
  unmatched: {pods: Allow, images: Allow}
";

fn errors(policy: &str) -> Vec<String> {
    let files = vec![
        ("0.yaml".to_owned(), SET.to_owned()),
        ("p.yaml".to_owned(), policy.to_owned()),
    ];
    match compile_dir(files, &Limits::default()) {
        Ok(_) => Vec::new(),
        Err(error) => error.diagnostics.iter().map(ToString::to_string).collect(),
    }
}

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: pullguard.io/v1alpha1\nkind: NodePolicy\nmetadata: {{name: p}}\nspec:\n{spec}"
    )
}

#[test]
fn every_mistake_is_told_with_file_line_column_and_what_works() {
    let cases = [
        (
            "  rules:\n  - name: a\n    digset: Pin\n",
            "p.yaml:7:5: unknown key `digset`; did you mean `digest`?",
        ),
        (
            "  action: enforce\n  rules: []\n",
            "p.yaml:5:11: unknown value `enforce`; did you mean `Enforce`?",
        ),
        (
            "  rules:\n  - name: a\n    signatures: {}\n",
            "p.yaml:7:5: `signatures` is not supported by this version",
        ),
        (
            "  rules:\n  - name: a\n    digest: Pin\n    digest: InSpec\n",
            "p.yaml:8:5: duplicate key `digest`; keep one",
        ),
        (
            "  rules:\n  - name: a\n    registries: {allow: ['*.com/**']}\n",
            "p.yaml:7:26: the host must be an address, a single-label name, or have a registrable domain in it: this pattern also matches `stranger.com/x`",
        ),
    ];
    for (spec, wanted) in cases {
        assert_eq!(errors(&policy(spec)), vec![wanted.to_owned()], "{spec}");
    }
}

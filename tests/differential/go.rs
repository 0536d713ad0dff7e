//! The other half of a differential suite: a Go program, built here, that answers one line for each.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Builds `tests/differential/NAME`, hands it the questions, one JSON value per line, and gives its
/// answers. Needs `go`.
pub(crate) fn ask<Q: Serialize, A: DeserializeOwned>(name: &str, questions: &[Q]) -> Vec<A> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join(name);
    build(name, &program);
    let mut lines = Vec::new();
    for question in questions {
        serde_json::to_writer(&mut lines, question).expect("a question is JSON");
        lines.push(b'\n');
    }
    let mut child = Command::new(&program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program that go built starts");
    let mut stdin = child.stdin.take().expect("stdin was asked for");
    let writer = std::thread::spawn(move || stdin.write_all(&lines));
    let output = child.wait_with_output().expect("the go program ends");
    writer
        .join()
        .expect("the writer does not panic")
        .expect("the go program reads all its input");
    assert!(output.status.success(), "the go program failed");
    let answers: Vec<A> = String::from_utf8(output.stdout)
        .expect("the answers are UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("an answer is of the agreed shape"))
        .collect();
    assert_eq!(
        answers.len(),
        questions.len(),
        "go answered another number of lines"
    );
    answers
}

fn build(name: &str, program: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/differential")
        .join(name);
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(program)
        .arg(".")
        .current_dir(source)
        .env("GOFLAGS", "-mod=readonly")
        .status();
    match built {
        Ok(status) if status.success() => {}
        Ok(_) => panic!("go could not build tests/differential/{name}"),
        Err(error) => panic!("this suite needs `go` in the PATH: {error}"),
    }
}

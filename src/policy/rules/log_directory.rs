//! `logDirectory: Pod`: logs stay in the pod's own directory. Pure.
//!
//! containerd creates and writes the file as root (CVE-2025-0750, CVE-2026-53489).

use super::{Broken, ContainerCase, pod_text};
use crate::policy::Code;
use crate::policy::paths;
use crate::request::Sandbox;

const ADVICE: &str = "leave the log's place to the kubelet";

pub(super) fn judge_sandbox(sandbox: &Sandbox, broken: &mut Vec<Broken>) {
    let pod = &sandbox.pod;
    let own = format!("{}_{}_{}", pod.namespace, pod.name, pod.uid);
    let directory = &sandbox.log_directory;
    // Without a directory nothing is written.
    let fits = directory.is_empty()
        || (paths::clean(directory) == Some(directory)
            && directory.rsplit('/').next() == Some(own.as_str()));
    if !fits {
        let text = pod_text(sandbox)
            .words(" writes its logs to ")
            .value(directory)
            .words(", which is not its own directory");
        broken.push(Broken::Plain(Code::PodLogPath, text.advice(ADVICE)));
    }
}

pub(super) fn judge(case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
    let path = &case.container.log_path;
    let below = format!("/{path}");
    if !path.is_empty() && paths::clean(&below) != Some(below.as_str()) {
        let text = case
            .container_text()
            .words(" writes its log to ")
            .value(path)
            .words(", which may leave the pod's directory");
        broken.push(Broken::Plain(Code::PodLogPath, text.advice(ADVICE)));
    }
}

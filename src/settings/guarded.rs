//! What of this node's own settings no prefix of a policy may cover. Pure.

use std::path::Path;

use super::{Loaded, PolicySource};

impl Loaded {
    /// This node's own members of the guarded set: whoever may write one of these decides what the
    /// guard believes, or speaks in its place. Files with the directories that hold them: a name in
    /// a directory can be given to another file. `served` is the socket that the kubelet connects to,
    /// which may be another than the settings name.
    pub fn guarded_paths(&self, served: &Path) -> Vec<String> {
        let settings = &self.settings;
        let directories = [
            &settings.kubelet_root,
            &settings.state_dir,
            &settings.report.audit_dir,
        ];
        let files = [
            &self.file,
            &self.last_good,
            &settings.listen,
            &settings.admin_listen,
            &settings.upstream,
            &settings.break_glass,
        ];
        let registry = &settings.registry;
        let policy = match &settings.policy {
            PolicySource::Local(path) => Some(path),
            PolicySource::Nowhere => None,
        };
        let mut paths: Vec<&Path> = directories.iter().map(|path| path.as_path()).collect();
        paths.extend(policy.map(|path| path.as_path()));
        paths.extend(settings.certs_dirs.iter().map(|path| path.as_path()));
        for file in files
            .into_iter()
            .chain(&registry.credentials)
            .chain(&registry.ca)
            .map(|path| path.as_path())
            .chain([served])
        {
            paths.push(file);
            paths.extend(file.parent());
        }
        let mut texts: Vec<String> = paths
            .into_iter()
            .filter_map(Path::to_str)
            .filter(|path| !["", "/"].contains(path))
            .map(str::to_owned)
            .collect();
        texts.sort_unstable();
        texts.dedup();
        texts
    }
}

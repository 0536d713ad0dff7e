//! The files of `-f`: a name, `-` for standard input, or a directory and all below it.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 64 << 20;
/// How deep directories are followed.
const MAX_DEPTH: usize = 64;

/// Calls `read` with each file's name and text, or why it cannot be read; those of a directory in
/// the order of their names.
pub(super) fn each(files: &[PathBuf], mut read: impl FnMut(&str, Result<String, String>)) {
    for file in files {
        if file == Path::new("-") {
            read("standard input", text_of(&mut io::stdin().lock()));
            continue;
        }
        visit(file, &mut Vec::new(), &mut read);
    }
}

/// `above`: the directories on the way, each by its one real path, so that links lead nowhere twice.
fn visit(
    path: &Path,
    above: &mut Vec<PathBuf>,
    read: &mut impl FnMut(&str, Result<String, String>),
) {
    let name = path.display().to_string();
    let why = |error: io::Error| Err(format!("cannot be read: {error}"));
    if path.is_dir() {
        let real = match fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) => return read(&name, why(error)),
        };
        if above.contains(&real) {
            let text = "is a link to a directory above it; remove the link";
            return read(&name, Err(text.to_owned()));
        }
        if above.len() > MAX_DEPTH {
            return read(&name, Err("lies too deep".to_owned()));
        }
        let mut below = match entries(path) {
            Ok(below) => below,
            Err(error) => return read(&name, why(error)),
        };
        below.retain(|entry| entry.is_dir() || is_manifest(entry));
        above.push(real);
        for entry in below {
            visit(&entry, above, read);
        }
        above.pop();
        return;
    }
    match fs::File::open(path) {
        Ok(mut file) => read(&name, text_of(&mut file)),
        Err(error) => read(&name, why(error)),
    }
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|text| text.to_str());
    extension.is_some_and(|text| ["yaml", "yml", "json"].contains(&text))
}

fn text_of(from: &mut impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > usize::try_from(MAX_BYTES).unwrap_or(usize::MAX) {
        return Err("is larger than 64 MiB; split it".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "is no UTF-8 text".to_owned())
}

//! `pullguard explain CODE`: the code's section of docs/denials.md.

use super::output::{Exit, Output};
use crate::policy::Code;

/// The document that operators read, compiled in so that it speaks for this version.
const DENIALS: &str = include_str!("../../docs/denials.md");

pub(crate) fn run(code: &str, output: &mut Output) -> Exit {
    let wanted = code.trim().to_ascii_uppercase();
    match section(DENIALS, &wanted) {
        Some(section) => output.page(&section),
        None => {
            let codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
            output.complain(&format!(
                "`{}` is no denial code; the codes are {}",
                code.escape_default(),
                codes.join(", ")
            ));
            Exit::Usage
        }
    }
}

/// The section below the heading that is this code, heading without its marks.
pub(crate) fn section(document: &str, code: &str) -> Option<String> {
    let title = |line: &str| {
        let marks = line.len() - line.trim_start_matches('#').len();
        let title = line.trim_matches(['#', '`', ' ']);
        (marks > 0).then(|| title.to_owned())
    };
    let mut lines = document
        .lines()
        .skip_while(|line| title(line).as_deref() != Some(code));
    lines.next()?;
    let body: Vec<_> = lines.take_while(|line| title(line).is_none()).collect();
    Some(format!("{code}\n\n{}\n", body.join("\n").trim()))
}

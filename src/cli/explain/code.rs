//! `pullguard explain CODE`: the code's section of docs/denials.md.

use super::super::output::{Exit, Output};
use crate::policy::{Code, explain};

pub(super) fn run(code: &str, output: &mut Output) -> Exit {
    let wanted = code.trim().to_ascii_uppercase();
    match Code::ALL.iter().find(|known| known.as_str() == wanted) {
        Some(known) => output.page(&format!("{}\n", explain(*known))),
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

//! `pullguard completions` and `pullguard man`.

use super::output::{Exit, Output};

pub(crate) fn completions(
    shell: clap_complete::Shell,
    mut command: clap::Command,
    output: &mut Output,
) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "pullguard", &mut script);
    output.page(&String::from_utf8_lossy(&script))
}

pub(crate) fn man(command: clap::Command, output: &mut Output) -> Exit {
    let mut page = Vec::new();
    match clap_mangen::Man::new(command).render(&mut page) {
        Ok(()) => output.page(&String::from_utf8_lossy(&page)),
        Err(error) => {
            output.complain(&format!("cannot make the manual page: {error}"));
            Exit::Bug
        }
    }
}
